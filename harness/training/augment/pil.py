"""The same operations by Pillow, one image at a time: what published code does, for parity and for timing.

The tensor forms give the same bytes; ``tests/unit/training`` holds them to it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from PIL import Image, ImageEnhance, ImageOps


def operate(name: str, image: Image.Image, magnitude: float) -> Image.Image:
    """One operation of RandAugment, with its signed magnitude."""
    return _OPERATIONS[name](image, magnitude)


def _transformed(image: Image.Image, *matrix: float) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST, fillcolor=(0, 0, 0))


_OPERATIONS: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "identity": lambda image, m: image,
    "shear-x": lambda image, m: _transformed(image, 1, m, 0, 0, 1, 0),
    "translate-x": lambda image, m: _transformed(image, 1, 0, -int(m), 0, 1, 0),
    "rotate": lambda image, m: image.rotate(m, Image.Resampling.NEAREST, fillcolor=(0, 0, 0)),
    "brightness": lambda image, m: ImageEnhance.Brightness(image).enhance(1 + m),
    "color": lambda image, m: ImageEnhance.Color(image).enhance(1 + m),
    "contrast": lambda image, m: ImageEnhance.Contrast(image).enhance(1 + m),
    "sharpness": lambda image, m: ImageEnhance.Sharpness(image).enhance(1 + m),
    "posterize": lambda image, m: ImageOps.posterize(image, int(m)),
    "solarize": lambda image, m: ImageOps.solarize(image, math.ceil(m)),  # levels below it are those below m
    "autocontrast": lambda image, m: ImageOps.autocontrast(image),
    "equalize": lambda image, m: ImageOps.equalize(image),
    "grayscale": lambda image, m: image.convert("L").convert("RGB"),
}
