"""IResNet, plain and with squeeze-and-excitation.

Attribute names are the state-dict names of published checkpoints; renaming one breaks loading.

Letters: N images, C channels, D embedding width.

Source: ArcFace, arXiv 1801.07698, section 3.1, with the block of that paper (BN-conv-BN-PReLU-conv-BN).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STAGES = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 14, 3), 100: (3, 13, 30, 3)}  # blocks by depth
WIDTHS = (64, 128, 256, 512)  # channels of the stages, at 56, 28, 14 and 7 px
EMBEDDING = 512  # D
MAP_PX = 7  # side of the last maps for crops of 112 px
DROPOUT = 0.4  # before the linear layer, in training mode. Source: NegFaceDiff and IDiff-Face evaluation code
CONV_STD = 0.1  # of the convolutions' weights at the start. Same source
SE_RATIO = 16  # channels over those between the two layers of an SE block. Source: Vec2Face's training project


class SqueezeExcitation(nn.Module):
    """Maps scaled channel by channel: global average, 1 x 1 conv, ReLU, 1 x 1 conv, sigmoid."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // SE_RATIO, 1, bias=False)
        self.fc2 = nn.Conv2d(channels // SE_RATIO, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        squeezed = F.relu(self.fc1(x.mean((2, 3), keepdim=True)))  # [N, C / 16, 1, 1]
        return x * torch.sigmoid(self.fc2(squeezed))


class Block(nn.Module):
    """BN, conv, BN, PReLU, conv (carries the stride), BN, plus a shortcut; nothing after the sum.

    With ``se``, what the last BN gives goes through a squeeze-and-excitation before the sum.
    """

    def __init__(self, c_in: int, c_out: int, stride: int, se: bool = False) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(c_in)
        self.conv1 = nn.Conv2d(c_in, c_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.prelu = nn.PReLU(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(c_out)
        self.se: nn.Module = SqueezeExcitation(c_out) if se else nn.Identity()
        self.downsample: nn.Module | None = None
        if stride != 1 or c_in != c_out:
            self.downsample = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))

    def forward(self, x: Tensor) -> Tensor:
        h = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        out: Tensor = self.se(self.bn3(self.conv2(h))) + (x if self.downsample is None else self.downsample(x))
        return out


def _stage(c_in: int, c_out: int, blocks: int, se: bool) -> nn.Sequential:
    return nn.Sequential(Block(c_in, c_out, 2, se), *(Block(c_out, c_out, 1, se) for _ in range(blocks - 1)))


class UnscaledNorm(nn.BatchNorm1d):
    """Batch normalization whose scale stays 1 and whose bias is trained.

    The scale is a buffer: it has its name in the state dict, and no optimizer decays it.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        del self.weight
        self.register_buffer("weight", torch.ones(channels))


class IResNetwork(nn.Module):
    """IResNet for crops of 112 px: 24,025,600 (18), 43,590,848 (50) or 65,156,160 (100) weights, 512 fixed among them.

    Args:
        depth: 18, 34, 50 or 100.
        se: squeeze-and-excitation in every block.
    """

    def __init__(self, depth: int, se: bool = False) -> None:
        super().__init__()
        one, two, three, four = STAGES[depth]
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.prelu = nn.PReLU(WIDTHS[0])
        self.layer1 = _stage(WIDTHS[0], WIDTHS[0], one, se)
        self.layer2 = _stage(WIDTHS[0], WIDTHS[1], two, se)
        self.layer3 = _stage(WIDTHS[1], WIDTHS[2], three, se)
        self.layer4 = _stage(WIDTHS[2], WIDTHS[3], four, se)
        self.bn2 = nn.BatchNorm2d(WIDTHS[3])
        self.dropout = nn.Dropout(DROPOUT)
        self.fc = nn.Linear(WIDTHS[3] * MAP_PX**2, EMBEDDING)
        self.features = UnscaledNorm(EMBEDDING)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=CONV_STD)

    def forward(self, x: Tensor) -> Tensor:
        """Float [N, 3, 112, 112] in [-1, 1] to embeddings [N, D], not normalized."""
        h = self.prelu(self.bn1(self.conv1(x)))
        h = self.layer4(self.layer3(self.layer2(self.layer1(h))))  # [N, 512, 7, 7]
        out: Tensor = self.features(self.fc(self.dropout(self.bn2(h).flatten(1))))
        return out
