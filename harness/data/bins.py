"""Verification ``.bin`` files: a pickled pair (encoded images, issame); images 2k and 2k + 1 form pair k.

Read are both dialects (Python 2 at protocol 2, Python 3 at any), with images as byte strings or as uint8 arrays of the
encoded bytes. Source: the ArcFace reference (arXiv 1801.07698), which publishes LFW, CFP-FP and AgeDB-30 so.

Letters: P pairs, 2P images.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np

from harness.arrays import Bools, Ints
from harness.data.pickles import Array, Blob, read_blob, read_pickle
from harness.data.pictures import MAX_BYTES
from harness.errors import DataError, InputError

MAX_REPEATS = 64  # times that an image may come on average: a list can name one place for ever

Dialect = Literal["python2", "python3"]


class BinFile:
    """A ``.bin`` file; its images stay on disk until they are asked for.

    Attributes:
        same: whether a pair shows one person, bool [P].

    Args:
        path: the file.

    Raises:
        InputError: there is no such file.
        DataError: it is damaged, or not such a file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with _open(path) as file:
            size = file.seek(0, 2)
            file.seek(0)
            value = read_pickle(file, size, str(path))
            pair = isinstance(value, tuple | list) and len(value) == 2
            if not pair or not isinstance(value[0], list) or not isinstance(value[1], list | Array):
                raise DataError(f"{path}: not a verification file; expected a pair (images, issame) of lists")
            self._blobs = [self._blob(item, index) for index, item in enumerate(value[0])]
            if (total := sum(blob.length for blob in self._blobs)) > MAX_REPEATS * size:
                text = f"{len(self._blobs):,} images of {total:,} bytes together in {size:,}"
                raise DataError(f"{path}: {text}; each may be there {MAX_REPEATS} times at most")
            self.same = self._labels(value[1], file)
        images, pairs = len(self._blobs), len(self.same)
        if images % 2:
            raise DataError(f"{path}: {images} images, an odd number; expected two per pair")
        if images != 2 * pairs:
            raise DataError(f"{path}: {images} images and {pairs} labels; expected two images per label")
        if not pairs:
            raise DataError(f"{path}: it holds no pair; expected at least one")

    def _blob(self, item: Any, index: int) -> Blob:
        data = item.data if isinstance(item, Array) and item.dtype == "u1" else item
        if not isinstance(data, Blob) or data.text:
            kind = "text" if isinstance(data, Blob) else type(item).__name__
            raise DataError(f"{self.place(index)}: it is {kind}; expected bytes or a uint8 array of the encoded image")
        if data.length > MAX_BYTES:
            raise DataError(f"{self.place(index)}: it has {data.length:,} bytes; at most {MAX_BYTES:,} are read")
        return data

    def _labels(self, labels: Any, file: BinaryIO) -> Bools:
        if isinstance(labels, Array):
            if labels.data is None or labels.dtype != "b1":
                raise DataError(f"{self.path}: issame is an array of another kind than bool")
            if labels.data.length > len(self._blobs):  # before every byte becomes an object
                raise DataError(f"{self.path}: {len(self._blobs)} images and {labels.data.length} labels")
            labels = list(read_blob(file, labels.data, f"{self.path}: issame"))
        for index, label in enumerate(labels):
            if not isinstance(label, int) or label not in (0, 1):
                raise DataError(f"{self.path}: label {index} is no boolean; expected True or False for every pair")
        return np.array(labels, dtype=bool)

    def __len__(self) -> int:
        """2P, the number of images."""
        return len(self._blobs)

    def place(self, index: int) -> str:
        """Names image ``index`` in messages."""
        return f"{self.path}: image {index}"

    def encoded(self, indices: Iterable[int] | None = None) -> Iterator[bytes]:
        """The encoded bytes of images (default: all), one at a time.

        Raises:
            DataError: the file was changed since it was opened.
        """
        with self.opened() as file:
            for index in range(len(self)) if indices is None else indices:
                yield self.read(file, index)

    def opened(self) -> BinaryIO:
        """The file, to read from."""
        return _open(self.path)

    def read(self, file: BinaryIO, index: int) -> bytes:
        """The encoded bytes of one image of the opened file.

        Raises:
            DataError: the file was changed since its list was read.
        """
        return read_blob(file, self._blobs[index], self.place(index))

    def content(self) -> str:
        """Digest of labels and encoded images, the same for every dialect."""
        return bin_content(self.encoded(), self.same)


def bin_content(images: Iterable[bytes], same: Iterable[Any]) -> str:
    """Digest of what a ``.bin`` holds: encoded images in order and labels."""
    state = hashlib.sha256()
    for data in images:
        state.update(struct.pack("<Q", len(data)) + hashlib.sha256(data).digest())
    state.update(b"same" + bytes(bool(label) for label in same))
    return state.hexdigest()


def write_bin(path: Path, images: Iterable[bytes], same: Iterable[Any], dialect: Dialect = "python3") -> None:
    """Write a ``.bin`` file, one image at a time.

    Args:
        images: 2P encoded images.
        same: P labels.
        dialect: ``python3`` writes protocol 3, ``python2`` protocol 2 with byte strings as Python 2 has them.

    Raises:
        DataError: the counts do not fit, or an image is too large for the format. No file is left then.
    """
    labels = [bool(label) for label in same]
    partial = path.with_name(path.name + ".partial")
    short, long, version = (b"U", b"T", b"\x02") if dialect == "python2" else (b"C", b"B", b"\x03")
    count = 0
    try:
        with partial.open("wb") as file:
            file.write(b"\x80" + version + b"](")
            for count, data in enumerate(images, 1):
                if len(data) > MAX_BYTES:
                    raise DataError(
                        f"{path}: image {count - 1} has {len(data):,} bytes; expected at most {MAX_BYTES:,}"
                    )
                head = short + struct.pack("<B", len(data)) if len(data) < 256 else long + struct.pack("<I", len(data))
                file.write(head)
                file.write(data)
            file.write(b"e](" + b"".join(b"\x88" if label else b"\x89" for label in labels) + b"e\x86.")
        if count != 2 * len(labels) or not labels:
            raise DataError(f"{path}: {count} images and {len(labels)} labels; expected two images per label")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def contiguous_folds(pairs: int, folds: int) -> Ints:
    """Fold of every pair, int64 [P]: contiguous parts in file order, the first ones larger by one if they must be."""
    sizes = [len(part) for part in np.array_split(np.arange(pairs), folds)]
    return np.repeat(np.arange(folds, dtype=np.int64), sizes)


def pair_identities(same: Bools) -> Ints:
    """Identity of every image, int64 [2P]: one for the images of a genuine pair, else its own.

    The identity is the number of the first image that shows it.
    """
    numbers = np.arange(2 * len(same), dtype=np.int64)
    numbers[1::2] -= same
    return numbers


def _open(path: Path) -> BinaryIO:
    if not path.is_file():  # a pipe, say, would be waited for
        raise InputError(f"{path}: cannot be read (there is no such file); expected a verification .bin file")
    try:
        return path.open("rb")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected a verification .bin file") from error
