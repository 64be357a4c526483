"""Exponential moving average of weights, kept beside the raw ones."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

MAX_DECAY = 0.9999  # Source: IDiff-Face configuration
POWER = 0.75  # Source: IDiff-Face configuration


def ema_decay(updates: int) -> float:
    """Decay of the given update, counted from 1: 0 at the first two (copies), 0.999 at 10,000, 0.9999 at most.

    It is 1 - (1 + n)^-power; n counts the updates before this one, less one, and is 0 at the first two.

    Source: IDiff-Face code, as intended. What runs there never writes the value back, so its average is the raw
    weights; ours works.
    """
    if updates < 1:
        raise ValueError(f"updates are counted from 1, got {updates}")
    n = max(updates - 2, 0)
    decay: float = 1.0 - (1.0 + n) ** -POWER
    return min(MAX_DECAY, decay)


class EMA:
    """Averaged float32 copy of a module's floating point parameters; buffers are copied as they are."""

    def __init__(self, module: nn.Module) -> None:
        self.updates = 0
        self._parameters = {n: p.detach().float().clone() for n, p in module.named_parameters()}
        self._buffers = {n: b.detach().clone() for n, b in module.named_buffers()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Move the average towards the module's present weights."""
        self.updates += 1
        averages = list(self._parameters.values())
        current = [p.detach().float() for _, p in module.named_parameters()]
        torch._foreach_lerp_(averages, current, 1.0 - ema_decay(self.updates))
        for name, buffer in module.named_buffers():
            self._buffers[name].copy_(buffer)

    def weights(self) -> dict[str, Tensor]:
        """The averaged state dict; load it into a module of the same kind to sample from it."""
        return {**self._parameters, **self._buffers}

    def state_dict(self) -> dict[str, Tensor]:
        """All state, for a checkpoint."""
        return {"updates": torch.tensor(self.updates), **{f"average.{n}": t for n, t in self.weights().items()}}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what :meth:`state_dict` gave."""
        for name, tensor in self.weights().items():
            tensor.copy_(state[f"average.{name}"])
        self.updates = int(state["updates"])
