"""Augmentation of batches, on any device. What happens to an image is a function of its key alone.

An image is drawn the same whatever batch, device, order or process it is in: its parameters come from counter-based
numbers (:func:`harness.noise.keyed`), and pixels are computed in integers, or in steps of IEEE arithmetic that round
alike everywhere. Images are uint8 at every seam, as Pillow's are, and each operation gives what Pillow gives
(:mod:`harness.training.augment.pil`).

Letters: B images of a batch, H, W pixels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from harness.arrays import Ints
from harness.errors import InputError, unknown
from harness.training.augment import degrade, geometry, photometric, randaugment, rectangles

Augment = Callable[[Tensor, Tensor], Tensor]
"""(images uint8 [B, 3, H, W] on any device, keys int64 [B] on the CPU) to images uint8 [B, 3, H, W]."""

# The steps of each augmentation in order; each changes a batch in place. Sources: NegFaceDiff's repository for its rows
# "with augmentation"; torchvision's RandomErasing, which the Vec2Face recipe needs; CVLFace.
_STEPS: dict[str, tuple[Callable[[Tensor, Ints], None], ...]] = {
    "none": (),
    "flip": (geometry.flip,),
    "flip+randaugment-4-16": (geometry.flip, randaugment.randaugment),
    "flip+erasing": (geometry.flip, rectangles.erase),
    "cvlface": (rectangles.crop, degrade.lower_resolution, photometric.photometric, geometry.flip),
}
NAMES = tuple(_STEPS)


def named(name: str) -> Augment:
    """The augmentation of a name, one of ``NAMES``.

    Raises:
        InputError: there is none of that name.
    """
    if name not in _STEPS:
        raise InputError(unknown("augmentation", name, NAMES))
    steps = _STEPS[name]

    def augment(images: Tensor, keys: Tensor) -> Tensor:
        _check(images, keys)
        out, numbers = images.clone(memory_format=torch.contiguous_format), keys.numpy()
        for step in steps:
            step(out, numbers)
        return out

    return augment


def image_keys(seed: int, epoch: int, images: Tensor) -> Tensor:
    """A key for each image of an epoch, int64 [B].

    Args:
        seed: the training's.
        epoch: from 0.
        images: positions of the images in the dataset, int64 [B].
    """
    digest = hashlib.blake2b(f"{int(seed)}/augment/{int(epoch)}".encode(), digest_size=8).digest()
    return images.cpu() + int(np.frombuffer(digest, np.int64)[0])  # wraps around at 2^63, as is meant


def _check(images: Tensor, keys: Tensor) -> None:
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"got images {images.dtype} {list(images.shape)}, expected uint8 [B, 3, H, W]")
    if keys.dtype != torch.int64 or keys.shape != images.shape[:1] or keys.device.type != "cpu":
        got = f"{keys.dtype} {list(keys.shape)} on {keys.device}"
        raise ValueError(f"got keys {got}, expected int64 [{len(images)}] on the CPU")
