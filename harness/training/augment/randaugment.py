"""RandAugment as the synthetic face literature uses it: four operations a picture, of a random strength each.

Source: NegFaceDiff repository (methods: arXiv 1909.13719, without vertical shifts and with a random bin).

Letters: B images of a batch, H, W pixels, M images that one operation is applied to.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial

import numpy as np
import torch
from torch import Tensor

from harness import noise
from harness.arrays import Doubles, Ints
from harness.training.augment import color, geometry
from harness.training.augment.rows import change

OPERATIONS = (
    "identity",
    "shear-x",
    "translate-x",
    "rotate",
    "brightness",
    "color",
    "contrast",
    "sharpness",
    "posterize",
    "solarize",
    "autocontrast",
    "equalize",
    "grayscale",
)
SIGNED = frozenset({"shear-x", "translate-x", "rotate", "brightness", "color", "contrast", "sharpness"})
COUNT, STRONGEST = 4, 16  # operations a picture; bins are drawn from 1 to this
BINS = 31  # the strongest there is has number 30
# Greatest magnitudes, at bin 30. Source: torchvision's RandAugment, which the reference takes over
_SHEAR, _DEGREES, _ENHANCE = 0.3, 30.0, 0.9
_SHARE_MOVED = 150 / 331  # of the width

# Those that move pixels give matrices, so that all of them are one call of the kernel.
_MOVES: dict[str, Callable[[Doubles, int, int], Doubles]] = {
    "shear-x": geometry.shear_x,
    "translate-x": geometry.translate_x,
    "rotate": geometry.rotate,
}
_KERNELS: dict[str, Callable[[Tensor, Doubles], Tensor]] = {
    "brightness": lambda x, magnitudes: color.brightness(x, 1 + magnitudes),
    "color": lambda x, magnitudes: color.color(x, 1 + magnitudes),
    "contrast": lambda x, magnitudes: color.contrast(x, 1 + magnitudes),
    "sharpness": lambda x, magnitudes: color.sharpness(x, 1 + magnitudes),
    "posterize": color.posterize,
    "solarize": color.solarize,
    "autocontrast": lambda x, magnitudes: color.autocontrast(x),
    "equalize": lambda x, magnitudes: color.equalize(x),
    "grayscale": lambda x, magnitudes: color.grayscale(x),
}


def randaugment(images: Tensor, keys: Ints) -> None:
    """Apply ``COUNT`` random operations to each image uint8 [B, 3, H, W], one after another."""
    operations, bins, signs = drawn(keys)
    for turn in range(COUNT):
        _move(images, operations[:, turn], bins[:, turn], signs[:, turn])
        for name in _KERNELS:
            rows = operations[:, turn] == OPERATIONS.index(name)
            strengths = magnitudes(name, bins[:, turn], signs[:, turn], images.shape[3])
            change(images, rows, partial(_operate, _KERNELS[name], strengths))


def _operate(kernel: Callable[[Tensor, Doubles], Tensor], strengths: Doubles, x: Tensor, rows: Ints) -> Tensor:
    return kernel(x, strengths[rows])


def _move(images: Tensor, operations: Ints, bins: Ints, signs: Ints) -> None:
    """Move the pixels of all images [B, 3, H, W] whose operation does so."""
    height, width = images.shape[2:]
    matrices, moved = np.zeros((len(images), 6)), np.zeros(len(images), bool)
    for name, matrix in _MOVES.items():
        rows = operations == OPERATIONS.index(name)
        matrices[rows] = matrix(magnitudes(name, bins[rows], signs[rows], width), height, width)
        moved |= rows
    change(images, moved, lambda x, rows: geometry.move(x, matrices[rows]))


def operate(name: str, images: Tensor, strengths: Doubles) -> Tensor:
    """One operation on images uint8 [M, 3, H, W], with a magnitude each, float64 [M]."""
    if name in _MOVES:
        return geometry.move(images, _MOVES[name](strengths, *images.shape[2:]))
    return _KERNELS[name](images, strengths) if name in _KERNELS else images


def drawn(keys: Ints) -> tuple[Ints, Ints, Ints]:
    """What each image undergoes, int64 [B, COUNT] each: positions in ``OPERATIONS``, bins from 1, signs of 1 or -1."""
    u = noise.keyed(keys, 3 * COUNT, "randaugment").reshape(-1, 3, COUNT)
    operations = np.floor(u[:, 0] * len(OPERATIONS)).astype(np.int64)
    bins = 1 + np.floor(u[:, 1] * STRONGEST).astype(np.int64)
    return operations, bins, np.where(u[:, 2] < 0.5, -1, 1)


def magnitudes(name: str, bins: Ints, signs: Ints, width: int) -> Doubles:
    """Magnitudes of an operation by bin, float64 [M]: a slope, pixels, degrees, change of a factor, bits or a level.

    Args:
        bins: 0 to 30.
        signs: 1 or -1; for operations that have one.
        width: of the images, in pixels.
    """
    scale = _scale(name, width)[bins]
    return scale * signs if name in SIGNED else scale


@lru_cache
def _scale(name: str, width: int) -> Doubles:
    """The magnitudes of all bins, float64 [BINS], rounded to float32 as torchvision's are."""
    if name == "posterize":
        return 8 - np.round(np.arange(BINS) / 7.5)
    ends = {
        "shear-x": (0.0, _SHEAR),
        "translate-x": (0.0, _SHARE_MOVED * width),
        "rotate": (0.0, _DEGREES),
        "solarize": (255.0, 0.0),
        **dict.fromkeys(("brightness", "color", "contrast", "sharpness"), (0.0, _ENHANCE)),
    }
    return torch.linspace(*ends.get(name, (0.0, 0.0)), BINS).double().numpy()
