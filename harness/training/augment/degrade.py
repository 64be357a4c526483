"""Low resolution: images are shrunk and enlarged again, by a factor and interpolations of their own.

Resizing is linear, so each image is multiplied by a matrix for its factor and interpolation. All matrices of an image
size are made once, in Pillow's fixed point with 22 bits: products and sums of such integers are exact in double
precision, on every device and in every order.

Letters: B images, S side in pixels, n side of the shrunk image, M images that are changed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from harness import noise
from harness.arrays import Bools, Doubles, Ints
from harness.training.augment.rows import change

# Source: CVLFace, for these three. What it calls area is Pillow's box filter here; all but nearest are antialiased.
P, FACTOR = 0.2, (0.2, 1.0)
INTERPOLATIONS = ("nearest", "bilinear", "area", "bicubic", "lanczos")
_BITS = 22  # below the point. Source: Pillow, Resample.c
_CUBIC = -0.5  # parameter of the bicubic filter. Source: Pillow


def lower_resolution(images: Tensor, keys: Ints) -> None:
    """Shrink a fifth of the images uint8 [B, 3, S, S] by a uniform factor and enlarge them again.

    Raises:
        ValueError: the images are not square.
    """
    size = images.shape[3]
    if images.shape[2] != size:
        raise ValueError(f"got images of {size} x {images.shape[2]} pixels, expected square ones")
    lower, sides, shrink, enlarge = drawn(keys, size)
    change(images, lower, lambda x, rows: resized(x, sides[rows], shrink[rows], enlarge[rows]))


def drawn(keys: Ints, size: int) -> tuple[Bools, Ints, Ints, Ints]:
    """What happens to each image: whether it is changed, n, and positions in ``INTERPOLATIONS`` for both ways; [B]."""
    u = noise.keyed(keys, 4, "low resolution")
    sides = np.maximum(1, np.rint(size * (FACTOR[0] + (FACTOR[1] - FACTOR[0]) * u[:, 1]))).astype(np.int64)
    shrink, enlarge = (np.floor(len(INTERPOLATIONS) * u[:, 2:]).astype(np.int64)).T
    return u[:, 0] < P, sides, shrink, enlarge


def resized(images: Tensor, sides: Ints, shrink: Ints, enlarge: Ints) -> Tensor:
    """Images uint8 [M, 3, S, S] shrunk to ``sides`` [M] and enlarged again, by the interpolations [M] each."""
    down, up = _matrices(images.shape[3], images.device)
    rows = torch.from_numpy(np.stack([sides - 1, shrink, enlarge])).to(images.device)
    x = images.double()
    for matrices in (down[rows[0], rows[1]].double(), up[rows[0], rows[2]].double()):  # [M, S, S] each
        x = _rounded(x @ matrices.mT[:, None])  # lines first, then columns, with gray levels in between: as Pillow
        x = _rounded(matrices[:, None] @ x)
    return x.to(torch.uint8)


def _rounded(sums: Tensor) -> Tensor:
    return sums.add_(1 << (_BITS - 1)).mul_(2.0**-_BITS).floor_().clamp_(0, 255)


@lru_cache(maxsize=4)
def _matrices(size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Matrices that shrink to n pixels and that enlarge from n, integers in float32 [S, interpolations, S, S].

    They are indexed by n - 1; what lies beyond n is 0. At 112 px each takes 28 MB.
    """
    down = torch.zeros(size, len(INTERPOLATIONS), size, size)
    up = torch.zeros_like(down)
    for n in range(1, size + 1):
        for index, name in enumerate(INTERPOLATIONS):
            down[n - 1, index, :n] = torch.from_numpy(weights(name, size, n))
            up[n - 1, index, :, :n] = torch.from_numpy(weights(name, n, size))
    return down.to(device), up.to(device)


def weights(name: str, old: int, new: int) -> Doubles:
    """What each old pixel of a line gives to each new one, in units of 2^-22; float64 [new, old]."""
    if old == new:
        return np.eye(new) * 2.0**_BITS
    if (
        name == "nearest"
    ):  # Pillow adds up the step from pixel to pixel, whose rounding decides between equally near ones
        steps = np.full(new, old / new)
        steps[0] /= 2
        taken: Doubles = (np.arange(old) == np.floor(steps.cumsum())[:, None]) * 2.0**_BITS
        return taken
    middles = (np.arange(new) + 0.5)[:, None] * (old / new)
    reach, curve = _FILTERS[name]
    scale = max(1.0, old / new)  # shrinking widens the filter
    first = np.maximum(0, np.trunc(middles - reach * scale + 0.5))
    last = np.minimum(old, np.trunc(middles + reach * scale + 0.5))
    pixels = np.arange(old)
    values: Doubles = curve((pixels - middles + 0.5) / scale) * ((pixels >= first) & (pixels < last))
    values = values / values.sum(axis=1, keepdims=True) * 2.0**_BITS
    rounded: Doubles = np.trunc(values + np.copysign(0.5, values))
    return rounded


def _bicubic(x: Doubles) -> Doubles:
    x = np.abs(x)
    near = ((_CUBIC + 2) * x - (_CUBIC + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * _CUBIC
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


# How far each filter reaches, in pixels, and its curve. Source: Pillow's documentation, "Filters"
_FILTERS: dict[str, tuple[float, Callable[[Doubles], Doubles]]] = {
    "bilinear": (1.0, lambda x: np.maximum(0.0, 1 - np.abs(x))),
    "area": (0.5, lambda x: ((x > -0.5) & (x <= 0.5)).astype(np.float64)),
    "bicubic": (2.0, _bicubic),
    "lanczos": (3.0, lambda x: np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0.0)),
}
