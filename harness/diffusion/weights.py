"""Loading tensors into modules without surprises."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from harness.diffusion.schedule import Schedule, linear_schedule, published_vectors
from harness.diffusion.unet import PUBLISHED_CONFIG, ConditionalUNet, UNetConfig
from harness.errors import DataError

PUBLISHED_PREFIX = "eps_model."  # of the network's tensors in IDiff-Face checkpoints
SCHEDULE_TOLERANCE = 1e-4  # relative, between a checkpoint's vectors and ours


def load_strict(module: nn.Module, tensors: Mapping[str, Tensor], what: str) -> None:
    """Copy tensors into a module; names and shapes must match exactly, dtypes are converted.

    Args:
        module: may live on the meta device, in which case it takes the tensors over as float32 on the CPU.
        tensors: state dict.
        what: where the tensors come from, for the error message.

    Raises:
        DataError: a tensor is missing, unexpected or of another shape; the message names up to three of them.
    """
    own = module.state_dict()
    problems = [f"missing {name} {list(own[name].shape)}" for name in own if name not in tensors]
    problems += [f"unexpected {name} {list(tensors[name].shape)}" for name in tensors if name not in own]
    problems += [
        f"{name} has shape {list(tensors[name].shape)}, expected {list(own[name].shape)}"
        for name in own
        if name in tensors and tensors[name].shape != own[name].shape
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise DataError(
            f"{what}: the tensors do not fit {type(module).__name__}: {'; '.join(problems[:3])}{more}. "
            "Check that the file and the model configuration belong together."
        )
    meta = any(tensor.is_meta for tensor in own.values())
    cast = {name: tensors[name].to(own[name].dtype) for name in own}
    module.load_state_dict(cast, strict=True, assign=meta)


def take_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors below a prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def load_published_idiffface(
    tensors: Mapping[str, Tensor], what: str, config: UNetConfig = PUBLISHED_CONFIG
) -> tuple[ConditionalUNet, Schedule]:
    """Build the network and the schedule of a published IDiff-Face checkpoint (raw or EMA state dict).

    Raises:
        DataError: tensors do not fit, or the schedule is not the linear one.
    """
    vectors = {name: tensor for name, tensor in tensors.items() if not name.startswith(PUBLISHED_PREFIX)}
    if "betas" not in vectors:
        raise DataError(f"{what}: no tensor 'betas'; expected a state dict of the IDiff-Face diffusion wrapper")
    schedule = linear_schedule(len(vectors["betas"]))
    expected = published_vectors(schedule)
    for name in sorted(expected.keys() | vectors.keys()):
        if name not in expected or name not in vectors or vectors[name].shape != expected[name].shape:
            raise DataError(f"{what}: schedule vector {name!r} is missing, unexpected or not of length {schedule.T}")
        if not torch.allclose(vectors[name].float(), expected[name], rtol=SCHEDULE_TOLERANCE, atol=0.0):
            raise DataError(f"{what}: {name!r} is not that of the linear schedule with T = {schedule.T}")
    with torch.device("meta"):
        unet = ConditionalUNet(config)
    load_strict(unet, take_prefix(tensors, PUBLISHED_PREFIX), what)
    return unet.eval(), schedule
