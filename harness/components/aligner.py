"""Aligners: find the face, warp it to the reference landmarks of the crop, or say why not."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from harness.components.base import Component, Crop
from harness.components.images import AlignedBatch, ImageBatch

if TYPE_CHECKING:
    from harness.components.run import Run


class Aligner(Component):
    """Turns raw images into crops."""

    @abstractmethod
    def align(self, batch: ImageBatch, crop: Crop, run: Run) -> AlignedBatch:
        """Align every image of the batch to ``crop``; an image without a face gets a reason, never an exception."""
