"""Photometric augmentation: brightness, contrast and saturation by random factors, in random order.

Letters: B images, H, W pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor

from harness import noise
from harness.arrays import Bools, Doubles, Ints
from harness.training.augment import color
from harness.training.augment.rows import change

# Source: CVLFace
P, FACTORS = 0.2, (0.5, 1.5)
OPERATIONS = (color.brightness, color.contrast, color.color)


def photometric(images: Tensor, keys: Ints) -> None:
    """Change the colors of a fifth of the images uint8 [B, 3, H, W]."""
    changed, factors, order = drawn(keys)
    for turn in range(len(OPERATIONS)):
        for index, operation in enumerate(OPERATIONS):
            rows = changed & (order[:, turn] == index)
            change(images, rows, partial(_operate, operation, factors[:, index]))


def _operate(operation: Callable[[Tensor, Doubles], Tensor], factors: Doubles, x: Tensor, rows: Ints) -> Tensor:
    return operation(x, factors[rows])


def drawn(keys: Ints) -> tuple[Bools, Doubles, Ints]:
    """Which images change, their factors by operation [B, 3], and the positions in ``OPERATIONS`` in order [B, 3]."""
    u = noise.keyed(keys, 7, "photometric")
    return u[:, 0] < P, FACTORS[0] + (FACTORS[1] - FACTORS[0]) * u[:, 1:4], u[:, 4:].argsort(axis=1)
