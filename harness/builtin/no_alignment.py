"""``none``: takes images that are in the crop already."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from harness.arrays import Images
from harness.components.aligner import Aligner
from harness.components.base import APACHE, Crop
from harness.components.images import AlignedBatch, ImageBatch

if TYPE_CHECKING:
    from harness.components.run import Run


class NoAlignment(Aligner):
    """Believes that the images are crops; resizes them (bilinear, antialiased) if their size differs. Never fails."""

    license = APACHE

    def align(self, batch: ImageBatch, crop: Crop, run: Run) -> AlignedBatch:
        """Pass the images on; see :class:`harness.components.Aligner`."""
        count = len(batch)
        points = np.full((count, 5, 2), np.nan, np.float32)
        if batch.landmarks is not None:
            points = np.asarray(batch.landmarks, np.float32)
        unknown = np.full((count, 4), np.nan, np.float32)
        fits = batch.images.shape[1:3] == (crop.size_px, crop.size_px)
        images = batch.images if fits else _resize(batch.images, crop.size_px)
        return AlignedBatch(images, [None] * count, points, unknown, unknown[:, 0].copy())


def _resize(images: Images, size_px: int) -> Images:
    from harness.coding import from_unit, to_unit

    return from_unit(to_unit(images, size_px))
