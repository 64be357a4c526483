"""``crops``: do a row's training crops agree with the evaluation crops in alignment and color order?

Largest differences to the protocols: ``offset_px`` of the median shift and ``residual_px`` of the median distance of
MTCNN's landmarks from the template, both in pixels of a crop of 112; ``warmth`` of the share of colored crops whose
middle has more red than blue, as skin has.

A recognizer trained on crops that are shifted against those of the benchmark, or whose red and blue are exchanged,
loses accuracy for a reason that is not the generator's. With a gate on these metrics such a row stops before its
training.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from harness.components.base import APACHE, Settings
from harness.components.data import Metric, Report, Subject
from harness.components.evaluator import Evaluator, Need
from harness.errors import StageError

if TYPE_CHECKING:
    from harness.components.data import Images
    from harness.components.run import Run
    from harness.data.survey import Audit
    from harness.faces.faceset import FaceSet


class CropsSettings(Settings):
    """Settings of ``crops``."""

    images: int = Field(
        64, ge=8, le=10_000, description="crops that are looked at, of the dataset and of each protocol"
    )


class Crops(Evaluator):
    """Alignment and color order of the dataset's crops against those of the protocols, by MTCNN on the crops."""

    Settings: ClassVar[type[Settings]] = CropsSettings
    license = APACHE
    code = (
        "harness.builtin.crops",
        "harness.data.survey",
        "harness.builtin.mtcnn",
        "harness.faces.coding",
        "harness.faces.crops",
        "harness.faces.warp",
    )
    needs: ClassVar[frozenset[Need]] = frozenset({"dataset", "protocols"})

    def evaluate(self, subject: Subject, run: Run) -> Report:
        """Measure crops of both.

        Raises:
            StageError: MTCNN finds no face in any of the dataset's or of a protocol's crops.
        """
        from harness.data.survey import audit_images

        assert subject.dataset is not None
        count = self.settings.images
        sets = {"dataset": subject.dataset, **{name: faces for name, (faces, _) in subject.protocols.items()}}
        progress = run.progress(len(sets), "sets of crops")
        audits = {}
        for name, faces in sets.items():
            audits[name] = audit_images(_some(faces, count))
            if not audits[name].found:
                raise StageError(f"crops: MTCNN finds no face in {audits[name].images} crops of {name}")
            progress.advance()
        return Report(list(_differences(audits.pop("dataset"), list(audits.values()))))


def _some(faces: FaceSet, count: int) -> list[Images]:
    """Evenly spaced faces."""
    rows = np.unique(np.linspace(0, len(faces) - 1, count).round().astype(np.int64))
    return [image for batch in faces.batches(count, rows) for image in batch.images]


def _differences(ours: Audit, others: Sequence[Audit]) -> Iterator[Metric]:
    offset = max(math.dist(ours.offset_px, other.offset_px) for other in others)
    residual = max(abs(ours.residual_px - other.residual_px) for other in others)
    yield Metric("crops/found", ours.found / ours.images, ours.images)
    yield Metric("crops/offset_px", offset, ours.found)
    yield Metric("crops/residual_px", residual, ours.found)
    colored = [other for other in others if ours.colored and other.colored]
    warm = max((abs(ours.warm - other.warm) for other in colored), default=0.0)
    note = "" if colored else "no color to compare"
    yield Metric("crops/warmth", warm, ours.colored, note=note)
