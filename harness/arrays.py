"""The arrays that cross seams, by element type; a docstring beside each use says its shape."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]
"""RGB pixels, [N, H, W, 3]."""
Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Bools = NDArray[np.bool_]
AnyInts = NDArray[np.integer[Any]]
AnyFloats = NDArray[np.floating[Any]]
