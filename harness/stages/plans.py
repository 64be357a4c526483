"""A sample plan on disk: one parquet file with a row per image, one with a row per identity of the pool."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from harness.components.images import SamplePlan
from harness.errors import StageError


def write_plan(folder: Path, plan: SamplePlan) -> None:
    """Write a sample plan; ``plan.parquet`` last, since its presence says that the plan is whole."""
    if not len(plan):
        raise StageError("the plan holds no image; expected at least one identity and one sample")
    pq.write_table(_columns(plan.pool), folder / "pool.parquet")
    items = {"identity": plan.identities, "sample": plan.samples}
    partial = folder / "plan.partial"
    pq.write_table(_columns(plan.items, **items), partial)
    partial.replace(folder / "plan.parquet")


def read_plan(folder: Path, start: int = 0, stop: int | None = None) -> SamplePlan:
    """Read a sample plan, or a slice of its rows."""
    items = pq.read_table(folder / "plan.parquet", memory_map=True)
    items = items.slice(start, None if stop is None else stop - start)
    arrays = {name: _array(items[name]) for name in items.column_names}
    pool = pq.read_table(folder / "pool.parquet")
    identities, samples = arrays.pop("identity"), arrays.pop("sample")
    return SamplePlan(identities, samples, arrays, {name: _array(pool[name]) for name in pool.column_names})


def plan_is_whole(folder: Path) -> bool:
    """Whether a sample plan was written to the end and can be read."""
    try:
        return len(read_plan(folder)) > 0
    except (OSError, pa.ArrowException, KeyError):  # missing, or half of it lost with the power
        return False


def plan_length(folder: Path) -> int:
    """How many images the plan in a folder has."""
    return int(pq.read_metadata(folder / "plan.parquet").num_rows)


def _columns(columns: Any, **more: Any) -> pa.Table:
    return pa.table({name: _arrow(np.asarray(column)) for name, column in {**more, **columns}.items()})


def _arrow(column: Any) -> pa.Array:
    if column.ndim == 1:
        return pa.array(column)
    flat = pa.array(np.ascontiguousarray(column).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, int(np.prod(column.shape[1:])))


def _array(column: pa.ChunkedArray) -> Any:
    """A column as an array of its own, writable as torch wants it."""
    if not pa.types.is_fixed_size_list(column.type):
        return np.array(column.to_numpy())
    flat = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return np.array(flat).reshape(len(column), column.type.list_size)
