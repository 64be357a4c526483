"""Loading tensors into modules without surprises."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from harness.errors import DataError


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
