"""Heads: the margin of an FR loss."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from harness.components.base import Component

if TYPE_CHECKING:
    import torch


class Head(Component):
    """Turns cosines into the logits of a cross entropy. One instance belongs to one training.

    Attributes:
        memory: what it remembers between steps, tensors by name; checkpoints keep it, and processes that train
            together average it.
    """

    def __init__(self, settings: Any = None) -> None:
        super().__init__(settings)
        self.memory: dict[str, torch.Tensor] = {}

    @abstractmethod
    def logits(
        self,
        cosines: torch.Tensor,
        norms: torch.Tensor,
        labels: torch.Tensor,
        scale: float,
        margin: float,
        generator: torch.Generator,
    ) -> torch.Tensor:
        """Logits [B, C].

        Args:
            cosines: of the features and the class centers, float [B, C] in [-1, 1].
            norms: L2 norms of the features before they were normalized, float [B], without gradient.
            labels: the true classes, int64 [B].
            scale, margin: s and m of the recipe.
            generator: the step's own, on the CPU, for heads that draw.
        """
