"""The face world as a source, and its verification protocols of pairs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from harness.components import FaceProtocol, ImageBatch, PairSet, Run, SamplePlan, Settings, Source
from harness.components.base import APACHE
from harness.errors import InputError
from harness.faceworld import RENDERER_VERSION
from harness.faceworld.groups import STEP, grouped_pairs
from harness.faceworld.protocols import PairList, pairs
from harness.faceworld.ranges import IDENTITY_RANGES

if TYPE_CHECKING:
    from harness.faces.faceset import FaceSet

BATCH = 128
# The world of all published figures: identities and images are functions of (WORLD_SEED, identity, sample).
WORLD_SEED = 0
# A protocol shows one identity in two modes; the second side's samples are numbered from here on.
_SIDE = 1_000


class FaceWorldSettings(Settings):
    """Which part of the face world."""

    range: Literal["train", "cond", "judge", "spare"] = Field("train", description="which identities; they never meet")
    identities: int = Field(500, ge=2, le=100_000, description="how many identities, from the start of the range")
    per_identity: int = Field(16, ge=1, le=1_000, description="images per identity")
    size_px: int = Field(112, ge=32, le=256, multiple_of=8, description="side of the square image in pixels")
    mode: Literal["train", "mild"] = Field("train", description="how widely pose, light and the rest vary")


class FaceWorldSource(Source):
    """Authentic faces of the procedural face world; landmarks, pose and age are exact."""

    Settings = FaceWorldSettings
    license = APACHE

    def plan(self, run: Run) -> SamplePlan:
        """The first identities of the range, in full."""
        start = IDENTITY_RANGES[self.settings.range].start
        grid = SamplePlan.grid(self.settings.identities, self.settings.per_identity)
        return SamplePlan(grid.identities + start, grid.samples)

    def sample(self, plan: SamplePlan, run: Run) -> Iterator[ImageBatch]:
        """Render the planned images."""
        for batch in plan.batches(BATCH):
            yield _render(batch, batch.samples, self.settings.mode, self.settings.size_px, run)


class ProtocolSettings(Settings):
    """Size of a face-world protocol."""

    pairs: int = Field(6_000, ge=20, multiple_of=20, description="pairs, half of them genuine, in ten folds")
    size_px: int = Field(112, ge=32, le=256, multiple_of=8, description="side of the rendered image in pixels")
    seed: int = Field(0, ge=0, description="chooses the pairs; published figures use 0")


class _FaceWorldProtocol(FaceProtocol):
    Settings = ProtocolSettings
    license = APACHE
    name: ClassVar[str]

    def _list(self) -> PairList:
        return pairs(self.name, self.settings.pairs, self.settings.seed)

    def plan(self, run: Run) -> SamplePlan:
        """Every image that occurs in a pair."""
        listed = self._list()
        names = sorted(set(listed.modes))
        side = np.array([names.index(mode) for mode in listed.modes], dtype=np.int64)
        return SamplePlan(listed.identities, listed.samples + side * _SIDE)

    def sample(self, plan: SamplePlan, run: Run) -> Iterator[ImageBatch]:
        """Render the planned images, each in the mode of its side."""
        names = sorted(set(self._list().modes))
        for batch in plan.batches(BATCH):
            modes = [names[side] for side in batch.samples // _SIDE]
            yield _render(batch, batch.samples % _SIDE, modes, self.settings.size_px, run)

    def pairs(self, faces: FaceSet, run: Run) -> PairSet:
        """The pairs; the faces are in the order of the plan."""
        listed = self._list()
        return PairSet(listed.a, listed.b, listed.same, listed.fold)

    def size(self) -> tuple[int, int]:
        """Known from the list."""
        listed = self._list()
        return len(listed.a), len(np.unique(listed.identities))

    def definition(self) -> dict[str, Any]:
        """Renderer version and settings define the pixels."""
        return {"name": self.name, "renderer": RENDERER_VERSION, "world": WORLD_SEED, **self.settings.model_dump()}


class FwLfw(_FaceWorldProtocol):
    """fw-lfw: mild against mild."""

    name = "fw-lfw"


class FwCfp(_FaceWorldProtocol):
    """fw-cfp: frontal against profile."""

    name = "fw-cfp"


class FwAgedb(_FaceWorldProtocol):
    """fw-agedb: young against old."""

    name = "fw-agedb"


class GroupSettings(ProtocolSettings):
    """Size of ``fw-groups``."""

    pairs: int = Field(
        6_000, ge=STEP, multiple_of=STEP, description="pairs, half of them genuine, in ten folds, a third of each group"
    )


class FwGroups(_FaceWorldProtocol):
    """fw-groups: mild against mild, both people of one of three groups, by a slider of the skin's tone."""

    Settings = GroupSettings
    name = "fw-groups"

    def _list(self) -> PairList:
        return grouped_pairs(WORLD_SEED, self.settings.pairs, self.settings.seed)[0]

    def pairs(self, faces: FaceSet, run: Run) -> PairSet:
        """The pairs with their groups."""
        _, group = grouped_pairs(WORLD_SEED, self.settings.pairs, self.settings.seed)
        return replace(super().pairs(faces, run), group=group)


def _render(batch: SamplePlan, samples: Any, mode: str | list[str], size_px: int, run: Run) -> ImageBatch:
    from harness.faceworld.render import render

    if len(batch.identities) == 0:
        raise InputError("the face world was asked for no image; expected at least one")
    drawn = render(WORLD_SEED, batch.identities.tolist(), samples.tolist(), mode, size_px, run.device)
    return ImageBatch(batch.identities, batch.samples, drawn.images, drawn.landmarks, drawn.attributes)
