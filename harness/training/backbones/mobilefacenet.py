"""MobileFaceNet.

Letters: N images, C channels, D embedding width.

Source: MobileFaceNets, arXiv 1804.07573, table 1.
"""

from __future__ import annotations

from torch import Tensor, nn

MAP_PX = 7  # side of the last maps for crops of 112 px
# Expansion, channels, repetitions, stride of the first. Source: table 1
BOTTLENECKS = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))
STEM, LAST = 64, 512


def _conv(c_in: int, c_out: int, kernel: int, stride: int = 1, padding: int = 0, groups: int = 1) -> nn.Sequential:
    """Convolution and batch normalization."""
    conv = nn.Conv2d(c_in, c_out, kernel, stride, padding, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(c_out))


class Bottleneck(nn.Module):
    """1 x 1 to ``expansion`` times the channels, 3 x 3 depthwise, 1 x 1 back; a shortcut where the shape stays."""

    def __init__(self, c_in: int, c_out: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = expansion * c_in
        self.shortcut = stride == 1 and c_in == c_out
        self.layers = nn.Sequential(
            *_conv(c_in, wide, 1),
            nn.PReLU(wide),
            *_conv(wide, wide, 3, stride, 1, groups=wide),
            nn.PReLU(wide),
            *_conv(wide, c_out, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return x + out if self.shortcut else out


class MobileFaceNetwork(nn.Module):
    """MobileFaceNet for crops of 112 px; 0.99 million weights at D = 128 (without the slopes of PReLU).

    Args:
        width: D.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        blocks, c_in = [], STEM
        for expansion, c_out, count, stride in BOTTLENECKS:
            for place in range(count):
                blocks.append(Bottleneck(c_in, c_out, 1 if place else stride, expansion))
                c_in = c_out
        self.layers = nn.Sequential(
            *_conv(3, STEM, 3, 2, 1),
            nn.PReLU(STEM),
            *_conv(STEM, STEM, 3, 1, 1, groups=STEM),
            nn.PReLU(STEM),
            *blocks,
            *_conv(c_in, LAST, 1),
            nn.PReLU(LAST),
            *_conv(LAST, LAST, MAP_PX, groups=LAST),  # the global depthwise convolution, linear
            *_conv(LAST, width, 1),
            nn.Flatten(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Float [N, 3, 112, 112] in [-1, 1] to embeddings [N, D], not normalized."""
        out: Tensor = self.layers(x)
        return out
