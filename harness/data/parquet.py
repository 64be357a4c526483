"""Parquet files of encoded images with identities, read a piece at a time.

Values that repeat or compress well let some kilobytes of parquet stand for gigabytes. So rows and pages are compared
with the bytes that are there before anything is unpacked, and only so many images are read at once as fit in memory
whatever they turn out to be.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.arrays import Ints
from harness.data.pages import most_unpacked, page_sizes
from harness.data.pictures import MAX_BYTES
from harness.errors import DataError

if TYPE_CHECKING:
    import pyarrow.parquet as pq

MIN_ROW_BYTES = 8  # of the files, per row: any image has more
FREE_ROWS = 1_000_000  # that may take fewer: of a small set of images that repeat
MAX_PATH = 4096  # characters of ``image.path``
BATCH_BYTES = 1 << 28  # of the rows that are in memory at once
_BATCH, _NUMBERS = 64, 1 << 16  # rows


class ParquetImages:
    """The images of parquet files in order; rows count over all files.

    Args:
        files: the files.
        columns: the columns of whole numbers that they must have, beside ``image {bytes}``.
        image: the column of the images.
        faults: what is wrong with a file is appended and the file left out; default: it is raised.

    Raises:
        DataError: a file is damaged, lacks a column, or claims more than its bytes account for.
    """

    def __init__(
        self, files: Sequence[Path], columns: Sequence[str], faults: list[str] | None = None, image: str = "image"
    ) -> None:
        self.columns, self.image = columns, image
        self._last: tuple[Path, Any] = (Path(), None)
        opened: list[tuple[Path, pq.ParquetFile]] = []
        for file in files:
            try:
                opened.append((file, self._open(file)))
            except DataError as error:
                if faults is None:
                    raise
                faults.append(str(error))
        self.files = [file for file, _ in opened]
        self._groups = [(place, each) for place, (_, file) in enumerate(opened) for each in range(file.num_row_groups)]
        rows = [opened[place][1].metadata.row_group(each).num_rows for place, each in self._groups]
        self._starts = np.cumsum([0, *rows])
        if min(rows, default=0) < 0:
            raise DataError(f"{files[0].parent}: {min(rows)} rows in a row group; a file is damaged")
        of_files = np.bincount([place for place, _ in self._groups], rows, len(opened)).astype(np.int64)
        self._firsts = np.cumsum([0, *of_files])
        size = sum(file.stat().st_size for file in self.files)
        if len(self) > max(FREE_ROWS, size // MIN_ROW_BYTES):
            raise DataError(f"{files[0].parent}: {len(self):,} rows in {size:,} bytes, too few for as many images")

    def __len__(self) -> int:
        return int(self._starts[-1])

    def _open(self, path: Path) -> pq.ParquetFile:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            if not path.is_file():  # a pipe, say, would be waited for
                raise DataError(f"{path}: it is no file; expected parquet")
            file = pq.ParquetFile(path, buffer_size=1 << 20)
            schema = file.schema_arrow
            for name in self.columns:
                kind = schema.field(name).type
                if not pa.types.is_integer(kind) and not pa.types.is_boolean(kind):
                    raise TypeError(f"{name} is no whole number")
            kind = schema.field(self.image).type.field("bytes").type
            if not pa.types.is_binary(kind) and not pa.types.is_large_binary(kind):
                raise TypeError(f"{self.image}.bytes is no binary")
        except (OSError, KeyError, pa.ArrowException, AttributeError, ValueError, TypeError) as error:
            text = f"expected parquet with {', '.join(self.columns)} and {self.image} {{bytes, path}} ({error})"
            raise DataError(f"{path}: {' '.join(text.split())}") from error
        return file

    def _file(self, path: Path) -> pq.ParquetFile:
        """An open file; its footer is read once while groups are read in order."""
        if self._last[0] != path:
            self._last = path, self._open(path)
        return self._last[1]

    def place(self, row: int) -> str:
        """Names a row in messages."""
        file = int(np.searchsorted(self._firsts, row, side="right")) - 1
        return f"{self.files[file]}: row {row - self._firsts[file]}"

    def column(self, name: str) -> Ints:
        """A column of whole numbers, int64 [rows].

        Raises:
            DataError: a file is damaged, or a value is missing.
        """
        parts = [np.zeros(0, dtype=np.int64)]
        for group in range(len(self._groups)):
            for batch in self._batches(group, name):
                values = batch.column(0)
                if values.null_count:
                    row = sum(map(len, parts)) + int(np.flatnonzero(values.is_null())[0])
                    raise DataError(f"{self.place(row)} lacks its {name}")
                parts.append(values.to_numpy(zero_copy_only=False).astype(np.int64))
        found = np.concatenate(parts)
        if len(found) != len(self):
            raise DataError(f"{self.files[0].parent}: {len(found):,} values of {name} in {len(self):,} rows")
        return found

    def names(self, rows: Iterable[int] | None = None) -> list[str]:
        """``image.path`` of some rows (default: all); empty where there is none.

        Raises:
            DataError: a file is damaged, or a name is no name.
        """
        if rows is None:
            return [name for group in range(len(self._groups)) for name in self._names(group)]
        groups: dict[int, list[str]] = {}
        found = []
        for row in rows:
            group = int(np.searchsorted(self._starts, row, side="right")) - 1
            if group not in groups:
                groups[group] = list(self._names(group))
            found.append(groups[group][row - int(self._starts[group])])
        return found

    def _names(self, group: int) -> Iterator[str]:
        row, end = self._starts[group : group + 2].tolist()
        if not self._has_paths(group):
            yield from [""] * (end - row)
            return
        known: dict[str, str] = {}  # a name that repeats is kept once
        for batch in self._batches(group, f"{self.image}.path"):
            for image in batch.column(0):
                name = (image.as_py() or {}).get("path") or ""
                if len(name) > MAX_PATH:
                    raise DataError(f"{self.place(row)}: {self.image}.path has more than {MAX_PATH:,} characters")
                yield known.setdefault(name, name)
                row += 1

    def _has_paths(self, group: int) -> bool:
        schema = self._file(self.files[self._groups[group][0]]).schema_arrow
        return "path" in [field.name for field in schema.field(self.image).type]

    def attempts(self) -> Iterator[bytes | DataError]:
        """Every image, or what is wrong with it."""
        for group in range(len(self._groups)):
            yield from self._images(group)

    def encoded(self, rows: Iterable[int]) -> Iterator[bytes]:
        """The images of some rows; those of ascending rows are read in one pass.

        Raises:
            DataError: a file is damaged, or an image is missing or too large.
        """
        images: Iterator[bytes | DataError] = iter(())
        at = end = 0
        for row in rows:
            if not at <= row < end:
                group = int(np.searchsorted(self._starts, row, side="right")) - 1
                at, end = self._starts[group : group + 2].tolist()
                images = self._images(group)
            data = next(islice(images, row - at, None))
            at = row + 1
            if isinstance(data, DataError):
                raise data
            yield data

    def _images(self, group: int) -> Iterator[bytes | DataError]:
        """One per row of the group, whatever is wrong with it."""
        row, end = self._starts[group : group + 2].tolist()
        try:
            for batch in self._batches(group, f"{self.image}.bytes"):
                for image in batch.column(0):
                    yield self._value((image.as_py() or {}).get("bytes"), row)
                    row += 1
            fault = None
        except DataError as error:
            fault = error
        for missing in range(row, end):
            yield fault or DataError(f"{self.place(missing)} is missing")

    def _value(self, data: bytes | None, row: int) -> bytes | DataError:
        if data is None:
            return DataError(f"{self.place(row)} lacks its image")
        if len(data) > MAX_BYTES:
            return DataError(f"{self.place(row)}: an image of {len(data):,} bytes; at most {MAX_BYTES:,} are read")
        return data

    def _batches(self, group: int, column: str) -> Iterator[Any]:
        import pyarrow as pa

        place, number = self._groups[group]
        path = self.files[place]
        try:
            file = self._file(path)
            rows = _rows_at_once(file, path, number, column)
            yield from file.iter_batches(rows, row_groups=[number], columns=[column])
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{path}: damaged parquet ({' '.join(str(error).split())})") from error


def _rows_at_once(file: pq.ParquetFile, path: Path, group: int, column: str) -> int:
    """How many rows of a column may be in memory, if each were as large as the largest page.

    Raises:
        DataError: the pages grow too much when they are unpacked.
    """
    metadata = file.metadata.row_group(group)
    chunks = [metadata.column(each) for each in range(metadata.num_columns)]
    chunk = next((each for each in chunks if each.path_in_schema == column), None)
    if chunk is None:
        raise DataError(f"{path}: there is no {column}")
    largest = total = 0
    most = most_unpacked(chunk.total_compressed_size)
    for size in page_sizes(path, chunk):
        largest, total = max(largest, size), total + size
        if total > most:
            text = f"{chunk.total_compressed_size:,} bytes of {column} claim to hold {total:,} and more"
            raise DataError(f"{path}: row group {group}: {text}; at most {most:,} are read")
    return max(1, min(_BATCH, BATCH_BYTES // max(1, largest))) if "." in column else _NUMBERS
