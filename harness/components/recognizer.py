"""Recognizers: models that map faces to embeddings."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.arrays import Floats, Images
from harness.components.base import Component, Crop

if TYPE_CHECKING:
    import torch
    from torch import nn

EMBED_BATCH = 256


class Recognizer(Component):
    """An FR model. The component is the architecture; an artifact adds weights and says what crop they take.

    Args:
        settings: the architecture's settings.
        takes: the crop its weights were made for.
    """

    def __init__(self, settings: Any = None, takes: Crop | None = None) -> None:
        super().__init__(settings)
        self.takes = takes or Crop("arcface", 112)
        self.digest = ""  # content digest of the weights; set by whoever loads them
        self.device = "cpu"

    @property
    @abstractmethod
    def width(self) -> int:
        """D, the width of an embedding."""

    @abstractmethod
    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Map images float [N, 3, S, S] in [-1, 1] to embeddings [N, D]: differentiable, not normalized."""

    @abstractmethod
    def state(self) -> dict[str, torch.Tensor]:
        """The weights by name."""

    @abstractmethod
    def load(self, tensors: Mapping[str, torch.Tensor], device: str = "cpu") -> None:
        """Take weights (strict: a missing, extra or misshapen tensor is a ``DataError`` with its name)."""

    def embed(self, images: Images, batch_size: int = EMBED_BATCH) -> Floats:
        """Embed images without gradient.

        Args:
            images: uint8 RGB [N, S, S, 3] in the crop this recognizer takes; another size is resized bilinearly
                (antialiased), since a view is a matter of content and not of pixels.

        Returns:
            float32 [N, D], not normalized.
        """
        import torch

        from harness.coding import to_unit

        out = np.empty((len(images), self.width), dtype=np.float32)
        with torch.no_grad():
            for start in range(0, len(images), batch_size):
                x = to_unit(images[start : start + batch_size], self.takes.size_px).to(self.device)
                out[start : start + len(x)] = self.features(x).float().cpu().numpy()
        return out


class TrainableRecognizer(Recognizer):
    """A recognizer that trainers can train.

    Attributes:
        network: what is trained; ``features`` calls it.
    """

    network: nn.Module
