"""Recognizers: models that map faces to embeddings."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.arrays import Floats, Images
from harness.components.base import Component, Crop
from harness.errors import DataError

if TYPE_CHECKING:
    import torch
    from torch import nn

EMBED_BATCH = 256
# BatchNorm counts its batches, but with a fixed momentum nothing reads the count.
_UNUSED = "num_batches_tracked"


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
        """Map images float [N, 3, S, S] in [-1, 1] to embeddings [N, D]: differentiable, not normalized.

        Their colors are in the order that ``takes.color`` names; :meth:`in_order` brings RGB into it.
        """

    @abstractmethod
    def state(self) -> dict[str, torch.Tensor]:
        """The weights by name."""

    @abstractmethod
    def load(self, tensors: Mapping[str, torch.Tensor], device: str = "cpu") -> None:
        """Take weights (strict: a missing, extra or misshapen tensor is a ``DataError`` with its name)."""

    def in_order(self, x: torch.Tensor) -> torch.Tensor:
        """RGB images [N, 3, S, S] with their colors in the order that ``features`` expects."""
        return x.flip(1) if self.takes.color == "bgr" else x

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
                out[start : start + len(x)] = self.features(self.in_order(x)).float().cpu().numpy()
        return out


class NetworkRecognizer(Recognizer):
    """A recognizer that is one torch module: a subclass makes ``network`` and says ``width``.

    Attributes:
        network: maps float [N, 3, S, S] in [-1, 1] to embeddings [N, D].
    """

    network: nn.Module

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
                who = type(self).__name__
                raise DataError(f"{who} weights: {name} has {got}, expected {expected}; do the settings match?")
        self.network.load_state_dict({name: value.float() for name, value in tensors.items()}, strict=False)
        self.network.to(device).eval().requires_grad_(False)
        self.device = device


class TrainableRecognizer(NetworkRecognizer):
    """A recognizer whose network trainers can train."""
