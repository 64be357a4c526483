"""Training sets in LMDB with the layout of Efficient-PyTorch's ``folder2lmdb``, which many FR trainers copied.

The keys ``0``, ``1``, ... hold pickles of (encoded image, label), ``__len__`` a pickle of their number. Pickles are
read by :mod:`harness.data.pickles`, which executes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from harness.arrays import Ints
from harness.data.pickles import Blob, read_blob, read_pickle
from harness.errors import DataError, InputError

NUMBER = b"__len__"
MAX_IMAGES = 100_000_000


class LmdbFile:
    """A database of images, one file or a folder with ``data.mdb``.

    Raises:
        InputError: there is no such database, or the package lmdb is missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path / "data.mdb" if path.is_dir() else path
        if not self.file.is_file():  # a pipe, say, would be waited for
            raise InputError(f"{self.file}: cannot be read (there is no such file); expected an LMDB database")

    def labels(self) -> Ints:
        """The label of every image by its key, int64 [N]: every value is read once.

        Raises:
            DataError: the database is damaged or of another layout.
        """
        with self._open() as (transaction, where):
            count = _value(transaction.get(NUMBER), f"{where}: {NUMBER.decode()}")
            if not isinstance(count, int) or isinstance(count, bool) or not 0 < count <= MAX_IMAGES:
                raise DataError(f"{where}: {NUMBER.decode()} is {str(count)[:40]}, expected the number of images")
            keys = range(count)
            return np.fromiter((_pair(transaction, key, where)[1] for key in keys), dtype=np.int64, count=count)

    def encoded(self, keys: Iterable[int]) -> Iterator[bytes]:
        """The encoded images of keys, one at a time.

        Raises:
            DataError: a value is damaged or not there.
        """
        with self._open() as (transaction, where):
            for key in keys:
                yield _pair(transaction, key, where)[0]

    def place(self, key: int) -> str:
        """How errors call an image."""
        return f"{self.path}: image {key}"

    def _open(self) -> _Opened:
        return _Opened(self.path)


class _Opened:
    """A read transaction on a database, while it is entered."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            import lmdb
        except ModuleNotFoundError as error:
            raise InputError(
                f"{path}: reading LMDB needs the package lmdb: pip install 'facegen-harness[lmdb]'"
            ) from error
        try:
            self._database = lmdb.open(str(path), subdir=path.is_dir(), readonly=True, lock=False, readahead=False)
        except lmdb.Error as error:
            raise DataError(f"{path}: no LMDB database, or a damaged one ({error})") from error

    def __enter__(self) -> tuple[Any, Path]:
        return self._database.begin(buffers=False), self._path

    def __exit__(self, *error: object) -> None:
        self._database.close()


def _value(data: bytes | None, where: str) -> Any:
    if data is None:
        raise DataError(f"{where} is not there; expected the layout of folder2lmdb")
    return read_pickle(BytesIO(data), len(data), where)


def _pair(transaction: Any, key: int, path: Path) -> tuple[bytes, int]:
    """The encoded image and the label of a key."""
    where = f"{path}: image {key}"
    data = transaction.get(f"{key}".encode())
    found = _value(data, where)
    if not (isinstance(found, tuple) and len(found) == 2 and isinstance(found[0], Blob) and type(found[1]) is int):
        raise DataError(f"{where}: expected a pickle of (encoded image, label)")
    return read_blob(BytesIO(data), found[0], where), found[1]
