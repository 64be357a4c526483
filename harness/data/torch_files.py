"""Files of ``torch.save``, old and new: what they hold is read as :mod:`harness.data.torch_pickles` says.

What a file says of sizes is compared with the bytes that are there before memory is taken, and tensors are read when
they are asked for, so that a training checkpoint costs what is taken of it.
"""

from __future__ import annotations

import io
import mmap
import struct
import zipfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from harness.data.torch_pickles import AnyStored, Storage, StoredArray, check_instructions, unpickle
from harness.errors import DataError

# By how many bytes tensors may outgrow the file: two can share a storage, and one can repeat it. More, and a small file
# could ask for any memory.
MAX_GROWTH = 1 << 30
ZIP_MAGIC = b"PK\x03\x04"
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # the first of the pickles that a file of torch before 1.6 starts with


class TorchFile:
    """An open file of ``torch.save``, to be used in a ``with`` statement, which closes it.

    Attributes:
        content: what was saved: dictionaries, lists, tuples, numbers and text, with :class:`Stored`,
            :class:`StoredArray` and :class:`Inert` in them.

    Raises:
        DataError: the file cannot be read, or is none of torch's.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.content: Any = None
        self._closing = ExitStack()
        self._bytes: Callable[[Storage], bytes]
        try:
            self._open()
        except OSError as error:
            self._closing.close()
            raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
        except Exception as error:  # a damaged pickle raises nearly every kind
            self._closing.close()
            raise self._damaged(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._closing.close()

    def tensors(self, stored: Mapping[str, AnyStored]) -> dict[str, Tensor]:
        """Read tensors, by the names that they are given under.

        Raises:
            DataError: they would take far more memory than the file has bytes, or their bytes are not there.
        """
        wanted = sum(each.nbytes for each in stored.values())
        if wanted > self._size + MAX_GROWTH:
            text = f"its tensors claim {wanted:,} bytes, and the file has {self._size:,}"
            raise DataError(f"{self.path}: {text}; it is damaged, or made to fill the memory")
        read: dict[str, Tensor] = {}
        try:
            return {name: self._tensor(each, read) for name, each in stored.items()}
        except Exception as error:  # the archive raises many kinds as well
            raise self._damaged(error) from error

    def _tensor(self, stored: AnyStored, read: dict[str, Tensor]) -> Tensor:
        if isinstance(stored, StoredArray):
            array = np.frombuffer(stored.data, dtype=stored.dtype).reshape(stored.shape)
            return torch.from_numpy(array.astype(stored.dtype[1:]))
        storage = stored.storage
        if not stored.nbytes:
            return torch.empty(stored.shape, dtype=storage.dtype)
        if storage.key not in read:
            data = self._bytes(storage)
            if len(data) != storage.nbytes:
                raise ValueError(f"a storage of {storage.nbytes:,} bytes has {len(data):,}")
            read[storage.key] = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        return read[storage.key].view(storage.dtype).as_strided(stored.shape, stored.strides, stored.offset)

    def _damaged(self, error: Exception) -> DataError:
        known = type(error) in (ValueError, zipfile.BadZipFile)
        reason = " ".join(str(error).split()) if known else type(error).__name__
        text = f"not a checkpoint of tensors that can be read safely ({reason})"
        return DataError(f"{self.path}: {text}; expected a file of torch.save, or safetensors")

    def _open(self) -> None:
        self._size = self.path.stat().st_size
        if not self.path.is_file() or not self._size:  # a pipe, say, would be waited for
            raise ValueError("it is empty" if self.path.is_file() else "it is no file")
        with self.path.open("rb") as file:
            data = self._closing.enter_context(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        if data[:4] == ZIP_MAGIC:
            self._open_zip()
        else:
            self._open_legacy(data)

    def _open_zip(self) -> None:
        archive = self._closing.enter_context(zipfile.ZipFile(self.path))
        records = archive.infolist()
        if any(record.compress_type != zipfile.ZIP_STORED or record.flag_bits & 1 for record in records):
            raise ValueError("it is compressed or encrypted, which torch does to none")
        if sum(record.file_size for record in records) > self._size:
            raise ValueError("its parts claim more bytes than it has")
        names = {record.filename for record in records}
        pickles = [name for name in names if name.count("/") <= 1 and name.rpartition("/")[2] == "data.pkl"]
        if len(pickles) != 1:
            raise ValueError(f"{len(pickles)} parts of it are named data.pkl")
        folder = pickles[0].removesuffix("data.pkl")
        if f"{folder}byteorder" in names and archive.read(f"{folder}byteorder") != b"little":
            raise ValueError("it was written on a big-endian machine")
        self._bytes = lambda storage: archive.read(f"{folder}data/{storage.key}")
        pickled = archive.read(pickles[0])
        check_instructions(io.BytesIO(pickled))
        self.content, _ = unpickle(pickled)

    def _open_legacy(self, data: mmap.mmap) -> None:
        """Pickles of a magic number, a version, the machine, the content and the storages' keys; then their bytes."""

        def load() -> tuple[Any, dict[str, Storage]]:
            start = data.tell()
            check_instructions(data)
            return unpickle(data[start : data.tell()])

        if load()[0] != LEGACY_MAGIC:
            raise ValueError("it does not start as a file of torch")
        _, machine = load()[0], load()[0]
        if not isinstance(machine, dict) or machine.get("little_endian") is not True:
            raise ValueError("it was written on a big-endian machine")
        (self.content, storages), keys = load(), load()[0]
        places = _places(data, keys, storages)
        self._bytes = lambda storage: data[places[storage.key] : places[storage.key] + storage.nbytes]


def _places(data: mmap.mmap, keys: Any, storages: Mapping[str, Storage]) -> dict[str, int]:
    """Where each storage's bytes start: they follow one another in the order of their keys, each after its length."""
    places: dict[str, int] = {}
    at = data.tell()
    for key in keys:
        if not isinstance(key, str) or key not in storages:
            raise ValueError("a storage is of no known type")
        (count,) = struct.unpack("<q", data[at : at + 8])
        at += 8
        if count != storages[key].count or at + storages[key].nbytes > len(data):
            raise ValueError(f"its storage {key[:40]!r} has another size than its tensors say")
        places[key] = at
        at += storages[key].nbytes
    return places
