"""The warp by landmarks that are known, such as the exact ones of a rendered face."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from harness.components.base import Crop
from harness.components.images import AlignedBatch, ImageBatch
from harness.errors import DataError
from harness.faces.crops import reference_landmarks
from harness.faces.warp import similarity, warp

NO_LANDMARKS = "no landmarks given"
SAME_POINT = "all landmarks in one point"


def align_by_landmarks(batch: ImageBatch, crop: Crop, supersample: bool = True) -> AlignedBatch:
    """Warp every image whose five landmarks are known and apart to ``crop``; the others get a reason.

    Args:
        crop: of any view but ``raw``.
        supersample: see :func:`harness.faces.warp.warp`.
    """
    count = len(batch)
    given = batch.landmarks
    points = np.full((count, 5, 2), np.nan, np.float32) if given is None else np.asarray(given, np.float32)
    known = [bool(np.isfinite(item).all()) for item in points]
    matrices = similarity(points, reference_landmarks(crop.size_px, crop.view))
    fits = [bool(matrix.any()) for matrix in matrices]
    reasons = [NO_LANDMARKS if not k else None if f else SAME_POINT for k, f in zip(known, fits, strict=True)]
    unknown = np.full((count, 4), np.nan, np.float32)
    images = warp(batch.images, matrices, crop.size_px, supersample)
    return AlignedBatch(images, reasons, points, unknown, unknown[:, 0].copy())


def as_crops(batch: ImageBatch) -> ImageBatch:
    """Images taken for ArcFace crops: each with the reference landmarks of its size, so that a warp only resizes.

    Raises:
        DataError: an image is not square, so it cannot be such a crop.
    """
    height, width = batch.images.shape[1:3]
    if height != width:
        name = batch.names[0] if batch.names else f"identity {batch.identities[0]}, sample {batch.samples[0]}"
        text = "expected a square ArcFace crop; photographs need an aligner"
        raise DataError(f"{name}: it has {width} x {height} px; {text}")
    points = reference_landmarks(height).astype(np.float32)
    return replace(batch, landmarks=np.repeat(points[None], len(batch), axis=0))
