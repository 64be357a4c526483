"""The warp by landmarks that are known, such as the exact ones of a rendered face."""

from __future__ import annotations

import numpy as np

from harness.components.base import Crop
from harness.components.images import AlignedBatch, ImageBatch
from harness.faces.crops import reference_landmarks
from harness.faces.warp import similarity, warp

NO_LANDMARKS = "no landmarks given"
SAME_POINT = "all landmarks in one point"


def align_by_landmarks(batch: ImageBatch, crop: Crop) -> AlignedBatch:
    """Warp every image whose five landmarks are known and apart to ``crop``; the others get a reason.

    Args:
        crop: of any view but ``raw``.
    """
    count = len(batch)
    given = batch.landmarks
    points = np.full((count, 5, 2), np.nan, np.float32) if given is None else np.asarray(given, np.float32)
    known = [bool(np.isfinite(item).all()) for item in points]
    matrices = similarity(points, reference_landmarks(crop.size_px, crop.view))
    fits = [bool(matrix.any()) for matrix in matrices]
    reasons = [NO_LANDMARKS if not k else None if f else SAME_POINT for k, f in zip(known, fits, strict=True)]
    unknown = np.full((count, 4), np.nan, np.float32)
    return AlignedBatch(warp(batch.images, matrices, crop.size_px), reasons, points, unknown, unknown[:, 0].copy())
