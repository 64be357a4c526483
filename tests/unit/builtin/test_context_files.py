"""Contexts from files: every format gives the same vectors, in order; what is wrong is told before memory is taken."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from pydantic import ValidationError

from harness.builtin import context_files
from harness.builtin.context_files import ContextsFile, ContextsFileSettings
from harness.builtin.small_cnn import SmallCNN, SmallCNNSettings
from harness.components import Given, Run, SamplePlan
from harness.data import pages
from harness.errors import DataError, StageError
from harness.stages.plans import write_plan
from harness.testing import check_component

WIDTH = 16
Save = Callable[[Path, np.ndarray], None]


def lists(vectors: np.ndarray) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])


def plan(path: Path, vectors: np.ndarray) -> None:
    """As the harness itself stores contexts."""
    everyone = np.arange(len(vectors), dtype=np.int64)
    write_plan(path.parent, SamplePlan(everyone, np.zeros_like(everyone), pool={"context": vectors}))
    (path.parent / "pool.parquet").replace(path)


def keyed(vectors: np.ndarray, make: Callable[[np.ndarray], Any]) -> dict[str, Any]:
    """The published form: keys are the decimal index, and the order is the file's."""
    return {str(index): make(row) for index, row in enumerate(vectors)}


FORMATS: dict[str, Save] = {
    "arrays": lambda path, v: torch.save(keyed(v, lambda row: row), path),
    "arrays, legacy": lambda path, v: torch.save(keyed(v, lambda row: row), path, _use_new_zipfile_serialization=False),
    "tensors": lambda path, v: torch.save(keyed(v, lambda row: torch.from_numpy(row.copy())), path),
    "views": lambda path, v: torch.save(keyed(v, torch.from_numpy), path),
    "rows of one": lambda path, v: torch.save(keyed(v, lambda row: torch.from_numpy(row[None])), path),
    "one tensor": lambda path, v: torch.save(torch.from_numpy(v), path),
    "npy": lambda path, v: (path.write_bytes(b"") and None) or np.save(path, v),
    "npy in Fortran's order": lambda path, v: np.save(path, np.asfortranarray(v)),
    "npy of big-endian doubles": lambda path, v: np.save(path, v.astype(">f8")),
    "parquet": lambda path, v: pq.write_table(pa.table({"id": range(len(v)), "vector": list(v)}), path),
    "parquet of several": lambda path, v: pq.write_table(
        pa.table({"other": lists(v[:, :3]), "context": lists(v)}), path, row_group_size=3
    ),
    "parquet of the harness": plan,
}


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    drawn = np.random.default_rng(0).normal(size=(10, WIDTH))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


def law(path: Path, **settings: Any) -> ContextsFile:
    return ContextsFile(ContextsFileSettings(path=path, **settings))


def draw(path: Path, count: int = 10, width: int = WIDTH, seed: int = 0, **settings: Any) -> np.ndarray:
    given = Given(recognizer=SmallCNN(SmallCNNSettings(width=width)))
    return law(path, **settings).draw(count, given, Run(seed))


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_vectors_in_order(tmp_path: Path, vectors: np.ndarray, name: str) -> None:
    path = tmp_path / "random_synthetic_uniform.npy"
    FORMATS[name](path, vectors)
    for count in (1, 7, 10):
        drawn = draw(path, count, seed=count)
        assert drawn.dtype == np.float32
        assert np.array_equal(drawn, vectors[:count])


def test_the_order_is_the_files_and_not_that_of_the_names(tmp_path: Path, vectors: np.ndarray) -> None:
    torch.save({name: vectors[i] for i, name in enumerate("badc")}, tmp_path / "a.npy")
    assert np.array_equal(draw(tmp_path / "a.npy", 4), vectors[:4])


def test_the_identity_is_the_content_and_not_the_place(tmp_path: Path, vectors: np.ndarray) -> None:
    def identity(name: str, values: np.ndarray, kind: str = "npy", **settings: Any) -> dict[str, Any]:
        FORMATS[kind](tmp_path / f"{name}.npy", values)
        return law(tmp_path / f"{name}.npy", **settings).identity()

    one = identity("a", vectors)
    assert identity("b", vectors) == identity("c", vectors, "arrays") == one
    assert identity("d", vectors[::-1]) != one
    assert identity("e", vectors[:9]) != one
    assert str(tmp_path) not in str(one)
    assert identity("f", 2 * vectors, normalize=True) == identity("g", 2 * vectors, normalize=True) != one


def test_a_changed_file_is_read_again(tmp_path: Path, vectors: np.ndarray) -> None:
    path = tmp_path / "a.npy"
    np.save(path, vectors)
    before = law(path).identity()
    np.save(path, vectors[::-1])
    os.utime(path, ns=(1, 1))
    assert law(path).identity() != before
    assert np.array_equal(draw(path), vectors[::-1])


def test_norms_are_checked_or_made_one(tmp_path: Path, vectors: np.ndarray) -> None:
    path, scaled = tmp_path / "a.npy", vectors.copy()
    scaled[3] *= 1.01
    np.save(path, scaled)
    with pytest.raises(DataError, match=r"a\.npy: vector 3 has norm 1\.01, expected 1; normalize: true"):
        law(path).identity()
    np.testing.assert_allclose(draw(path, normalize=True), vectors, atol=1e-7)
    np.save(path, vectors.astype(np.float16))
    assert np.array_equal(draw(path), vectors.astype(np.float16).astype(np.float32)), "as they are"
    scaled[4] = 0
    np.save(path, scaled)
    with pytest.raises(DataError, match="vector 4 has norm 0, it has no direction"):
        draw(path, normalize=True)
    scaled[4, 2] = np.nan
    np.save(path, scaled)
    with pytest.raises(DataError, match="vector 4 is not finite"):
        draw(path, normalize=True)


def test_too_few_and_another_width(tmp_path: Path, vectors: np.ndarray) -> None:
    np.save(tmp_path / "a.npy", vectors)
    with pytest.raises(StageError, match=r"a\.npy: 10 contexts, and 11 identities need one each"):
        draw(tmp_path / "a.npy", 11)
    with pytest.raises(StageError, match="contexts of width 16, the recognizer's have 8"):
        draw(tmp_path / "a.npy", 3, width=8)


def damaged_npy(path: Path, vectors: np.ndarray) -> None:
    """A header of a petabyte, and some bytes."""
    np.save(path, vectors)
    data = path.read_bytes().replace(b"(10, 16), }" + b" " * 16, b"(1000000000000, 16), }" + b" " * 5)
    assert b"1000000000000" in data
    path.write_bytes(data)


class Other:
    """No vector."""


@pytest.mark.parametrize(
    ("save", "message"),
    [
        (lambda path, v: None, "it is no file"),
        (lambda path, v: path.write_bytes(b"hello"), "not a checkpoint of tensors that can be read safely"),
        (lambda path, v: path.write_bytes(b""), "it is empty"),
        (damaged_npy, "no file of contexts"),
        (lambda path, v: np.save(path, v[0]), r"shape \[16\], expected \[vectors, width\]"),
        (lambda path, v: np.save(path, v[:0]), "no file of contexts"),
        (lambda path, v: np.save(path, (100 * v).astype(int)), "it holds int64, expected floats"),
        (lambda path, v: np.save(path, np.array(keyed(v, list), dtype=object)), "no file of contexts"),
        (lambda path, v: torch.save([1, 2], path), "expected a dictionary from names to vectors"),
        (lambda path, v: torch.save({"0": v[0], "1": Other()}, path), "expected a dictionary from names to vectors"),
        (lambda path, v: torch.save({"0": v[0], "1": v[1, :8]}, path), r"several shapes, \[8\] and \[16\]"),
        (lambda path, v: torch.save({"0": v, "1": v}, path), r"shape \[2, 10, 16\]"),
        (lambda path, v: torch.save(torch.ones(3, 4, dtype=torch.int64), path), "its vectors are no floats"),
        (lambda path, v: pq.write_table(pa.table({"a": [1, 2]}), path), "its columns: a"),
        (lambda path, v: pq.write_table(pa.table({"a": list(v), "b": list(v)}), path), "its columns: a, b"),
        (lambda path, v: pq.write_table(pa.table({"a": [v[0], v[1, :15]]}), path), "31 floats in 2 rows of a"),
        (lambda path, v: pq.write_table(pa.table({"a": [v[0, :4], v[1, :8]]}), path), "has not 6 floats as the others"),
        (
            lambda path, v: pq.write_table(pa.table({"a": [v[0].tolist(), [None] * 16]}), path),
            "a number of a is missing",
        ),
        (lambda path, v: path.write_bytes(b"PAR1" + bytes(100)), "no file of contexts"),
    ],
)
def test_what_is_no_file_of_contexts(tmp_path: Path, vectors: np.ndarray, save: Save, message: str) -> None:
    path = tmp_path / "a.npy"
    save(path, vectors)
    with pytest.raises(DataError, match=message) as info:
        draw(path)
    assert str(info.value).startswith(f"{path}: ")
    assert "\n" not in str(info.value)


def test_nothing_of_a_pickle_runs(tmp_path: Path, vectors: np.ndarray) -> None:
    trap = tmp_path / "trap"

    class Touch:
        def __reduce__(self) -> Any:
            return Path.touch, (trap,)

    torch.save({"0": vectors[0], "1": Touch()}, tmp_path / "a.npy")
    with pytest.raises(DataError, match="expected a dictionary"):
        draw(tmp_path / "a.npy", 1)
    torch.save({"0": vectors[0], Touch(): vectors[1]}, tmp_path / "c.npy")
    assert np.array_equal(draw(tmp_path / "c.npy", 2), vectors[:2])
    np.save(tmp_path / "b.npy", np.array([Touch()], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="no file of contexts"):
        draw(tmp_path / "b.npy", 1)
    assert not trap.exists()


def test_parquet_that_grows_when_it_is_unpacked_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values that repeat take next to nothing: kilobytes claim megabytes, and could claim gigabytes."""
    ones = np.ones((100_000, WIDTH), np.float32) / 4
    pq.write_table(pa.table({"a": lists(ones)}), tmp_path / "a.parquet", compression="zstd")
    assert (tmp_path / "a.parquet").stat().st_size < 50_000
    monkeypatch.setattr(pages, "FREE_BYTES", 1_000_000)
    with pytest.raises(DataError, match=r"its column a claims 6,400,000 bytes, at most 1,000,000 are read"):
        draw(tmp_path / "a.parquet")


def test_the_memory_of_all_vectors_is_limited(
    tmp_path: Path, vectors: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context_files, "MAX_BYTES", 600)
    for number, save in enumerate(FORMATS.values()):
        path = tmp_path / f"{number}.npy"
        save(path, vectors)
        with pytest.raises(DataError, match="10 vectors of width 16 take more than 600 bytes"):
            draw(path)


def test_a_dictionary_that_repeats_one_storage_is_read_up_to_a_limit(tmp_path: Path) -> None:
    torch.save({"0": torch.ones(1).expand(3_000_000_000)}, tmp_path / "a.npy")
    with pytest.raises(DataError, match=re.escape("1 vectors of width 3,000,000,000 take more than")):
        draw(tmp_path / "a.npy")


def test_it_is_a_component_as_others_are(tmp_path: Path, vectors: np.ndarray) -> None:
    np.save(tmp_path / "a.npy", vectors)
    check_component(law(tmp_path / "a.npy"))
    with pytest.raises(ValidationError, match="path"):
        ContextsFileSettings()  # type: ignore[call-arg]


def test_a_damaged_header_is_told(tmp_path: Path) -> None:
    for header in (b"{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 3), }", b"{", b"x" * 60_000):
        data = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) % 65536) + header
        (tmp_path / "a.npy").write_bytes(data + bytes(64))
        with pytest.raises(DataError, match="no file of contexts"):
            draw(tmp_path / "a.npy")
