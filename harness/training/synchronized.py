"""Batch normalization over the batches of all processes that train one network, on any device.

torch's own synchronized layer takes GPUs alone and replaces the modules; here the modules, and so the names in the
state dict, stay, and a test of two processes on a CPU runs the same code as a cluster.

Letters: N images of this process, C channels.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from harness.ranks import Ranks


def synchronize(network: nn.Module, ranks: Ranks) -> None:
    """Have every batch normalization of a network use the statistics of all processes; alone, nothing changes."""
    if ranks.count == 1:
        return
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.forward = partial(_normalize, module, module.forward)  # type: ignore[method-assign]


def _normalize(module: _BatchNorm, alone: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    if not module.training:
        return alone(x)
    from torch.distributed.nn.functional import all_reduce

    dims, wide = [0, *range(2, x.dim())], x.float()
    count = wide.numel() // wide.shape[1]
    sums = torch.cat([wide.sum(dims), wide.square().sum(dims), wide.new_full((1,), count)])  # [2 C + 1]
    sums = all_reduce(sums)  # type: ignore[no-untyped-call]
    total = sums[-1].detach()
    mean, square = (sums[:-1] / total).chunk(2)
    variance = square - mean.square()
    assert module.running_mean is not None
    assert module.running_var is not None
    with torch.no_grad():
        module.running_mean.lerp_(mean, module.momentum or 0.0)
        module.running_var.lerp_(variance * total / (total - 1), module.momentum or 0.0)
    shape = [1, -1, *[1] * (x.dim() - 2)]
    out = (wide - mean.view(shape)) * (variance + module.eps).rsqrt().view(shape)
    scaled: Tensor = out * module.weight.view(shape) + module.bias.view(shape)
    return scaled.to(x.dtype)
