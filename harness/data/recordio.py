"""RecordIO without mxnet: ``train.rec`` with ``train.idx`` and ``train.lst``, as insightface lays them out.

A record is a magic word, a word of part flag (3 bits) and length (29 bits), and the payload, padded to 4 bytes. Where a
payload holds the magic word at a multiple of 4, it is split there and the word left out; part flags 1, 2 and 3 are the
first, middle and last part. A payload is a header (flag, label, id, id2), ``flag`` further labels, and the image.

insightface: record 0 holds no image but the labels [n + 1, end]: images are the records 1 to n, and records n + 1 to
end - 1 hold, per identity, the range of its records.
"""

from __future__ import annotations

import math
import struct
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np

from harness.arrays import Ints
from harness.data.lines import numbered_lines
from harness.data.pictures import MAX_BYTES
from harness.errors import DataError, InputError

MAGIC = 0xCED7230A
_MAGIC = struct.pack("<I", MAGIC)
_FRAME = struct.Struct("<II")
_HEADER = struct.Struct("<IfQQ")
_LENGTH_BITS = 29
MAX_PART = (1 << _LENGTH_BITS) - 1
_WHOLE, _FIRST, _MIDDLE, _LAST = range(4)
MAX_LABELS = 1024  # of one record: one or two in use
MAX_LABEL = 1 << 24  # labels are stored as float32, which holds no larger integer exactly


@dataclass(frozen=True)
class Record:
    """One record: ``labels`` (one, or ``flag`` many), ``id``, ``id2`` and the encoded image, empty in headers.

    ``vector`` says that the labels are stored as a vector, however many there are.
    """

    labels: tuple[float, ...]
    data: bytes
    id: int = 0
    id2: int = 0
    vector: bool = False


def pack_record(record: Record) -> bytes:
    """The payload of a record."""
    if not record.vector and len(record.labels) == 1:
        return _HEADER.pack(0, record.labels[0], record.id, record.id2) + record.data
    count = len(record.labels)
    head = _HEADER.pack(count, 0.0, record.id, record.id2)
    return head + struct.pack(f"<{count}f", *record.labels) + record.data


def unpack_record(payload: bytes, where: str) -> Record:
    """Take a payload apart.

    Raises:
        DataError: it is shorter than its header says.
    """
    if len(payload) < _HEADER.size:
        raise DataError(f"{where}: {len(payload)} bytes are too few for a header of {_HEADER.size}")
    flag, label, number, second = _HEADER.unpack_from(payload)
    if not flag:
        return Record((label,), payload[_HEADER.size :], number, second)
    left = len(payload) - _HEADER.size
    if 4 * flag > left:
        raise DataError(f"{where}: {flag:,} labels are declared, and the {left:,} bytes left hold {left // 4:,}")
    if flag > MAX_LABELS:
        raise DataError(f"{where}: {flag:,} labels are declared; at most {MAX_LABELS:,} are read")
    labels = struct.unpack_from(f"<{flag}f", payload, _HEADER.size)
    return Record(labels, payload[_HEADER.size + 4 * flag :], number, second, vector=True)


def split_payload(payload: bytes) -> list[bytes]:
    """Cut a payload at every magic word on a multiple of 4 bytes, and leave those words out."""
    parts, start, at = [], 0, payload.find(_MAGIC)
    while at >= 0:
        if at % 4 == 0:
            parts.append(payload[start:at])
            start = at + 4
        at = payload.find(_MAGIC, at + (4 if at % 4 == 0 else 1))
    return [*parts, payload[start:]]


class RecordFile:
    """A ``.rec`` file, read record by record.

    Its keys come from the ``.idx`` file beside it; without one the file is scanned and keys count the records.

    Args:
        path: the ``.rec`` file, or a folder with ``train.rec``.

    Raises:
        InputError: there is no such file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path / "train.rec" if path.is_dir() else path
        if not self.path.is_file():  # a pipe, say, would be waited for
            raise InputError(f"{self.path}: cannot be read (there is no such file); expected a RecordIO file")
        self.size = self.path.stat().st_size

    @cached_property
    def index(self) -> tuple[Ints, Ints]:
        """Keys in ascending order, and the byte at which the record of each starts; int64.

        Raises:
            DataError: the index, or without one the file, is damaged.
        """
        keys, offsets = array("q"), array("q")
        index = self.path.with_suffix(".idx")
        for key, offset in self._read_index(index) if index.exists() else self._scan_index():
            keys.append(key)
            offsets.append(offset)
        if not keys:
            raise DataError(f"{self.path}: it holds no record")
        unsorted = np.array(keys, dtype=np.int64)
        order = np.argsort(unsorted, kind="stable")
        sorted_keys = unsorted[order]
        twice = np.flatnonzero(sorted_keys[1:] == sorted_keys[:-1])
        if len(twice):
            raise DataError(f"{index}: record {sorted_keys[twice[0]]} is there twice; write the index again")
        return sorted_keys, np.array(offsets, dtype=np.int64)[order]

    def _scan_index(self) -> Iterator[tuple[int, int]]:
        return ((key, offset) for key, (offset, _) in enumerate(self.scan()))

    def _read_index(self, index: Path) -> Iterator[tuple[int, int]]:
        for number, line in numbered_lines(index):
            fields = line.split()
            numbers = all(field.isascii() and field.isdigit() and len(field) < 19 for field in fields)
            if len(fields) != 2 or not numbers:
                raise DataError(f"{index}: line {number}: {line[:80]!r}; expected a key and an offset in bytes")
            key, offset = int(fields[0]), int(fields[1])
            if offset + _FRAME.size > self.size:
                text = f"record {key} at byte {offset:,}, and {self.path.name} has {self.size:,} bytes"
                raise DataError(f"{index}: line {number}: {text}; the files do not belong together, or one is cut")
            yield key, offset

    def scan(self) -> Iterator[tuple[int, bytes]]:
        """(offset, payload) of every record in the order of the file.

        Raises:
            DataError: a record is damaged or cut; the message says at which byte.
        """
        with self.path.open("rb") as file:
            offset = 0
            while offset < self.size:
                payload = self._payload(file, offset)
                yield offset, payload
                offset = file.tell()

    def read(self, key: int) -> Record:
        """The record of a key.

        Raises:
            DataError: there is none, or it is damaged.
        """
        keys, offsets = self.index
        place = int(np.searchsorted(keys, key))
        if place == len(keys) or keys[place] != key:
            raise DataError(f"{self.path}: there is no record {key}; the index has {len(keys):,} records")
        return next(self.read_at([int(offsets[place])]))

    def read_at(self, offsets: Iterable[int]) -> Iterator[Record]:
        """The records at byte offsets, one at a time.

        Raises:
            DataError: a record is damaged or cut.
        """
        with self.opened() as file:
            for offset in offsets:
                yield self.record(file, int(offset))

    def opened(self) -> BinaryIO:
        """The file, to read from."""
        return self.path.open("rb")

    def record(self, file: BinaryIO, offset: int) -> Record:
        """The record at a byte offset of the opened file.

        Raises:
            DataError: it is damaged or cut.
        """
        return unpack_record(self._payload(file, offset), self.place(offset))

    def place(self, offset: int) -> str:
        """Names the record at ``offset`` in messages."""
        return f"{self.path}: record at byte {offset:,}"

    def images(self, faults: list[str] | None = None) -> tuple[Ints, Ints, Ints]:
        """Keys, identities and offsets of all images, int64 [N] each, in the order of keys; no image is read.

        Args:
            faults: what is wrong with a record is appended, and the record left out; default: it is raised.

        Raises:
            DataError: the file is damaged, a label is no identity, or the header record names records that are missing.
        """
        chosen = self._image_rows()
        keys, offsets = (column[chosen] for column in self.index)
        identities = np.empty(len(keys), dtype=np.int64)
        with self.path.open("rb") as file:
            for place in np.argsort(offsets, kind="stable"):  # in the order of the file: disks read ahead
                try:
                    identities[place] = self._identity(file, int(offsets[place]), int(keys[place]))
                except DataError as error:
                    if faults is None:
                        raise
                    faults.append(str(error))
                    identities[place] = -1
        sound = identities >= 0
        return keys[sound], identities[sound], offsets[sound]

    def _image_rows(self) -> slice:
        """Which rows of the index are images: those that a header record names, or all."""
        keys, _ = self.index
        first = self.read(0) if keys[0] == 0 else None
        if first is None or not first.vector or first.data:
            return slice(None)
        end = first.labels[0]
        if not (math.isfinite(end) and end == int(end) and 1 < end <= len(keys)):
            text = f"record 0 says that images end before record {end:g}"
            raise DataError(f"{self.path}: {text}; there are {len(keys):,} records, so the file is cut or damaged")
        rows = slice(1, int(end))
        missing = np.flatnonzero(keys[rows] != np.arange(1, int(end)))
        if len(missing):
            raise DataError(f"{self.path}: record {missing[0] + 1} is missing; record 0 counts {int(end) - 1:,} images")
        return rows

    def _identity(self, file: BinaryIO, offset: int, key: int) -> int:
        part, length = self._frame(file, offset)
        if part == _WHOLE and length >= _HEADER.size + 4:
            head = file.read(_HEADER.size + 4)  # enough, and an image costs no more than this
            flag, label, _, _ = _HEADER.unpack_from(head)
            if flag > MAX_LABELS or 4 * flag > length - _HEADER.size:
                unpack_record(self._payload(file, offset), self.place(offset))  # says what is wrong
            label = struct.unpack_from("<f", head, _HEADER.size)[0] if flag else label
        else:
            label = unpack_record(self._payload(file, offset), self.place(offset)).labels[0]
        if not (math.isfinite(label) and label == int(label) and 0 <= label <= MAX_LABEL):
            text = f"label {label:g} is no identity; expected an integer from 0 to {MAX_LABEL:,}"
            raise DataError(f"{self.place(offset)}: record {key}: {text}")
        return int(label)

    def _frame(self, file: BinaryIO, offset: int) -> tuple[int, int]:
        """Part flag and length of the part at ``offset``, checked; the file stands at its payload then."""
        file.seek(offset)
        head = file.read(_FRAME.size)
        if len(head) < _FRAME.size:
            raise DataError(f"{self.place(offset)}: the file ends within its frame; it is cut, so copy it again")
        magic, word = _FRAME.unpack(head)
        if magic != MAGIC:
            raise DataError(f"{self.place(offset)}: it starts with {magic:#010x}, expected the magic {MAGIC:#010x}")
        part, length = word >> _LENGTH_BITS, word & MAX_PART
        left = self.size - offset - _FRAME.size
        if length > left:
            text = f"{length:,} bytes are declared and {left:,} are left in the file"
            raise DataError(f"{self.place(offset)}: {text}; it is cut or damaged")
        if part > _LAST:
            raise DataError(f"{self.place(offset)}: part flag {part}; expected 0 to 3")
        return part, length

    def _payload(self, file: BinaryIO, offset: int) -> bytes:
        parts: list[bytes] = []
        total = 0
        at, expected = offset, (_WHOLE, _FIRST)
        while True:
            part, length = self._frame(file, at)
            if part not in expected:
                text = f"part flag {part} at byte {at:,}, expected {expected[0]} or {expected[1]}"
                raise DataError(f"{self.place(offset)}: {text}; a record was lost")
            total += length
            if total > MAX_BYTES:
                raise DataError(f"{self.place(offset)}: {total:,} bytes; records of at most {MAX_BYTES:,} are read")
            data = file.read(length)
            if len(data) < length:
                raise DataError(f"{self.place(offset)}: the file ends within it; it was changed while it was read")
            parts.append(data)
            at += _FRAME.size + length + -length % 4
            file.seek(min(at, self.size))
            if part in (_WHOLE, _LAST):
                return _MAGIC.join(parts)
            expected = (_MIDDLE, _LAST)


class RecordWriter:
    """Writes ``NAME.rec``, ``NAME.idx`` and ``NAME.lst`` in insightface's layout; a context manager.

    The files appear when the context ends without an error. Images of one identity must follow one another.

    Args:
        path: the ``.rec`` file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ranges: list[tuple[int, int, int]] = []  # identity, first key, key after its last
        self._seen: set[int] = set()
        self._key = 0

    def __enter__(self) -> RecordWriter:
        self._files = [self._partial(suffix).open("wb") for suffix in (".rec", ".idx", ".lst")]
        self._put(Record((0.0, 0.0), b"", vector=True))  # its place; the numbers are known at the end
        return self

    def _partial(self, suffix: str) -> Path:
        return self.path.with_suffix(suffix + ".partial")

    def add(self, identity: int, data: bytes, name: str = "") -> None:
        """Append one image.

        Args:
            identity: 0 to ``MAX_LABEL``.
            data: the encoded image.
            name: its name in ``.lst``; default identity/key.

        Raises:
            DataError: the identity is out of range, or its images do not follow one another.
        """
        if not 0 <= identity <= MAX_LABEL:
            raise DataError(f"{self.path}: identity {identity}; RecordIO holds 0 to {MAX_LABEL:,}")
        if len(data) > MAX_BYTES:
            raise DataError(f"{self.path}: an image of {len(data):,} bytes; expected at most {MAX_BYTES:,}")
        key = self._key
        if key + len(self.ranges) >= MAX_LABEL:
            raise DataError(f"{self.path}: more than {MAX_LABEL:,} records, which its float labels cannot count")
        if not self.ranges or self.ranges[-1][0] != identity:
            if identity in self._seen:
                raise DataError(f"{self.path}: images of identity {identity} do not follow one another")
            self._seen.add(identity)
            self.ranges.append((identity, key, key))
        self._put(Record((float(identity),), data, id=key))
        self.ranges[-1] = (identity, self.ranges[-1][1], key + 1)
        line = f"{key}\t{identity}\t{name or f'{identity}/{key}'}\n"
        self._files[2].write(line.encode())

    def _put(self, record: Record) -> None:
        file, index, _ = self._files
        index.write(f"{self._key}\t{file.tell()}\n".encode())
        parts = split_payload(pack_record(record))
        for place, part in enumerate(parts):
            last = place == len(parts) - 1
            flag = _WHOLE if len(parts) == 1 else _FIRST if place == 0 else _LAST if last else _MIDDLE
            file.write(_FRAME.pack(MAGIC, flag << _LENGTH_BITS | len(part)) + part + bytes(-len(part) % 4))
        self._key += 1

    def _finish(self) -> None:
        images = self._key
        for _, first, last in self.ranges:
            self._put(Record((float(first), float(last)), b"", id=self._key, vector=True))
        file = self._files[0]
        file.seek(0)
        payload = pack_record(Record((float(images), float(self._key)), b"", vector=True))
        file.write(_FRAME.pack(MAGIC, len(payload)) + payload)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self._finish()
        for file, suffix in zip(self._files, (".rec", ".idx", ".lst"), strict=True):
            file.close()
            if kind is None:
                self._partial(suffix).replace(self.path.with_suffix(suffix))
            else:
                self._partial(suffix).unlink()


def read_lst(path: Path) -> Iterator[tuple[int, float, str]]:
    """(key, label, name) of every line of a ``.lst`` file.

    Raises:
        DataError: a line is something else, or not UTF-8; the message names it.
    """
    for number, line in numbered_lines(path):
        fields = line.rstrip("\r\n").split("\t")
        try:
            yield int(fields[0]), float(fields[1]), fields[-1]
        except (ValueError, IndexError):
            text = f"{line[:80]!r}; expected a key, a label and a name, separated by tabs"
            raise DataError(f"{path}: line {number}: {text}") from None
