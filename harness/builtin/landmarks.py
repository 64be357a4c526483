"""``landmarks``: warps by the landmarks that the images come with, such as the exact ones of a rendered face."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from harness.components.aligner import Aligner
from harness.components.base import APACHE, Crop
from harness.components.data import AlignedBatch, ImageBatch
from harness.errors import InputError
from harness.faces.crops import template
from harness.faces.warp import similarity, warp

if TYPE_CHECKING:
    from harness.components.run import Run

NO_LANDMARKS = "no landmarks given"
SAME_POINT = "all landmarks in one point"


class LandmarksAligner(Aligner):
    """Detects nothing; an image without landmarks fails."""

    license = APACHE
    code = ("harness.builtin.landmarks", "harness.faces.warp", "harness.faces.crops")

    def align(self, batch: ImageBatch, crop: Crop, run: Run) -> AlignedBatch:
        """Warp every image whose five landmarks are known; see :class:`harness.components.Aligner`."""
        if crop.view != "arcface":
            raise InputError(f"aligner landmarks makes arcface crops, not {crop.view}; use aligner: none")
        count = len(batch)
        given = batch.landmarks
        points = np.full((count, 5, 2), np.nan, np.float32) if given is None else np.asarray(given, np.float32)
        known = [bool(np.isfinite(item).all()) for item in points]
        matrices = similarity(points, template(crop.size_px))
        fits = [bool(matrix.any()) for matrix in matrices]
        reasons = [NO_LANDMARKS if not k else None if f else SAME_POINT for k, f in zip(known, fits, strict=True)]
        unknown = np.full((count, 4), np.nan, np.float32)
        return AlignedBatch(warp(batch.images, matrices, crop.size_px), reasons, points, unknown, unknown[:, 0].copy())
