"""Rectangles of random area and shape: erased, or all that is kept.

Letters: B images, H, W pixels, M images that are changed.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from harness import noise
from harness.arrays import Bools, Doubles, Ints
from harness.training.augment.rows import change

ERASE_P, ERASE_AREA, ERASE_ASPECT = 0.5, (0.02, 0.33), (0.3, 3.3)  # defaults of torchvision's RandomErasing
CROP_P, CROP_AREA, CROP_ASPECT = 0.2, (0.2, 1.0), (3 / 4, 4 / 3)  # Source: CVLFace
TRIES = 10  # a rectangle that does not fit is drawn again, so often; as both of torchvision's transforms do


def erase(images: Tensor, keys: Ints) -> None:
    """RandomErasing: in half of the images uint8 [B, 3, H, W] a rectangle turns black.

    Source: arXiv 1708.04896, algorithm 1, with torchvision's defaults. That its value 0 is the pixels' own, before they
    are normalized, is ours.
    """
    u = noise.keyed(keys, 3 + 2 * TRIES, "erase")
    boxes, fit = rectangles(u[:, 1:], ERASE_AREA, ERASE_ASPECT, images, left_over=1)
    change(images, (u[:, 0] < ERASE_P) & fit, lambda x, rows: x * ~inside(boxes[rows], x))


def crop(images: Tensor, keys: Ints) -> None:
    """In a fifth of the images uint8 [B, 3, H, W] a rectangle stays where it is, and all else turns black.

    Source: CVLFace, for area and aspect. That they are drawn as by torchvision's RandomResizedCrop (the aspect uniform
    in its logarithm, ten tries, else the whole image) is ours.
    """
    u = noise.keyed(keys, 3 + 2 * TRIES, "crop")
    boxes, fit = rectangles(u[:, 1:], CROP_AREA, CROP_ASPECT, images)
    change(images, (u[:, 0] < CROP_P) & fit, lambda x, rows: x * inside(boxes[rows], x))


def rectangles(
    u: Doubles, areas: tuple[float, float], aspects: tuple[float, float], images: Tensor, left_over: int = 0
) -> tuple[Ints, Bools]:
    """For each image the first of ``TRIES`` random rectangles that fits into it.

    Args:
        u: uniform numbers, float64 [B, 2 + 2 * TRIES]: for the place, the areas and the aspects.
        areas: least and greatest share of the image's area; uniform.
        aspects: least and greatest height by width; uniform in the logarithm.
        images: [B, 3, H, W]; only their size counts.
        left_over: rows and columns that a rectangle must leave at least.

    Returns:
        Top, left, height and width of each, int64 [B, 4]; whether there is one, bool [B].
    """
    size = np.array(images.shape[2:])
    area = size.prod() * (areas[0] + (areas[1] - areas[0]) * u[:, 2 : 2 + TRIES])  # [B, TRIES]
    low, high = np.log(aspects)
    aspect = np.exp(low + (high - low) * u[:, 2 + TRIES :])
    sides = np.stack([np.rint(np.sqrt(area * aspect)), np.rint(np.sqrt(area / aspect))], axis=2)  # [B, TRIES, 2]
    fit: Bools = np.all(sides <= size - left_over, axis=2)
    chosen = sides[np.arange(len(u)), fit.argmax(axis=1)]  # [B, 2]
    corners = np.floor(u[:, :2] * (size + 1 - chosen))
    return np.concatenate([corners, chosen], axis=1).astype(np.int64), np.asarray(fit.any(axis=1))


def inside(boxes: Ints, images: Tensor) -> Tensor:
    """Which pixels of images [M, 3, H, W] lie in their box [M, 4]; bool [M, 1, H, W]."""
    top, left, height, width = torch.from_numpy(boxes).to(images.device).T[..., None, None, None]
    y = torch.arange(images.shape[2], device=images.device)[:, None]
    x = torch.arange(images.shape[3], device=images.device)
    found: Tensor = (y >= top) & (y < top + height) & (x >= left) & (x < left + width)
    return found
