"""The context law ``file``: identity vectors that somebody else drew.

Three kinds of files are read: what ``torch.save`` wrote, as IDiff-Face's authors publish theirs (a dictionary from
names to vectors, under a name that ends in ``.npy``), NumPy's own ``.npy``, and parquet. Files come from strangers:
nothing in them is executed, and no size is believed before it was compared with the file's own.

Letters: N vectors of the file, D their width.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from harness.arrays import Floats
from harness.builtin.contexts import unit
from harness.components import ContextLaw, Given, License, Settings
from harness.data.pages import most_unpacked, page_sizes
from harness.errors import DataError, StageError

if TYPE_CHECKING:
    from harness.components.run import Run

NORM_TOLERANCE = 1e-3  # of what counts as unit norm; vectors that were stored as float16 are off by 2e-4
MAX_BYTES = 1 << 32  # of all vectors as float32; 15,000 of width 512 take 31 million
_NPY, _PARQUET = b"\x93NUMPY", b"PAR1"  # the first bytes of such files


class ContextsFileSettings(Settings):
    """Which file."""

    path: Path = Field(
        description="torch.save of a dictionary of vectors or of one tensor, whatever the name ends in; .npy; parquet "
        "with one column of lists"
    )
    normalize: bool = Field(False, description="bring vectors to unit norm; without, one of another norm is an error")


class ContextsFile(ContextLaw):
    """Contexts from a file, in its order, one per identity: those that others published become reachable.

    Source: IDiff-Face's public code reads its contexts so (arXiv 2308.04995).
    """

    Settings: ClassVar[type[Settings]] = ContextsFileSettings
    license = License("the context file's own terms")

    def identity(self) -> dict[str, Any]:
        """The vectors that it gives instead of the file's place."""
        vectors = self._vectors()
        state = hashlib.sha256(f"{vectors.shape}".encode())
        state.update(vectors.data)
        return {"content": state.hexdigest()}

    def draw(self, count: int, given: Given, run: Run) -> Floats:
        """The first ``count`` vectors.

        Raises:
            DataError: the file cannot be read, or a vector is not of unit norm.
            StageError: it holds too few, or those of another recognizer's width.
        """
        vectors, path, width = self._vectors(), self.settings.path, given.recognizer.width
        if vectors.shape[1] != width:
            raise StageError(f"{path}: contexts of width {vectors.shape[1]}, the recognizer's have {width}")
        if len(vectors) < count:
            raise StageError(f"{path}: {len(vectors):,} contexts, and {count:,} identities need one each")
        return vectors[:count]

    def _vectors(self) -> Floats:
        path: Path = self.settings.path
        state = (path.stat().st_size, path.stat().st_mtime_ns) if path.is_file() else (0, 0)
        vectors = _read(path, *state)
        norms = np.linalg.norm(vectors, axis=1)
        wrong = ~(norms > 0) if self.settings.normalize else ~(np.abs(norms - 1) <= NORM_TOLERANCE)
        if wrong.any():
            row = int(wrong.argmax())
            hint = "it has no direction" if self.settings.normalize else "expected 1; normalize: true brings all to it"
            raise DataError(f"{path}: vector {row} has norm {norms[row]:.6g}, {hint}")
        return unit(vectors) if self.settings.normalize else vectors


@lru_cache(maxsize=2)
def _read(path: Path, size: int, changed_ns: int) -> Floats:
    """All vectors of a file, float32 [N, D], finite. It is read for each seed and stage; size and time tell a new file.

    Raises:
        DataError: it cannot be read.
    """
    try:
        if not path.is_file():  # a pipe, say, would be waited for
            raise ValueError("it is no file")
        with path.open("rb") as file:
            start = file.read(len(_NPY))
        read = _read_npy if start == _NPY else _read_parquet if start.startswith(_PARQUET) else _read_torch
        vectors = read(path)
        if not np.isfinite(vectors).all():
            raise ValueError(f"vector {int((~np.isfinite(vectors)).any(axis=1).argmax())} is not finite")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise DataError(f"{path}: no file of contexts ({' '.join(str(error).split())})") from error
    vectors.flags.writeable = False
    return vectors


def _check_shape(shape: tuple[int, ...]) -> None:
    """Refuse what is not [N, D], or takes too much memory."""
    if len(shape) != 2 or not all(shape):
        raise ValueError(f"it holds an array of shape {list(shape)}, expected [vectors, width]")
    if math.prod(shape) * 4 > MAX_BYTES:
        raise ValueError(f"{shape[0]:,} vectors of width {shape[1]:,} take more than {MAX_BYTES:,} bytes")


def _read_npy(path: Path) -> Floats:
    """An array of floats; it is mapped, which fails where the file is shorter than its header says."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError:
        raise
    except Exception as error:  # of damaged headers NumPy raises many kinds
        raise ValueError(f"its header is damaged: {error}") from error
    if array.dtype.kind != "f":
        raise ValueError(f"it holds {array.dtype}, expected floats")
    _check_shape(array.shape)
    return np.array(array, dtype=np.float32, order="C")


def _read_torch(path: Path) -> Floats:
    """A dictionary of vectors in its order, or one tensor."""
    from harness.data.torch_files import TorchFile
    from harness.data.torch_pickles import Stored, StoredArray

    with TorchFile(path) as file:
        is_table = isinstance(file.content, Mapping)
        rows = list(file.content.values()) if is_table else [file.content]
        if not rows or not all(isinstance(row, Stored | StoredArray) for row in rows):
            raise ValueError("expected a dictionary from names to vectors, or one tensor")
        shapes = {row.shape for row in rows}
        if len(shapes) > 1:
            raise ValueError(f"its vectors are of several shapes, {list(min(shapes))} and {list(max(shapes))}")
        (shape,) = shapes
        if is_table:
            shape = (len(rows), *(shape[1:] if len(shape) == 2 and shape[0] == 1 else shape))
        _check_shape(shape)
        tensors = file.tensors({str(place): row for place, row in enumerate(rows)})
    if not all(tensor.is_floating_point() for tensor in tensors.values()):
        raise ValueError("its vectors are no floats")
    vectors = np.empty(shape, dtype=np.float32)
    for place, tensor in enumerate(tensors.values()):
        vectors[place if is_table else slice(None)] = tensor.float().numpy()
    return vectors


def _read_parquet(path: Path) -> Floats:
    """The column ``context``, or the one column of lists, with as many floats in every row."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            lists = [field.name for field in schema if _is_list_of_floats(field.type)]
            name = "context" if "context" in lists else lists[0] if len(lists) == 1 else ""
            if not name:
                found = ", ".join(schema.names[:8]) or "none"
                raise ValueError(f"expected a column 'context' or one column of lists of floats; its columns: {found}")
            shape = _claimed_shape(file.metadata, name, path)
            column = pa.concat_arrays(file.read(columns=[name]).column(0).chunks)
    except pa.ArrowException as error:
        raise ValueError(str(error)) from error
    lengths = column.value_lengths() if hasattr(column, "value_lengths") else None
    if column.null_count or (lengths is not None and set(lengths.unique().to_pylist()) != {shape[1]}):
        raise ValueError(f"a row of {name} has not {shape[1]} floats as the others have")
    flat = column.flatten()
    if flat.null_count:
        raise ValueError(f"a number of {name} is missing")
    vectors: Floats = flat.to_numpy(zero_copy_only=False).astype(np.float32).reshape(shape)
    return vectors


def _is_list_of_floats(kind: Any) -> bool:
    from pyarrow import types

    is_list = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return is_list and bool(types.is_floating(kind.value_type))


def _claimed_shape(metadata: Any, name: str, path: Path) -> tuple[int, int]:
    """What the footer and the pages' headers say of a column, if its bytes account for it."""
    groups = [metadata.row_group(each) for each in range(metadata.num_row_groups)]
    chunks = [group.column(each) for group in groups for each in range(group.num_columns)]
    chunks = [chunk for chunk in chunks if chunk.path_in_schema.split(".")[0] == name]
    rows, numbers = metadata.num_rows, sum(chunk.num_values for chunk in chunks)
    if not rows or numbers % rows:
        raise ValueError(f"{numbers:,} floats in {rows:,} rows of {name}, expected as many in each")
    shape = rows, numbers // rows
    _check_shape(shape)
    most = most_unpacked(sum(chunk.total_compressed_size for chunk in chunks))
    claimed = max(4 * numbers, sum(size for chunk in chunks for size in page_sizes(path, chunk)))
    if claimed > most:
        raise ValueError(f"its column {name} claims {claimed:,} bytes, at most {most:,} are read of such a file")
    return shape
