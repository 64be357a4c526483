"""A look at pictures that are taken for crops, before a protocol is made of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from harness.arrays import Images
from harness.errors import StageError
from harness.graph import ProtocolStage
from harness.stages.plans import read_plan
from harness.stages.work import Work

LOOKED_AT = 48  # pictures; with MTCNN on one core they take one to three seconds, once for a protocol


def look_at_crops(work: Work[ProtocolStage]) -> None:
    """Stop where a protocol's pictures, which bring no landmarks and so are taken for crops, are none.

    Raises:
        StageError: MTCNN finds the faces elsewhere; it says where.
    """
    from harness.builtin.mtcnn import MTCNNAligner
    from harness.data.survey import audit_images, no_crops

    seen = list(_some(work))
    fault = no_crops(audit_images(seen, MTCNNAligner())) if seen else ""
    if fault:
        cure = "name one that finds them, such as aligner: mtcnn, or aligner: none to take the pictures as they are"
        raise StageError(f"the pictures are no crops, and the protocol has no aligner: {fault}; {cure}")


def _some(work: Work[ProtocolStage]) -> Iterator[Images]:
    """Evenly spaced pictures; none where they bring landmarks."""
    plan = read_plan(work.folder)
    for row in np.unique(np.linspace(0, len(plan) - 1, LOOKED_AT).astype(np.int64)).tolist():
        for batch in work.component.sample(plan.rows(row, row + 1), work.run):
            if batch.landmarks is not None:
                return
            yield batch.images[0]
