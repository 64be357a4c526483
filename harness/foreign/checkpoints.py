"""Reading checkpoints that other code wrote, strictly.

Pickles are read with torch's restricted unpickler, which builds tensors and plain containers and nothing else; a file
that holds more is refused.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.components.base import CommercialUse
from harness.errors import DataError

if TYPE_CHECKING:
    import torch

PARALLEL = "module."  # what torch's DataParallel puts before every name


@dataclass(frozen=True)
class Terms:
    """Under which terms the imported weights may be used; leaderboard rows show them."""

    license: str = "unknown"
    commercial_use: CommercialUse = "unknown"


def read_foreign(path: Path, entry: str = "") -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint by name, safetensors or pickle (``.pt``, ``.pth``, ``.ckpt``).

    Args:
        path: the file.
        entry: which table of a file that holds several, such as ``state_dict``; not needed where there is one.

    Raises:
        DataError: the file cannot be read, holds more than tensors, or no single table of tensors can be told.
    """
    tensors = _table(_read_safetensors(path) if path.suffix == ".safetensors" else _unpickle(path), entry, path)
    if all(name.startswith(PARALLEL) for name in tensors):
        tensors = {name.removeprefix(PARALLEL): tensor for name, tensor in tensors.items()}
    return {name: tensor.detach() for name, tensor in tensors.items()}


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: dict[str, torch.Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path}: cannot be read as safetensors ({error})") from error
    return tensors


def _unpickle(path: Path) -> Any:
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except Exception as error:  # torch raises nearly every kind for files that are no checkpoints
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        if found:
            raise DataError(
                f"{path}: holds {found[1]}, which a file of weights must not; unpickling it could run any code. Get "
                "the weights as safetensors, or have someone who trusts the file save its state dict alone"
            ) from error
        raise DataError(
            f"{path}: not a checkpoint of tensors that torch can read safely ({type(error).__name__}); expected a "
            "state dict saved by torch.save, or safetensors"
        ) from error


def _table(loaded: Any, entry: str, path: Path) -> dict[str, torch.Tensor]:
    """The table of tensors in what was unpickled."""
    if entry:
        if not isinstance(loaded, Mapping) or entry not in loaded:
            raise DataError(f"{path}: no entry {entry!r}; it holds {_listed(loaded)}")
        loaded = loaded[entry]
    if _is_table(loaded):
        return dict(loaded)
    tables = [name for name, value in loaded.items() if _is_table(value)] if isinstance(loaded, Mapping) else []
    if len(tables) == 1:
        return dict(loaded[tables[0]])
    if tables:
        raise DataError(f"{path}: holds several tables of tensors; choose one with --entry: {', '.join(tables)}")
    raise DataError(f"{path}: expected tensors by name, found {_listed(loaded)}")


def _is_table(value: Any) -> bool:
    import torch

    if not isinstance(value, Mapping) or not value:
        return False
    return all(isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in value.items())


def _listed(loaded: Any) -> str:
    if not isinstance(loaded, Mapping):
        return f"a {type(loaded).__name__}"
    shown = [f"{name} ({type(value).__name__})" for name, value in list(loaded.items())[:5]]
    return ", ".join(shown) + (f" and {len(loaded) - 5} more" if len(loaded) > 5 else "") or "nothing"


def origin(path: Path) -> dict[str, str]:
    """Name and digest of a file, for the provenance of what is made of it."""
    with path.open("rb") as file:
        return {"file": path.name, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
