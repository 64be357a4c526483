"""The processes that fit or train one model together: each takes its share of every batch, and gradients are averaged.

They start alike, draw the same order of items and see the same averaged gradients, so their weights stay the same; the
noise that a process draws is its own. Lightning Fabric connects them and is imported only where there is more than one.
Who starts them is none of this module's business.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from harness.arrays import Ints
from harness.errors import StageError


class Ranks:
    """This process among those that fit a model.

    Args:
        count: how many there are. With 1, nothing is imported and every method returns what it was given.
        device: where this process computes.

    Raises:
        StageError: there should be others, but nobody started them.
    """

    def __init__(self, count: int, device: torch.device) -> None:
        self.count, self.rank, self._fabric = count, 0, None
        if count > 1:
            if "LOCAL_RANK" not in os.environ:
                raise StageError(f"devices {count}: only what runs as a stage of a suite can use several")
            self._fabric = _connect(count, device)
            self.rank = int(self._fabric.global_rank)

    def share(self, rows: Ints) -> Ints:
        """This process's part of a batch's rows."""
        return rows[self.rank :: self.count]

    def mean(self, value: float) -> float:
        """The mean of every process's value; NaN for all where it is NaN for one."""
        if self._fabric is None:
            return value
        return float(self._fabric.all_reduce(torch.tensor(value, device=self._fabric.device), reduce_op="mean"))

    def mean_of(self, tensor: Tensor) -> Tensor:
        """The mean of every process's tensor."""
        if self._fabric is None:
            return tensor
        mean: Tensor = self._fabric.all_reduce(tensor, reduce_op="mean")
        return mean

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace gradients by their means, all in one message."""
        if self._fabric is None:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        joined = torch.cat([gradient.flatten() for gradient in gradients])
        means = self._fabric.all_reduce(joined, reduce_op="mean").split([gradient.numel() for gradient in gradients])
        for gradient, mean in zip(gradients, means, strict=True):
            gradient.copy_(mean.view_as(gradient))

    def gather(self, tensor: Tensor) -> Tensor:
        """Every process's tensor, stacked, on the CPU; alone, the tensor itself."""
        if self._fabric is None:
            return tensor
        gathered: Tensor = self._fabric.all_gather(tensor).cpu()
        return gathered


def _connect(count: int, device: torch.device) -> Any:
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments import LightningEnvironment

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it greets on the terminal
    # the environment is named, or Fabric would take a cluster's job for its own
    fabric = Fabric(accelerator=device.type, devices=count, strategy="ddp", plugins=[LightningEnvironment()])
    fabric.launch()
    return fabric
