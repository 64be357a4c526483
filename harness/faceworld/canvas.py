"""The two small types that the drawing modules share: named per-image numbers, and a three-channel canvas.

Everything per pixel is a float32 tensor [B, N] and everything per image a float32 tensor [B, 1]. Per-image numbers are
computed in float64 numpy and then cast, and N is a multiple of 16, so that a pixel's value cannot depend on whether it
fell into the vectorised body or into the scalar rest of a loop: images are bit-identical for any batch size.

Letters: B images, N pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import hardsigmoid

Channels = tuple[Tensor, Tensor, Tensor]
Triple = tuple[Tensor | float, Tensor | float, Tensor | float]


class Scalars:
    """Named per-image numbers: ``s.eye_x`` is float32 [B, 1]. An unknown name raises AttributeError."""

    def __init__(self, values: Mapping[str, NDArray[np.float64]], device: str) -> None:
        stacked = torch.from_numpy(np.stack(list(values.values())).astype(np.float32)).to(device)
        self._values = dict(zip(values, stacked.unsqueeze(-1).unbind(0), strict=True))

    def __getattr__(self, name: str) -> Tensor:
        try:
            return self._values[name]
        except KeyError:
            raise AttributeError(f"no per-image number is called {name!r}") from None

    def color(self, name: str) -> Channels:
        """The three numbers ``NAME_r``, ``NAME_g`` and ``NAME_b``."""
        return self._values[f"{name}_r"], self._values[f"{name}_g"], self._values[f"{name}_b"]

    def subset(self, rows: Tensor) -> Scalars:
        """The same numbers for some of the images, ``rows`` int64 [b]."""
        other = object.__new__(Scalars)
        other._values = {name: value[rows] for name, value in self._values.items()}
        return other


class Canvas:
    """Red, green and blue, float32 [B, N] each, painted over in place."""

    def __init__(self, channels: Sequence[Tensor]) -> None:
        self.channels = list(channels)

    @classmethod
    def filled(cls, color: Channels, like: Tensor) -> Canvas:
        """A canvas of one color per image, of the shape of ``like``."""
        return cls([c.expand_as(like).clone() for c in color])

    def paint(self, color: Triple, alpha: Tensor) -> None:
        """Lay a color over the canvas; ``alpha`` float32 [B, N] in [0, 1] is its opacity."""
        for channel, c in zip(self.channels, color, strict=True):
            if isinstance(c, Tensor):
                channel.lerp_(c, alpha)
            else:
                channel.add_((channel - c).mul_(alpha), alpha=-1)

    def shade(self, factor: Tensor) -> None:
        """Multiply all channels, [B, N] or [B, 1]."""
        for channel in self.channels:
            channel.mul_(factor)


def step(distance: Tensor, sharpness: Tensor) -> Tensor:
    """An anti-aliased edge: 0 outside, 1 inside, a ramp about one pixel wide between.

    Args:
        distance: [B, N], positive inside, in head radii. Overwritten.
        sharpness: pixels per head radius, [B, 1].
    """
    return hardsigmoid(distance.mul_(6 * sharpness), inplace=True)


def spot(dx: Tensor, dy: Tensor, width: Tensor | float, height: Tensor | float) -> Tensor:
    """A soft spot: exp(-(dx/width)^2 - (dy/height)^2), [B, N]."""
    return (dx * (1 / width)).square_().add_((dy * (1 / height)).square_()).neg_().exp_()


def between(low: float, value: Tensor, high: float) -> Tensor:
    """A smooth step of [B, N] from 0 at ``low`` to 1 at ``high``."""
    t = ((value - low) * (1 / (high - low))).clamp_(0, 1)
    return t * t * (3 - 2 * t)
