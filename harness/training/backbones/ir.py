"""The IR networks of TFace and CVLFace, which differ from IResNet in their block and stem.

Letters: N images, C channels, D embedding width.
"""

from __future__ import annotations

from torch import Tensor, nn

UNITS = {18: (2, 2, 2, 2), 50: (3, 4, 14, 3), 100: (3, 13, 30, 3)}  # by depth. Source for 50: TFace and CVLFace
WIDTHS = (64, 128, 256, 512)
MAP_PX = 7  # side of the last maps for crops of 112 px
DROPOUT = 0.4


class Unit(nn.Module):
    """BN, conv, PReLU, conv (carries the stride), BN, plus a shortcut.

    The shortcut is a 1 x 1 convolution with BN where the width changes; where only the stride does, every second pixel.
    """

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.shortcut_layer: nn.Module = nn.MaxPool2d(1, stride)
        if c_in != c_out:
            self.shortcut_layer = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(c_in),
            nn.Conv2d(c_in, c_out, 3, padding=1, bias=False),
            nn.PReLU(c_out),
            nn.Conv2d(c_out, c_out, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(c_out),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.res_layer(x) + self.shortcut_layer(x)
        return out


class IRNetwork(nn.Module):
    """IR network for crops of 112 px.

    Args:
        depth: 18, 50 or 100.
        width: D.
    """

    def __init__(self, depth: int, width: int) -> None:
        super().__init__()
        stem = WIDTHS[0]
        self.input_layer = nn.Sequential(
            nn.Conv2d(3, stem, 3, padding=1, bias=False), nn.BatchNorm2d(stem), nn.PReLU(stem)
        )
        units, c_in = [], stem
        for c_out, count in zip(WIDTHS, UNITS[depth], strict=True):
            for place in range(count):
                units.append(Unit(c_in, c_out, 1 if place else 2))
                c_in = c_out
        self.body = nn.Sequential(*units)
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(c_in),
            nn.Dropout(DROPOUT),
            nn.Flatten(),
            nn.Linear(c_in * MAP_PX**2, width),
            nn.BatchNorm1d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Float [N, 3, 112, 112] in [-1, 1] to embeddings [N, D], not normalized."""
        out: Tensor = self.output_layer(self.body(self.input_layer(x)))
        return out
