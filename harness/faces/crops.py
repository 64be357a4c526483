"""Named crops: where the five landmarks of an aligned face lie.

Letters: S side of the crop in pixels. Points are (x, y), pixel centers at integers, in the order image-left eye,
image-right eye, nose tip, image-left mouth corner, image-right mouth corner.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.arrays import Doubles
from harness.components.base import RAW
from harness.errors import InputError
from harness.plugins import import_target, registry

ARCFACE = "arcface"
# Source: the public ArcFace reference (arXiv 1801.07698), its landmarks for 112 x 112 crops.
REFERENCE_112 = (
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
)
REFERENCE_SIZE_PX = 112
# By so much x is smaller for the older crops, 96 px wide. Source: SphereFace, arXiv 1704.08063
NARROW_SHIFT_PX = 8.0


@dataclass(frozen=True)
class CropTemplate:
    """A crop that faces are warped to: the least-squares similarity that brings their landmarks to its points.

    Attributes:
        points: the five points of a frontal face, in pixels of a crop of ``size_px``.
        size_px: S that the points are given for.
    """

    points: tuple[tuple[float, float], ...]
    size_px: int

    def landmarks(self, size_px: int) -> Doubles:
        """The five points in a crop of another size: p_S = (p + 0.5) * S / size_px - 0.5.

        The half pixels keep the *area* that a crop shows the same at every size, because pixel 0 has its center at 0
        and reaches from -0.5 to 0.5.

        Args:
            size_px: S, at least 1.

        Returns:
            float64 [5, 2] in pixels of the crop.
        """
        if size_px < 1:
            raise ValueError(f"crop size is {size_px} px; expected at least 1")
        return (np.asarray(self.points, dtype=np.float64) + 0.5) * (size_px / self.size_px) - 0.5


ARCFACE_CROP = CropTemplate(REFERENCE_112, REFERENCE_SIZE_PX)


def crop_template(view: str) -> CropTemplate:
    """The template of a crop by the name that a plugin registered.

    Raises:
        InputError: nobody did, or the crop is no template.
    """
    if view == RAW:
        raise InputError(f"{RAW} pictures are not aligned; expected a crop by landmarks, such as {ARCFACE}")
    template = import_target(registry().find("crops", view).target)
    if not isinstance(template, CropTemplate) or np.shape(template.points) != (5, 2):
        raise InputError(f"crop {view!r}: expected a CropTemplate of five points, got {type(template).__name__}")
    return template


def reference_landmarks(size_px: int, view: str = ARCFACE) -> Doubles:
    """The five points of a frontal face in a crop, float64 [5, 2]; see :meth:`CropTemplate.landmarks`."""
    return crop_template(view).landmarks(size_px)
