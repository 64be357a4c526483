"""``landmarks``: warps by the landmarks that the images come with, such as the exact ones of a rendered face."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.components.aligner import Aligner
from harness.components.base import APACHE, Crop
from harness.components.images import AlignedBatch, ImageBatch
from harness.faces.landmarks import align_by_landmarks

if TYPE_CHECKING:
    from harness.components.run import Run


class LandmarksAligner(Aligner):
    """Detects nothing; an image without landmarks fails."""

    license = APACHE

    def align(self, batch: ImageBatch, crop: Crop, run: Run) -> AlignedBatch:
        """Warp every image whose five landmarks are known; see :class:`harness.components.Aligner`."""
        return align_by_landmarks(batch, crop)
