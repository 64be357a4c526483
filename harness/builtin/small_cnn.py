"""``small-cnn``: a recognizer that one CPU thread trains in a minute."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from harness.components.base import APACHE, Crop, Settings
from harness.components.recognizer import TrainableRecognizer


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
