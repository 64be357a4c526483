"""Reading checkpoints that other code wrote, strictly.

Of a pickle only tensors and plain containers are built (:mod:`harness.data.torch_files`). Whatever else a training
checkpoint holds, such as the state of an optimizer or the callbacks of a framework, is passed over.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.components.base import CommercialUse
from harness.errors import DataError
from harness.store.weights import read_header

if TYPE_CHECKING:
    import torch

PARALLEL = "module."  # what torch's DataParallel puts before every name
ONNX = "onnx"  # the name of the one tensor that an ONNX file becomes
LISTED = 5  # entries that an error names


@dataclass(frozen=True)
class Terms:
    """Under which terms the imported weights may be used; leaderboard rows show them."""

    license: str = "unknown"
    commercial_use: CommercialUse = "unknown"


def read_foreign(path: Path, entry: str = "", prefix: str = "") -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint by name, safetensors or pickle (``.pt``, ``.pth``, ``.ckpt``); an ONNX file whole.

    Args:
        path: the file.
        entry: which table of a file that holds several, such as ``state_dict``; not needed where there is one.
        prefix: of a larger model's part. Where names start with it, only those are read, and returned without it.

    Raises:
        DataError: the file cannot be read, or no single table of tensors can be told.
    """
    if path.suffix == ".onnx":
        return {ONNX: _read_bytes(path)}
    if path.suffix == ".safetensors":
        return {name: tensor.detach() for name, tensor in _below(_read_safetensors(path, entry), prefix).items()}
    from harness.data.torch_files import TorchFile

    with TorchFile(path) as file:
        return file.tensors(_below(_table(file.content, entry, path), prefix))


def _below(table: dict[str, Any], prefix: str) -> dict[str, Any]:
    if all(name.startswith(PARALLEL) for name in table):
        table = {name.removeprefix(PARALLEL): value for name, value in table.items()}
    below = {name.removeprefix(prefix): value for name, value in table.items() if name.startswith(prefix)}
    return below or table


def _read_bytes(path: Path) -> torch.Tensor:
    """A file as one tensor, uint8 [bytes]."""
    import torch

    try:
        return torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8)
    except (OSError, ValueError) as error:  # the latter: it is empty
        raise DataError(f"{path}: cannot be read ({error})") from error


def _read_safetensors(path: Path, entry: str) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    read_header(path)  # which checks sizes before memory is taken
    try:
        tensors: dict[str, torch.Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path}: cannot be read as safetensors ({error})") from error
    if entry:
        raise DataError(f"{path}: no entry {entry!r}; safetensors hold one table")
    if not tensors:
        raise DataError(f"{path}: expected tensors by name, found nothing")
    return tensors


def _table(loaded: Any, entry: str, path: Path) -> dict[str, Any]:
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
        named = ", ".join(map(_shown, tables[:LISTED]))
        raise DataError(f"{path}: holds several tables of tensors; choose one with --entry: {named}")
    raise DataError(f"{path}: expected tensors by name, found {_listed(loaded)}")


def _is_table(value: Any) -> bool:
    from harness.data.torch_pickles import Stored

    if not isinstance(value, Mapping) or not value:
        return False
    return all(isinstance(name, str) and isinstance(tensor, Stored) for name, tensor in value.items())


def _listed(loaded: Any) -> str:
    if not isinstance(loaded, Mapping):
        return f"a {_kind(loaded)}"
    shown = [f"{_shown(name)} ({_kind(value)})" for name, value in list(loaded.items())[:LISTED]]
    return ", ".join(shown) + (f" and {len(loaded) - LISTED} more" if len(loaded) > LISTED else "") or "nothing"


def _shown(name: Any) -> str:
    """A key of a dictionary as an error quotes it; one that is no text or short number may be of any size."""
    short = isinstance(name, int) and name.bit_length() < 64
    return str(name)[:80] if short or isinstance(name, str) else _kind(name)


def _kind(value: Any) -> str:
    """What a value of a checkpoint is."""
    from harness.data.torch_pickles import Inert, Stored, StoredArray

    if isinstance(value, Inert) or value is Inert:
        return "other object"
    if isinstance(value, Stored | StoredArray):
        return "Tensor" if isinstance(value, Stored) else "array"
    return "dict" if isinstance(value, Mapping) else type(value).__name__


def origin(path: Path) -> dict[str, str]:
    """Name and digest of a file, for the provenance of what is made of it."""
    with path.open("rb") as file:
        return {"file": path.name, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
