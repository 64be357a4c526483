"""``iresnet``: the residual networks of the face recognition literature, IResNet-18, -50 and -100."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from harness.components.base import APACHE, Crop, Settings
from harness.components.recognizer import TrainableRecognizer
from harness.errors import DataError, InputError

if TYPE_CHECKING:
    import torch

SIZE_PX = 112  # of the crop; the last layer is made for the 7 x 7 maps that it becomes
WIDTH = 512  # D
# BatchNorm counts its batches, but with a fixed momentum nothing reads the counts. Published files hold them, ours not.
COUNT = "num_batches_tracked"


class IResNetSettings(Settings):
    """Settings of ``iresnet``."""

    depth: Literal[18, 50, 100] = Field(50, description="layers: 18 (24 M weights), 50 (44 M) or 100 (65 M)")


class IResNet(TrainableRecognizer):
    """IResNet with 512-wide embeddings; names and shapes are those of published ElasticFace and insightface weights.

    It starts with random weights, drawn from torch's global generator (fork it to get the same ones again); ``load``
    replaces them. This is the architecture alone: weights that others publish keep their own terms.

    Source: ArcFace, arXiv 1801.07698, section 3.1.
    """

    Settings: ClassVar[type[Settings]] = IResNetSettings
    license = APACHE

    def __init__(self, settings: IResNetSettings | None = None, takes: Crop | None = None) -> None:
        super().__init__(settings, takes or Crop("arcface", SIZE_PX))
        if self.takes.size_px != SIZE_PX:
            raise InputError(
                f"iresnet takes crops of {SIZE_PX} px, got {self.takes.size_px}; set the crop's size to it"
            )
        from harness.builtin.iresnet_net import IResNetwork

        self.network = IResNetwork(self.settings.depth).eval()

    @property
    def width(self) -> int:
        """D, the width of an embedding."""
        return WIDTH

    def load(self, tensors: Mapping[str, torch.Tensor], device: str = "cpu") -> None:
        """Take weights, strictly; they are frozen (gradients still reach the images) and evaluation mode is on.

        The counts of batches are all there, as in published files, or all left out, as in ours.
        """
        counted = any(name.endswith(COUNT) for name in tensors)
        own = self.network.state_dict() if counted else self.state()
        for name in sorted(own.keys() | tensors.keys()):
            got = tuple(tensors[name].shape) if name in tensors else "nothing"
            expected = tuple(own[name].shape) if name in own else "nothing"
            if got != expected:
                raise DataError(
                    f"iresnet weights: {name} has {got}, expected {expected}; is the depth {self.settings.depth}?"
                )
        cast = {name: tensors[name].to(own[name].dtype) for name in own}
        self.network.load_state_dict(cast, strict=counted)
        self.network.to(device).eval().requires_grad_(False)
        self.device = device
