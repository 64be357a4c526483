"""Operations on color, each with a parameter per image, to the gray level as Pillow's.

Letters: M images, H, W pixels.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from harness.arrays import Doubles
from harness.training.augment.rows import per_image

# Weights of red, green and blue in Pillow's conversion to gray, in 65,536ths: those of ITU-R 601-2. A weighted sum and
# a half are below 2^24, so float32 holds them exactly.
_RED, _GREEN, _BLUE, _ONE = 19595.0, 38470.0, 7471.0, 65536.0


def grayscale(images: Tensor) -> Tensor:
    """The gray image of ``convert("L")``, three times."""
    return _gray(images.float()).to(torch.uint8).expand(-1, 3, -1, -1)


def brightness(images: Tensor, factors: Doubles) -> Tensor:
    """``ImageEnhance.Brightness``: a blend with black."""
    return _blend(0.0, images.float(), factors)


def contrast(images: Tensor, factors: Doubles) -> Tensor:
    """``ImageEnhance.Contrast``: a blend with the mean gray level."""
    x = images.float()
    mean = _gray(x).mean((1, 2, 3), keepdim=True, dtype=torch.float64)
    return _blend((mean + 0.5).floor_().float(), x, factors)


def color(images: Tensor, factors: Doubles) -> Tensor:
    """``ImageEnhance.Color``: a blend with the gray image."""
    x = images.float()
    return _blend(_gray(x), x, factors)


def sharpness(images: Tensor, factors: Doubles) -> Tensor:
    """``ImageEnhance.Sharpness``: a blend with ``ImageFilter.SMOOTH``, which leaves the border as it is."""
    x = images.float()
    lines = x[..., :-2, :] + x[..., 1:-1, :] + x[..., 2:, :]
    boxes = lines[..., :-2] + lines[..., 1:-1] + lines[..., 2:]  # sums of 3 x 3 pixels
    inner = x[..., 1:-1, 1:-1]
    smooth = x.clone()
    # Thirteenths, rounded: none lies between two levels, so the rounding of float32 does not matter.
    smooth[..., 1:-1, 1:-1] = boxes.add_(inner, alpha=4).mul_(1 / 13).round_()
    return _blend(smooth, x, factors)


def posterize(images: Tensor, bits: Doubles) -> Tensor:
    """``ImageOps.posterize``: keep the highest ``bits`` bits of every value."""
    return images & per_image(256 - 2 ** (8 - bits), images, torch.uint8)


def solarize(images: Tensor, thresholds: Doubles) -> Tensor:
    """``ImageOps.solarize``: invert all values from the threshold on."""
    over = images >= per_image(np.ceil(thresholds), images, torch.uint8)
    return images ^ over.to(torch.uint8).mul_(255)


def autocontrast(images: Tensor) -> Tensor:
    """``ImageOps.autocontrast``: stretch each color to all levels, by a table in double precision as there."""
    low, high = (level[..., None].double() for level in images.flatten(2).aminmax(dim=2))  # [M, 3, 1]
    white = torch.full_like(high, 255)  # a number divided by a tensor would be multiplied by its reciprocal
    scale = torch.where(high > low, white / (high - low), 1.0)
    offset = torch.where(high > low, -low * scale, 0.0)
    levels = torch.arange(256, dtype=torch.float64, device=images.device)
    table = (levels * scale + offset).clamp_(0, 255).to(torch.uint8)  # [M, 3, 256]
    return table.gather(2, images.flatten(2).to(torch.int64)).view_as(images)


def equalize(images: Tensor) -> Tensor:
    """``ImageOps.equalize``; torchvision's kernel treats every image and color by itself."""
    from torchvision.transforms.v2.functional import equalize_image  # late: it takes a second to load

    equalized: Tensor = equalize_image(images)
    return equalized


def _gray(x: Tensor) -> Tensor:
    """Gray levels of images float32 [M, 3, H, W] as ``convert("L")`` gives them, float32 [M, 1, H, W]."""
    weighted: Tensor = (x[:, :1] * _RED).add_(x[:, 1:2] * _GREEN).add_(x[:, 2:] * _BLUE)
    return weighted.add_(_ONE / 2).mul_(1 / _ONE).floor_()


def _blend(other: Tensor | float, x: Tensor, factors: Doubles) -> Tensor:
    """``Image.blend``: other + factor (x - other), in float32 [M, 3, H, W] and cut to levels; factors [M].

    ``x`` is used up.
    """
    return x.sub_(other).mul_(per_image(factors, x)).add_(other).clamp_(0, 255).to(torch.uint8)
