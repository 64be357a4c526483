"""``crops``: do a row's training crops agree with the evaluation crops in alignment and color order?

Largest differences to the protocols: ``offset_px`` of the median shift and ``residual_px`` of the median distance of
MTCNN's landmarks from the reference landmarks, both in pixels of a crop of 112; ``warmth`` of the share of colored
crops whose middle has more red than blue, as skin has.

A recognizer trained on crops that are shifted against those of the benchmark, or whose red and blue are exchanged,
loses accuracy for a reason that is not the generator's. With a gate on these metrics such a row stops before its
training.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from harness.builtin.mtcnn import MTCNNAligner
from harness.components.base import APACHE, Settings
from harness.components.evaluator import Evaluator
from harness.components.metric import Metric, Report
from harness.data.survey import audit_images
from harness.errors import StageError

if TYPE_CHECKING:
    from harness.arrays import Images
    from harness.components.given import Given
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
    needs = frozenset({"dataset", "pairs"})

    def evaluate(self, given: Given, run: Run) -> Report:
        """Measure crops of both.

        Raises:
            StageError: MTCNN finds no face in any of the dataset's or of a protocol's crops.
        """
        count, aligner = self.settings.images, MTCNNAligner()
        sets = {"dataset": given.dataset, **{name: faces for name, (faces, _) in given.pairs.items()}}
        progress = run.progress(len(sets), "sets of crops")
        audits = {}
        for name, faces in sets.items():
            audits[name] = audit_images(_some(faces, count), aligner)
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
    share = ours.found / ours.images
    yield Metric("crops/found", share, ours.images, title="faces found", unit="fraction", better="higher")
    yield Metric("crops/offset_px", offset, ours.found, title="offset (px)", better="lower", headline=True)
    yield Metric("crops/residual_px", residual, ours.found, title="residual (px)", better="lower")
    colored = [other for other in others if ours.colored and other.colored]
    warm = max((abs(ours.warm - other.warm) for other in colored), default=0.0)
    note = "" if colored else "no color to compare"
    shown: dict[str, Any] = {"title": "warmth", "unit": "fraction", "better": "lower", "headline": True, "note": note}
    yield Metric("crops/warmth", warm, ours.colored, **shown)
