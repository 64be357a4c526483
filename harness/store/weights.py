"""Weights files: safetensors with a description in the header. Loading executes nothing.

The same format serves trained recognizers, fitted models, the small weights that distributions ship (``demo:NAME``) and
files a user passes on. The description says what the tensors are, so a file is enough to rebuild the network.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.components.base import CommercialUse
from harness.errors import DataError

if TYPE_CHECKING:
    import torch

_MAX_HEADER = 100_000_000  # bytes; the limit of the safetensors format


class WeightsInfo(BaseModel):
    """What a weights file holds.

    Attributes:
        role: a recognizer or a generator's model.
        kind: for a model its kind, such as ``latent-diffusion/1``; for a recognizer the name of its architecture.
        settings: plain values to rebuild the network from.
        view, size_px: the crop that a recognizer takes.
        recognizer: content digest of the recognizer that a model's contexts came from.
        provenance: who made it from what (suite entry, source, seed), for display.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: Literal["recognizer", "model"]
    kind: str
    settings: dict[str, Any]
    view: Literal["raw", "arcface"] = "raw"
    size_px: int = 0
    recognizer: str = ""
    license: str = "unknown"
    commercial_use: CommercialUse = "unknown"
    provenance: dict[str, Any] = {}


def write_weights(path: Path, tensors: Mapping[str, torch.Tensor], info: WeightsInfo) -> None:
    """Write a weights file, atomically; float32 tensors that float16 holds without loss are stored as float16."""
    from safetensors.torch import save_file

    partial = path.with_suffix(".partial")
    plain = {name: _compact(tensor.detach().cpu()) for name, tensor in tensors.items()}
    save_file(plain, partial, metadata={"harness": info.model_dump_json()})
    partial.chmod(0o644)
    partial.replace(path)


def _compact(tensor: torch.Tensor) -> torch.Tensor:
    half = tensor.half() if tensor.is_floating_point() else tensor
    return (half if half.to(tensor.dtype).equal(tensor) else tensor).contiguous()


def read_header(path: Path) -> tuple[dict[str, Any], int]:
    """The raw header of a safetensors file and the offset of its data.

    Raises:
        DataError: not a safetensors file.
    """
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > _MAX_HEADER:
                raise ValueError("header too long")
            header = json.loads(file.read(length))
        if not isinstance(header, dict):
            raise ValueError("header is not a table")
    except (OSError, struct.error, ValueError) as error:
        text = f"{path}: not a safetensors file ({error}); `harness weights import` turns a checkpoint into one"
        raise DataError(text) from error
    return header, 8 + length


def read_info(path: Path) -> WeightsInfo:
    """The description in a weights file.

    Raises:
        DataError: there is none, or it is not understood.
    """
    header, _ = read_header(path)
    try:
        return WeightsInfo.model_validate_json(header["__metadata__"]["harness"])
    except (KeyError, TypeError, ValidationError) as error:
        text = f"{path}: no harness description in its header; `harness weights import` gives a checkpoint one"
        raise DataError(text) from error


def weights_content(path: Path) -> str:
    """Content digest of a weights file: name, dtype, shape and bytes of every tensor in order of name.

    Raises:
        DataError: the file is shorter than its header says.
    """
    header, start = read_header(path)
    state = hashlib.sha256()
    data = path.read_bytes()
    for name in sorted(header):
        if name == "__metadata__":
            continue
        begin, end = header[name]["data_offsets"]
        if start + end > len(data):
            raise DataError(f"{path}: truncated in tensor {name!r}; copy the file again")
        state.update(f"{name}\0{header[name]['dtype']}\0{header[name]['shape']}\0".encode())
        state.update(data[start + begin : start + end])
    return state.hexdigest()


def load_tensors(path: Path) -> dict[str, torch.Tensor]:
    """All tensors of a weights file; floating point ones as float32."""
    from safetensors.torch import load_file

    tensors = load_file(path)
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
