"""The network in torch. B images, C channels, H, W pixels, D embedding width."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness_dlib.resnet import BLOCKS, MEANS, SIZE_PX, SPREAD, STEM, WIDTH, Convolution, convolutions


class ConvAffine(nn.Module):
    """A convolution, then one factor and one summand per channel (what dlib's batch normalization became)."""

    def __init__(self, layer: Convolution) -> None:
        super().__init__()
        self.conv = nn.Conv2d(layer.channels, layer.filters, layer.side, layer.stride, layer.padding)
        self.scale = nn.Parameter(torch.ones(layer.filters))
        self.shift = nn.Parameter(torch.zeros(layer.filters))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to [B, C', H', W']."""
        out: Tensor = self.conv(x) * self.scale[:, None, None] + self.shift[:, None, None]
        return out


class Block(nn.Module):
    """Two convolutions beside a shortcut, which is averaged over 2 x 2 pixels where the block halves the picture."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.first, self.second = map(ConvAffine, convolutions(number))
        self.halves = BLOCKS[number][1]

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to [B, C', H', W']."""
        inner = self.second(F.relu(self.first(x)))
        return F.relu(add_padded(inner, F.avg_pool2d(x, 2) if self.halves else x))


def add_padded(a: Tensor, b: Tensor) -> Tensor:
    """The sum of maps of different sizes: both are filled with zeros behind their last channel, row and column."""
    shape = [max(sides) for sides in zip(a.shape[1:], b.shape[1:], strict=True)]
    return _fill(a, shape) + _fill(b, shape)


def _fill(x: Tensor, shape: list[int]) -> Tensor:
    channels, rows, columns = (want - have for want, have in zip(shape, x.shape[1:], strict=True))
    return F.pad(x, (0, columns, 0, rows, 0, channels))


class ResNet(nn.Module):
    """dlib's 29 convolutions: pictures in, embeddings out. ``eval`` and training are the same."""

    means: Tensor

    def __init__(self) -> None:
        super().__init__()
        filters, side = STEM
        self.stem = ConvAffine(Convolution("stem", filters, 3, side, 2, 0))
        self.blocks = nn.Sequential(*[Block(number) for number in range(len(BLOCKS))])
        self.embedding = nn.Linear(BLOCKS[-1][0], WIDTH, bias=False)
        self.register_buffer("means", torch.tensor(MEANS)[:, None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Float RGB [B, 3, 150, 150] in [-1, 1] to [B, D]."""
        if x.shape[1:] != (3, SIZE_PX, SIZE_PX):
            raise ValueError(f"got images {list(x.shape)}, expected [B, 3, {SIZE_PX}, {SIZE_PX}]")
        x = ((x + 1.0) * 127.5 - self.means) / SPREAD  # values 0 to 255, less the mean of each color
        x = F.max_pool2d(F.relu(self.stem(x)), 3, 2)
        out: Tensor = self.embedding(self.blocks(x).mean(dim=(2, 3)))
        return out
