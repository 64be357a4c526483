"""Fitted models: what ``fit`` returns, what a weights file holds, what generators sample from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Model:
    """All that sampling needs.

    Attributes:
        kind: what the tensors mean, such as ``latent-diffusion/1``; components ``accept`` kinds.
        settings: plain JSON values to rebuild the network from.
        tensors: weights and tables by name.
    """

    kind: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    tensors: Mapping[str, torch.Tensor] = field(default_factory=dict)
