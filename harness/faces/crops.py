"""The ArcFace crop: where the five landmarks of an aligned face lie.

Letters: S side of the crop in pixels. Points are (x, y), pixel centers at integers, in the order image-left eye,
image-right eye, nose tip, image-left mouth corner, image-right mouth corner.
"""

from __future__ import annotations

import numpy as np

from harness.arrays import Doubles

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


def reference_landmarks(size_px: int) -> Doubles:
    """The five points of a frontal face in a crop of another size: p_S = (p_112 + 0.5) * S / 112 - 0.5.

    The half pixels keep the *area* that a crop shows the same at every size, because pixel 0 has its center at 0 and
    reaches from -0.5 to 0.5.

    Args:
        size_px: S, at least 1.

    Returns:
        float64 [5, 2] in pixels of the crop.
    """
    if size_px < 1:
        raise ValueError(f"crop size is {size_px} px; expected at least 1")
    return (np.asarray(REFERENCE_112, dtype=np.float64) + 0.5) * (size_px / REFERENCE_SIZE_PX) - 0.5
