"""``small-cnn``: a recognizer that one CPU thread trains in a minute."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from harness.components.base import APACHE, Crop, Settings
from harness.components.recognizer import TrainableRecognizer
from harness.errors import DataError

if TYPE_CHECKING:
    import torch

# BatchNorm counts its batches, but with a fixed momentum nothing reads the count.
_UNUSED = "num_batches_tracked"


class SmallCNNSettings(Settings):
    """Settings of ``small-cnn``."""

    width: int = Field(64, ge=8, le=1024, description="D, values of an embedding; ours: enough for 1,000 people")


class SmallCNN(TrainableRecognizer):
    """A residual network of 0.56 million weights (at D = 64) for crops of 32 to 112 px.

    It starts with random weights, drawn from torch's global generator (fork it to get the same ones again); ``load``
    replaces them.
    """

    Settings: ClassVar[type[Settings]] = SmallCNNSettings
    license = APACHE

    def __init__(self, settings: SmallCNNSettings | None = None, takes: Crop | None = None) -> None:
        super().__init__(settings, takes or Crop("arcface", 32))
        from harness.builtin.small_cnn_net import SmallNet

        self.network = SmallNet(self.settings.width).eval()

    @property
    def width(self) -> int:
        """D, the width of an embedding."""
        width: int = self.settings.width
        return width

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Float [N, 3, S, S] in [-1, 1] to embeddings [N, D]: differentiable, not normalized."""
        out: torch.Tensor = self.network(x)
        return out

    def state(self) -> dict[str, torch.Tensor]:
        """The weights by name."""
        return {name: value for name, value in self.network.state_dict().items() if not name.endswith(_UNUSED)}

    def load(self, tensors: Mapping[str, torch.Tensor], device: str = "cpu") -> None:
        """Take weights, strictly; they are frozen (gradients still reach the images) and evaluation mode is on."""
        own = self.state()
        for name in sorted(own.keys() | tensors.keys()):
            got = tuple(tensors[name].shape) if name in tensors else "nothing"
            expected = tuple(own[name].shape) if name in own else "nothing"
            if got != expected:
                raise DataError(f"small-cnn weights: {name} has {got}, expected {expected}; do the settings match?")
        self.network.load_state_dict({name: value.float() for name, value in tensors.items()}, strict=False)
        self.network.to(device).eval().requires_grad_(False)
        self.device = device
