"""The pages of a parquet column: how many bytes each will take, read from their headers before anything is unpacked.

A file's own account of its columns can be wrong; what a reader reserves memory for is the size in each page's header.
Headers are Thrift's compact protocol. Source: parquet-format, PageHeader.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from harness.errors import DataError

if TYPE_CHECKING:
    from pyarrow.parquet import ColumnChunkMetaData

MAX_EXPANSION = 32  # times that columns may grow when they are unpacked
FREE_BYTES = 1 << 26  # that they may have in any case
_SHORT, _LONG = 1 << 10, 1 << 16  # bytes of a header that are read at first, and at most
_MAX_DEPTH = 8
_STOP, _TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 0, 1, 2, 3, 7, 8, 9, 10, 12
_INTEGERS = (4, 5, 6)  # of 16, 32 and 64 bits
_UNPACKED, _PACKED = 2, 3  # the fields of a page header that count


def most_unpacked(packed: int) -> int:
    """Bytes that columns of ``packed`` bytes may have when they are unpacked; a file that claims more is refused."""
    return max(FREE_BYTES, MAX_EXPANSION * packed)


def page_sizes(path: Path, chunk: ColumnChunkMetaData) -> Iterator[int]:
    """Bytes of each page of a column chunk when it is unpacked.

    Raises:
        DataError: the pages do not fill the bytes that the chunk has.
    """
    start = chunk.data_page_offset
    if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < start:
        start = chunk.dictionary_page_offset
    end = start + chunk.total_compressed_size
    with path.open("rb") as file:
        at = start
        while at < end:
            unpacked, size = _page(file, at, f"{path}: page at byte {at:,}")
            yield unpacked
            at += size
    if at != end:
        raise DataError(f"{path}: the pages of {chunk.path_in_schema} end at byte {at:,}, expected {end:,}")


def _page(file: BinaryIO, at: int, where: str) -> tuple[int, int]:
    """Bytes of the page at ``at`` when unpacked, and of its header and packed bytes in the file."""
    for most in (_SHORT, _LONG):
        file.seek(at)
        header = _Header(file.read(most))
        try:
            found = header.fields()
        except IndexError:
            continue  # longer than that
        unpacked, packed = found.get(_UNPACKED, -1), found.get(_PACKED, -1)
        if unpacked < 0 or packed < 0:
            break
        return unpacked, header.at + packed
    raise DataError(f"{where}: its header is damaged")


class _Header:
    """Reads whole numbers of a Thrift structure and steps over everything else; at the end of the bytes IndexError."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def fields(self, depth: int = 0) -> dict[int, int]:
        """The whole numbers of a structure, by field."""
        found: dict[int, int] = {}
        field = 0
        while (byte := self.byte()) != _STOP:
            step, kind = byte >> 4, byte & 15
            field = field + step if step else self.integer()
            if kind in _INTEGERS:
                found[field] = self.integer()
            elif kind not in (_TRUE, _FALSE):  # a field's type says it already
                self.skip(kind, depth + 1)
        return found

    def byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def varint(self) -> int:
        value = shift = 0
        while shift < 70:
            byte = self.byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
        raise IndexError

    def integer(self) -> int:
        """Signed; zigzag."""
        value = self.varint()
        return (value >> 1) ^ -(value & 1)

    def skip(self, kind: int, depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise IndexError
        if kind in _INTEGERS:
            self.varint()
        elif kind in (_BYTE, _TRUE, _FALSE):
            self.byte()
        elif kind == _DOUBLE:
            self.at += 8
        elif kind == _BINARY:
            length = self.varint()
            self.at += length
        elif kind == _STRUCT:
            self.fields(depth)
        elif kind in (_LIST, _SET):
            self.skip_list(depth)
        else:  # page headers have no maps
            raise IndexError

    def skip_list(self, depth: int) -> None:
        head = self.byte()
        count = head >> 4 if head >> 4 < 15 else self.varint()
        for _ in range(min(count, len(self.data))):
            self.skip(head & 15, depth + 1)
