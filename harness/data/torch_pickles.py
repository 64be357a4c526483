"""The pickles of ``torch.save``, read for their tensors and plain containers without building anything else.

A pickle names what it wants called. Here every name stands for something of this module: what makes a tensor, an array
or a dictionary does so by own code, and any other object becomes an :class:`Inert` one. No module is imported and
nothing of the file's choice is called. Of tensors only their place is kept, which lies within their storage.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import torch

MAX_INSTRUCTIONS = 4_000_000  # of a pickle: its memory grows with them. 100,000 tensors take 3,000,000
MAX_DIMENSIONS = 16
_EXTENSIONS = frozenset({"EXT1", "EXT2", "EXT4"})  # names by number, from a table of the process
_PUTS = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})
_DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_ARRAY_CODES = frozenset({"f2", "f4", "f8"})


class Inert:
    """Stands for an object of another class, and does nothing whatever is done to it."""

    def __new__(cls, *args: Any, **named: Any) -> Self:
        return object.__new__(cls)

    def __init__(self, *args: Any, **named: Any) -> None:
        pass

    def __call__(self, *args: Any, **named: Any) -> Inert:
        return self

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, item: Any) -> None:
        """Of a subclass of list."""

    def extend(self, items: Any) -> None:
        """Of a subclass of list."""

    def add(self, item: Any) -> None:
        """Of a subclass of set."""


@dataclass(frozen=True, slots=True)
class Storage:
    """Numbers in the file, not read."""

    key: str
    dtype: torch.dtype
    count: int

    @property
    def nbytes(self) -> int:
        return self.count * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor in the file, not read: a view of a storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes that it takes as a tensor of its own."""
        return math.prod(self.shape) * self.storage.dtype.itemsize


@dataclass(slots=True)
class StoredArray:
    """A NumPy array of floats, whose bytes are in the pickle itself."""

    shape: tuple[int, ...] = ()
    dtype: str = ""
    data: bytes = b""

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        if not isinstance(dtype, _DType) or dtype.code not in _ARRAY_CODES or fortran is not False:
            raise ValueError("it holds an array that is not of floats in row order")
        if not _are_counts(shape) or not isinstance(data, bytes):
            raise ValueError("it holds a damaged array")
        if math.prod(shape) * int(dtype.code[1:]) != len(data):
            raise ValueError(f"an array of shape {list(shape)} has {len(data):,} bytes")
        self.shape, self.dtype, self.data = shape, dtype.order + dtype.code, data

    @property
    def nbytes(self) -> int:
        """Bytes that it takes as a tensor of its own."""
        return len(self.data)


AnyStored = Stored | StoredArray


class _Table(dict[Any, Any]):
    """A dictionary; what else an OrderedDict carries is dropped."""

    def __setstate__(self, state: Any) -> None:
        pass


@dataclass(slots=True)
class _DType:
    code: Any
    order: str = "<"

    def __setstate__(self, state: Any) -> None:
        self.order = ">" if state[1] == ">" else "<"


@dataclass(frozen=True, slots=True)
class _Call:
    """A name of the pickle that stands for a function of this module; it can be called and nothing else."""

    do: Callable[..., Any]

    def __call__(self, *args: Any) -> Any:
        return self.do(*args)

    def __setstate__(self, state: Any) -> None:
        raise ValueError("it changes a function")


def _are_counts(values: Any) -> bool:
    known = isinstance(values, tuple) and len(values) <= MAX_DIMENSIONS
    return known and all(type(value) is int and value >= 0 for value in values)


def _view(storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> Stored | Inert:
    if not isinstance(storage, Storage):
        return Inert()
    if not _are_counts((offset,)) or not _are_counts(shape) or not _are_counts(strides) or len(shape) != len(strides):
        raise ValueError("it holds a tensor with a damaged shape")
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if all(shape) and last >= storage.count:
        raise ValueError(f"a tensor of shape {list(shape)} reaches beyond its {storage.count:,} numbers")
    return Stored(storage, offset, shape, strides)


def _same(value: Any, *rest: Any) -> Any:
    return value


def _of_type(make: Any, kind: Any, args: Any, state: Any) -> Any:
    return make(*args) if isinstance(make, _Call) else Inert()


def _encode(text: Any, encoding: Any) -> Any:
    return text.encode("latin-1") if isinstance(text, str) and encoding == "latin1" else Inert()


_NAMES: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _Call(_Table),
    ("torch._utils", "_rebuild_tensor"): _Call(_view),
    ("torch._utils", "_rebuild_tensor_v2"): _Call(_view),
    ("torch._utils", "_rebuild_parameter"): _Call(_same),
    ("torch._utils", "_rebuild_parameter_with_state"): _Call(_same),
    ("torch._tensor", "_rebuild_from_type_v2"): _Call(_of_type),
    ("_codecs", "encode"): _Call(_encode),  # bytes, in the protocol that torch writes
    ("numpy.core.multiarray", "_reconstruct"): _Call(lambda *args: StoredArray()),
    ("numpy._core.multiarray", "_reconstruct"): _Call(lambda *args: StoredArray()),
    ("numpy", "dtype"): _Call(lambda code, *args: _DType(code)),
    **{(module, name): dtype for module in ("torch", "torch.cuda") for name, dtype in _DTYPES.items()},
}


class _Unpickler(pickle.Unpickler):
    """Knows the names above; all others are :class:`Inert`. Notes the storages that tensors are views of."""

    def __init__(self, pickled: bytes) -> None:
        super().__init__(io.BytesIO(pickled), encoding="latin-1")
        self.storages: dict[str, Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        return _NAMES.get((module, name), Inert)

    def persistent_load(self, pid: Any) -> Any:
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage" or not isinstance(pid[1], torch.dtype):
            return Inert()
        _, dtype, key, _, count, *view = pid
        if not isinstance(key, str) or not _are_counts((count,)) or any(part is not None for part in view):
            raise ValueError("it holds a damaged storage")
        storage = Storage(key, dtype, count)
        if self.storages.setdefault(key, storage) != storage:
            raise ValueError(f"its storage {key[:40]!r} has two sizes")
        return storage


def unpickle(pickled: bytes) -> tuple[Any, dict[str, Storage]]:
    """What a pickle holds, and the storages that its tensors are views of, by key.

    Raises:
        ValueError: a size in it is wrong. Of a damaged pickle nearly every other exception.
    """
    unpickler = _Unpickler(pickled)
    return unpickler.load(), unpickler.storages


def check_instructions(file: Any) -> None:
    """Walk through a pickle without doing anything: is every length true, and every place in its memory a small one?

    Args:
        file: has ``read``, ``readline`` and ``tell``; stands after the pickle's end afterwards.

    Raises:
        ValueError: no.
    """
    for count, (op, argument, at) in enumerate(pickletools.genops(file)):
        if count == MAX_INSTRUCTIONS:
            raise ValueError(f"more than {MAX_INSTRUCTIONS:,} instructions")
        if op.name in _EXTENSIONS:
            raise ValueError(f"instruction {op.name} at byte {at}")
        if op.name in _PUTS and (argument or 0) > count:  # the memory is a list as long as its largest place
            raise ValueError(f"damaged at byte {at}")
