"""Weights files: safetensors with a description in the header. Loading executes nothing.

The same format serves trained recognizers, fitted models, the small weights that distributions ship (``demo:NAME``) and
files a user passes on. The description says what the tensors are, so a file is enough to rebuild the network.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from harness.components.base import ColorOrder, CommercialUse
from harness.errors import DataError

if TYPE_CHECKING:
    import torch

_MAX_HEADER = 1 << 22  # bytes; the largest models in use have some hundred thousand
_MAX_DIMENSIONS = 16
_MAX_COUNT = 1 << 48  # of a shape or an offset
_BLOCK = 1 << 20  # bytes that are read at once
_ITEM_BYTES = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2"), 1),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 2),
    **dict.fromkeys(("F32", "I32", "U32"), 4),
    **dict.fromkeys(("F64", "I64", "U64"), 8),
}


class WeightsInfo(BaseModel):
    """What a weights file holds.

    Attributes:
        role: a recognizer or a generator's model.
        kind: for a model its kind, such as ``latent-diffusion/1``; for a recognizer the name of its architecture.
        settings: plain values to rebuild the network from.
        view, size_px, color: the crop that a recognizer takes.
        recognizer: content digest of the recognizer that a model's contexts came from.
        recognizer_took: how that recognizer took pictures (:func:`how_taken`); empty in files of earlier versions.
        provenance: who made it from what (suite entry, source, seed), for display.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: Literal["recognizer", "model"]
    kind: str
    settings: dict[str, Any]
    view: str = "raw"
    size_px: int = 0
    color: ColorOrder = "rgb"
    recognizer: str = ""
    recognizer_took: dict[str, Any] = {}
    license: str = "unknown"
    commercial_use: CommercialUse = "unknown"
    provenance: dict[str, Any] = {}


def how_taken(info: WeightsInfo) -> dict[str, Any]:
    """How a recognizer takes pictures: architecture, settings and crop. With its tensors, that is what it is."""
    return info.model_dump(mode="json", include={"kind", "settings", "view", "size_px", "color"})


def taken_otherwise(model: WeightsInfo, recognizer: WeightsInfo) -> str:
    """In what a recognizer differs from the one with the same tensors that a model was fitted with; empty: nothing."""
    now = how_taken(recognizer)
    differing = [name for name, value in model.recognizer_took.items() if value != now[name]]
    return "; ".join(f"{name} was {model.recognizer_took[name]}, now {now[name]}" for name in differing)


def write_weights(path: Path, tensors: Mapping[str, torch.Tensor | NDArray[Any]], info: WeightsInfo) -> None:
    """Write a weights file, atomically; float32 tensors that float16 holds without loss are stored as float16."""
    from safetensors.numpy import save_file

    partial = path.with_suffix(".partial")
    plain = {name: _compact(_array(tensor)) for name, tensor in tensors.items()}
    save_file(plain, partial, metadata={"harness": info.model_dump_json()})
    partial.chmod(0o644)
    partial.replace(path)


def _array(tensor: torch.Tensor | NDArray[Any]) -> NDArray[Any]:
    if isinstance(tensor, np.ndarray):
        return tensor
    short = tensor.is_floating_point() and tensor.element_size() < 4  # NumPy has no bfloat16
    values: NDArray[Any] = (tensor.float() if short else tensor).detach().cpu().numpy()
    return values


def _compact(values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype.kind != "f":
        return np.asarray(values, order="C")
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    return np.asarray(half if np.array_equal(half.astype(values.dtype), values) else values, order="C")


def read_header(path: Path) -> tuple[dict[str, Any], int]:
    """The raw header of a safetensors file and the offset of its data.

    Its entries are what the format says: tensors of known dtypes, one after the other, that fill the file.

    Raises:
        DataError: not a safetensors file, or a damaged one.
    """
    try:
        if not path.is_file():  # a pipe, say, would be waited for
            raise ValueError("it is no file" if path.exists() else "there is no such file")
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            left = path.stat().st_size - 8 - length
            if length > _MAX_HEADER or left < 0:
                raise ValueError(f"its header claims {length:,} bytes")
            header = json.loads(file.read(length), object_pairs_hook=_table)
        if not isinstance(header, dict):
            raise ValueError("header is not a table")
        _check_tensors({name: entry for name, entry in header.items() if name != "__metadata__"}, left)
    except (OSError, struct.error, ValueError, RecursionError) as error:
        text = f"{path}: not a safetensors file ({error}); `harness weights import` turns a checkpoint into one"
        raise DataError(text) from error
    return header, 8 + length


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError("a key of its header is there twice")
    return table


def _check_tensors(entries: Mapping[str, Any], size: int) -> None:
    """Each tensor has as many bytes as its dtype and shape need, and together they fill ``size`` bytes."""
    places = []
    for name, entry in entries.items():
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise ValueError(f"tensor {name[:80]!r} lacks dtype, shape or data_offsets")
        dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not isinstance(dtype, str) or dtype not in _ITEM_BYTES:
            raise ValueError(f"tensor {name[:80]!r} is of unknown dtype {str(dtype)[:20]!r}")
        if not _are_counts(shape) or not _are_counts(offsets) or len(offsets) != 2:
            raise ValueError(f"tensor {name[:80]!r} has a shape or offsets that are no counts")
        if math.prod(shape) * _ITEM_BYTES[dtype] != offsets[1] - offsets[0]:
            raise ValueError(f"tensor {name[:80]!r} has another size than its dtype and shape")
        places.append((*offsets, name))
    end = 0
    for first, last, name in sorted(places):
        if first != end:
            raise ValueError(f"tensor {name[:80]!r} starts at byte {first:,}, expected {end:,}")
        end = last
    if end != size:
        raise ValueError(f"its tensors have {end:,} bytes and {size:,} are there; it is cut or damaged")


def _are_counts(values: Any) -> bool:
    known = isinstance(values, list) and len(values) <= _MAX_DIMENSIONS
    return known and all(type(value) is int and 0 <= value <= _MAX_COUNT for value in values)


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
        DataError: the file is damaged.
    """
    header, start = read_header(path)
    state = hashlib.sha256()
    with path.open("rb") as file:
        for name in sorted(header.keys() - {"__metadata__"}):
            begin, end = header[name]["data_offsets"]
            state.update(f"{name}\0{header[name]['dtype']}\0{header[name]['shape']}\0".encode())
            file.seek(start + begin)
            for at in range(begin, end, _BLOCK):
                wanted = min(_BLOCK, end - at)
                data = file.read(wanted)
                if len(data) < wanted:
                    raise DataError(f"{path}: truncated in tensor {name!r}; copy the file again")
                state.update(data)
    return state.hexdigest()


def load_tensors(path: Path) -> dict[str, torch.Tensor]:
    """All tensors of a weights file; floating point ones as float32.

    Raises:
        DataError: the file is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    read_header(path)
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise DataError(f"{path}: not a safetensors file ({' '.join(str(error).split())}); copy it again") from error
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
