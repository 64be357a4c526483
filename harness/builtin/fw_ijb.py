"""``fw-ijb`` and ``fw-identification``: templates on the face world, the stand-ins for IJB-B and IJB-C."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from harness.builtin.faceworld import BATCH, WORLD_SEED
from harness.components import FaceProtocol, ImageBatch, Run, SamplePlan, Settings, TemplateSet
from harness.components.base import APACHE
from harness.faceworld import RENDERER_VERSION
from harness.faceworld.templates import FRAMES, TEMPLATES, TemplateList, templates

if TYPE_CHECKING:
    from harness.faces.faceset import FaceSet

MODE = "train"  # pictures vary as widely as those that recognizers learn from
_FRAMES = FRAMES[1]  # a sample of the plan is medium * _FRAMES + frame


class FwIjbSettings(Settings):
    """Size of ``fw-ijb``."""

    identities: int = Field(
        200, ge=2, le=1_000, description="people, four templates each; 200 give 31 impostor pairs at FAR 1e-4"
    )
    size_px: int = Field(112, ge=32, le=256, multiple_of=8, description="side of the rendered image in pixels")
    seed: int = Field(0, ge=0, description="chooses the sizes of the templates; published figures use 0")


class FwIjb(FaceProtocol):
    """fw-ijb: templates of stills and clips; every two templates are a pair.

    No detector runs over drawn faces. In place of its score stands how frontal a face is, cos(yaw) cos(pitch), because
    detectors score faces lower the farther they turn away.
    """

    Settings = FwIjbSettings
    license = APACHE
    gives = "templates"

    def _list(self) -> TemplateList:
        return templates(self.settings.identities, self.settings.seed)

    def plan(self, run: Run) -> SamplePlan:
        """Every image, template by template."""
        listed = self._list()
        return SamplePlan(listed.identities, listed.samples * _FRAMES + listed.frames)

    def sample(self, plan: SamplePlan, run: Run) -> Iterator[ImageBatch]:
        """Render the planned images."""
        from harness.faceworld.render import render

        for batch in plan.batches(BATCH):
            who = batch.identities.tolist()
            media, frames = (batch.samples // _FRAMES).tolist(), (batch.samples % _FRAMES).tolist()
            drawn = render(WORLD_SEED, who, media, MODE, self.settings.size_px, run.device, frames)
            yield ImageBatch(batch.identities, batch.samples, drawn.images, drawn.landmarks, drawn.attributes)

    def pairs(self, faces: FaceSet, run: Run) -> TemplateSet:
        """The templates and their pairs; the faces are in the order of the plan."""
        listed, attributes = self._list(), faces.attributes
        turned = np.cos(np.radians(attributes["yaw"])) * np.cos(np.radians(attributes["pitch"]))
        score = turned.astype(np.float32)
        return TemplateSet(listed.template, listed.samples, score, listed.a, listed.b, listed.same)

    def definition(self) -> dict[str, Any]:
        """Renderer version and settings define the pixels."""
        return {"name": "fw-ijb", "renderer": RENDERER_VERSION, "world": WORLD_SEED, **self.settings.model_dump()}


class FwIdentification(FwIjb):
    """fw-identification: the people of fw-ijb, each enrolled in one of two galleries and searched in both.

    A person's first template is enrolled, by turns in the first and in the second gallery; the others are probes.
    """

    def pairs(self, faces: FaceSet, run: Run) -> TemplateSet:
        """The templates with their galleries, and their pairs."""
        made = super().pairs(faces, run)
        person, number = np.divmod(made.template, TEMPLATES)
        return replace(made, gallery=np.where(number == 0, 1 + person % 2, 0))

    def definition(self) -> dict[str, Any]:
        """As that of fw-ijb."""
        return {**super().definition(), "name": "fw-identification"}
