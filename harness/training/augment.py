"""Augmentation of a batch on its device, with parameters of every image's own.

Letters: B images of a batch, H, W pixels.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from harness.errors import InputError, unknown

Augmentation = Callable[[Tensor, Tensor], Tensor]
"""Images uint8 [B, 3, H, W] on their device, keys int64 [B] -> images alike. A key is all that an image's draws use."""


def none(images: Tensor, keys: Tensor) -> Tensor:
    """Images as they are."""
    return images


def flip(images: Tensor, keys: Tensor) -> Tensor:
    """Mirror every other image, by the parity of its key."""
    mirrored = (keys & 1).bool().to(images.device)
    return torch.where(mirrored[:, None, None, None], images.flip(3), images)


AUGMENTATIONS: dict[str, Augmentation] = {"none": none, "flip": flip}


def named(name: str) -> Augmentation:
    """The augmentation of that name.

    Raises:
        InputError: there is none.
    """
    if name not in AUGMENTATIONS:
        raise InputError(f"margin trainer: {unknown('augmentation', name, AUGMENTATIONS)}")
    return AUGMENTATIONS[name]
