"""The network of the ``small-cnn`` recognizer, apart from its settings so that those can be read without torch.

Letters: N images, C channels, S side of the crop in pixels, D embedding width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTHS = (24, 48, 96, 160)  # channels at S, S/2, S/4, S/8
SLOPE = 0.1  # of the leaky ReLU; a learned one (PReLU) was as accurate within seeds, and slower to train
POOLED = 4  # the last maps are averaged to 4 x 4, which leaves 32 px crops as they are


class ConvUnit(nn.Module):
    """3 x 3 convolution, batch normalization, leaky ReLU."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = F.leaky_relu(self.norm(self.conv(x)), SLOPE)
        return out


class Residual(nn.Module):
    """Two convolution units with a shortcut, as in SphereFace (arXiv 1704.08063)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvUnit(channels, channels)
        self.second = ConvUnit(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.second(self.first(x))
        return out


class SmallNet(nn.Module):
    """A residual network of about half a million weights.

    Args:
        width: D.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        stem, one, two, three = WIDTHS
        self.body = nn.Sequential(
            ConvUnit(3, stem),
            ConvUnit(stem, one, stride=2),
            Residual(one),
            ConvUnit(one, two, stride=2),
            Residual(two),
            ConvUnit(two, three, stride=2),
        )
        self.embed = nn.Linear(three * POOLED * POOLED, width, bias=False)
        self.norm = nn.BatchNorm1d(width)

    def forward(self, x: Tensor) -> Tensor:
        """Float [N, 3, S, S] in [-1, 1] to embeddings [N, D], not normalized."""
        maps = self.body(x.contiguous(memory_format=torch.channels_last))  # [N, C, S/8, S/8]
        out: Tensor = self.norm(self.embed(F.adaptive_avg_pool2d(maps, POOLED).flatten(1)))
        return out
