"""Flip, shear, translation and rotation: every pixel is one of the image's, or black.

Letters: B images, H, W pixels, M images that are moved.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness import noise
from harness.arrays import Doubles, Ints
from harness.training.augment.rows import change

FLIP_P = 0.5
_ONE = 65536  # Pillow computes positions in fixed point with 16 bits below the point


def flip(images: Tensor, keys: Ints) -> None:
    """Mirror half of the images [B, 3, H, W] left to right."""
    change(images, noise.keyed(keys, 1, "flip")[:, 0] < FLIP_P, lambda x, rows: x.flip(3))


def shear_x(slopes: Doubles, height: int, width: int) -> Doubles:
    """Matrices that shear about the top left corner: a line is moved by ``slope`` pixels against the one above it."""
    return _matrices(len(slopes), b=slopes)


def translate_x(pixels: Doubles, height: int, width: int) -> Doubles:
    """Matrices that move to the right by pixels, cut to whole ones towards 0."""
    return _matrices(len(pixels), c=-np.trunc(pixels))


def rotate(degrees: Doubles, height: int, width: int) -> Doubles:
    """Matrices that turn about the middle, counter-clockwise; rounded as ``Image.rotate`` rounds them."""
    angle = -np.radians(degrees % 360.0)
    cos, sin = np.round(np.cos(angle), 15), np.round(np.sin(angle), 15)
    x, y = width / 2, height / 2
    return np.stack([cos, sin, cos * -x + sin * -y + x, -sin, cos, -sin * -x + cos * -y + y], axis=1)


def move(images: Tensor, matrices: Doubles) -> Tensor:
    """Take each pixel (x, y) from (a x + b y + c, d x + e y + f), the nearest one; black outside the image.

    Positions are computed as ``Image.transform(size, AFFINE, matrix, NEAREST)`` does, in fixed point from the pixel's
    middle, and so are the same to the pixel.

    Args:
        images: uint8 [M, 3, H, W].
        matrices: (a, b, c, d, e, f) of each image, float64 [M, 6].
    """
    count, _, height, width = images.shape
    a, b, c, d, e, f = matrices.T
    fixed = _fixed(np.stack([a, b, c + a * 0.5 + b * 0.5, d, e, f + d * 0.5 + e * 0.5]))  # [6, M]
    a, b, c, d, e, f = torch.from_numpy(fixed).to(images.device)[..., None, None]  # [M, 1, 1] each
    x = torch.arange(width, dtype=torch.int32, device=images.device)
    y = torch.arange(height, dtype=torch.int32, device=images.device)[:, None]
    from_x, from_y = (c + a * x + b * y) >> 16, (f + d * x + e * y) >> 16  # [M, H, W]
    inside = (from_x >= 0) & (from_x < width) & (from_y >= 0) & (from_y < height)
    at = (from_y * width + from_x).where(inside, 0).to(torch.int64).reshape(count, 1, height * width)
    moved = images.flatten(2).gather(2, at.expand(-1, 3, -1)).view_as(images)
    return moved.mul_(inside[:, None])


def _fixed(values: Doubles) -> NDArray[np.int32]:
    return np.floor(values * _ONE + 0.5).astype(np.int32)


def _matrices(count: int, b: Doubles | float = 0.0, c: Doubles | float = 0.0) -> Doubles:
    """(1, b, c, 0, 1, 0) for each image."""
    out = np.tile(np.array([1.0, 0, 0, 0, 1, 0]), (count, 1))
    out[:, 1], out[:, 2] = b, c
    return out
