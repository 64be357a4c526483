"""``facenet``: the InceptionResnetV1 of facenet-pytorch, whose weights people have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from harness.components.base import Crop, License, Settings
from harness.components.recognizer import NetworkRecognizer

if TYPE_CHECKING:
    import torch

SIZE_PX = 160  # of the crops that the published weights were trained on
WIDTH = 512  # D
CLASSIFIER = "logits."  # the layer over the training people, which published files hold
_SCALE = 127.5 / 128  # its pixels are (value - 127.5) / 128


class FaceNet(NetworkRecognizer):
    """InceptionResnetV1 with 512-wide embeddings of length 1, as facenet-pytorch implements and publishes it.

    Published weights keep the terms of the data they were trained on (VGGFace2, CASIA-WebFace), which exclude
    commercial use.
    """

    license = License("MIT", "https://github.com/timesler/facenet-pytorch/blob/master/LICENSE.md", "yes")

    def __init__(self, settings: Settings | None = None, takes: Crop | None = None) -> None:
        super().__init__(settings, takes or Crop("raw", SIZE_PX))
        from facenet_pytorch import InceptionResnetV1

        self.network = InceptionResnetV1(pretrained=None).eval()

    @property
    def width(self) -> int:
        """D, the width of an embedding."""
        return WIDTH

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Float [N, 3, S, S] in [-1, 1] to embeddings of length 1, [N, D]: differentiable."""
        return super().features(x * _SCALE)

    def load(self, tensors: Mapping[str, torch.Tensor], device: str = "cpu") -> None:
        """Take weights, strictly but for the classifier over the training people, which embeddings do not use."""
        super().load({name: value for name, value in tensors.items() if not name.startswith(CLASSIFIER)}, device)
