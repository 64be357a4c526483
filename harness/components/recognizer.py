"""Recognizers: models that map faces to embeddings."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.arrays import Floats, Images
from harness.components.base import Component, Crop
from harness.errors import DataError

if TYPE_CHECKING:
    import torch
    from torch import nn

# BatchNorm counts its batches, but with a fixed momentum nothing reads the counts. Published files hold them, ours not.
COUNT = "num_batches_tracked"
MAX_BATCH = 256  # images that are embedded at once
# What the tensors of one operation may take together: a few of them live at a time, and convolutions copy their input.
# It is no share of the memory that is free, since the last bits of an embedding depend on the batch.
BATCH_BYTES = {"cpu": 1 << 28, "cuda": 1 << 31}


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

    @cached_property
    def batch_size(self) -> int:
        """How many images are embedded at once: a power of two that follows the largest operation of the network."""
        import torch

        from harness.components.footprint import bytes_per_image

        size_px = self.takes.size_px
        each = bytes_per_image(self.features, torch.zeros(1, 3, size_px, size_px, device=self.device))
        fits = max(1, BATCH_BYTES[self.device.partition(":")[0]] // max(1, each))
        return int(min(MAX_BATCH, 1 << (fits.bit_length() - 1)))

    def in_order(self, x: torch.Tensor) -> torch.Tensor:
        """RGB images [N, 3, S, S] with their colors in the order that ``features`` expects."""
        return x.flip(1) if self.takes.color == "bgr" else x

    def embed(self, images: Images, batch_size: int | None = None) -> Floats:
        """Embed images without gradient.

        Args:
            images: uint8 RGB [N, S, S, 3] in the crop this recognizer takes; another size is resized bilinearly
                (antialiased), since a view is a matter of content and not of pixels.
            batch_size: how many at once; default: what the network's memory allows.

        Returns:
            float32 [N, D], not normalized.
        """
        import torch

        from harness.coding import to_unit

        out = np.empty((len(images), self.width), dtype=np.float32)
        batch_size = batch_size or self.batch_size
        with torch.no_grad():
            for start in range(0, len(images), batch_size):
                x = to_unit(images[start : start + batch_size], self.takes.size_px).to(self.device)
                out[start : start + len(x)] = self.features(self.in_order(x)).float().cpu().numpy()
        return out


class NetworkRecognizer(Recognizer):
    """A recognizer that is one torch module: a subclass makes ``network`` in its constructor, and says ``width``.

    Attributes:
        network: a module that maps images, float [N, 3, S, S] in [-1, 1], to embeddings [N, D], not normalized.
    """

    network: nn.Module

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Float [N, 3, S, S] in [-1, 1] to embeddings [N, D]: differentiable, not normalized."""
        out: torch.Tensor = self.network(x)
        return out

    def state(self) -> dict[str, torch.Tensor]:
        """The weights by name, without the counts of batches, which nothing reads."""
        return {name: value for name, value in self.network.state_dict().items() if not name.endswith(COUNT)}

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
                what = " and ".join(f"the {key} {value}" for key, value in self.settings)
                text = f"{name} has {got}, expected {expected}"
                raise DataError(f"{type(self).__name__} weights: {text}{what and f'; is {what}?'}")
        cast = {name: tensors[name].to(own[name].dtype) for name in own}
        self.network.load_state_dict(cast, strict=counted)
        self.network.to(device).eval().requires_grad_(False)
        self.device = device


class TrainableRecognizer(NetworkRecognizer):
    """A recognizer whose network trainers can train.

    It starts with random weights, drawn from torch's global generator (fork it to get the same ones again); ``load``
    replaces them.
    """
