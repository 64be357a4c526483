"""Sample plans on disk, what a component may give, what an evaluator may report, and checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.components import ImageBatch, Metric, SamplePlan
from harness.components.run import Checkpoint, Run
from harness.errors import StageError
from harness.graph import EvaluateStage
from harness.stages.evaluate import _record
from harness.stages.images import _check_plan, checked
from harness.stages.plans import plan_length, read_plan, write_plan


def plan(count: int = 5) -> SamplePlan:
    random = np.random.default_rng(0)
    items = {
        "attributes": random.normal(size=(count, 4)).astype(np.float32),
        "weight": random.normal(size=count).astype(np.float32),
        "wide": random.normal(size=(count, 1)).astype(np.float32),
    }
    pool = {"context": random.normal(size=(3, 6)).astype(np.float32), "negative": np.full((3, 6), np.nan, np.float32)}
    return SamplePlan(np.arange(count) + 100_000, np.arange(count) % 2, items, pool)


@pytest.mark.parametrize(("start", "stop"), [(0, None), (0, 2), (2, 4), (3, 9), (4, None)])
def test_a_plan_survives_the_disk(tmp_path: Path, start: int, stop: int | None) -> None:
    whole = plan()
    write_plan(tmp_path, whole)
    assert plan_length(tmp_path) == 5
    part, read = whole.rows(start, 5 if stop is None else stop), read_plan(tmp_path, start, stop)
    assert np.array_equal(read.identities, part.identities)
    assert np.array_equal(read.samples, part.samples)
    assert read.identities.dtype == np.int64
    for expected, found in ((part.items, read.items), (part.pool, read.pool)):
        assert expected.keys() == found.keys()
        for name, column in expected.items():
            assert found[name].dtype == column.dtype
            assert np.array_equal(found[name], column, equal_nan=True), name


def test_a_plan_without_columns(tmp_path: Path) -> None:
    write_plan(tmp_path, SamplePlan.grid(2, 3))
    read = read_plan(tmp_path)
    assert len(read) == 6
    assert not read.items
    assert not read.pool


def test_an_empty_plan_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="holds no image"):
        write_plan(tmp_path, SamplePlan.grid(0, 3))
    assert not (tmp_path / "plan.parquet").exists()


def test_a_plan_that_names_an_image_twice() -> None:
    with pytest.raises(StageError, match="twice"):
        _check_plan(SamplePlan(np.array([1, 2, 1]), np.array([0, 0, 0])))


def images(count: int, size: int = 8, dtype: Any = np.uint8) -> np.ndarray:
    return np.zeros((count, size, size, 3), dtype)


def given_batches(rows: list[list[int]], **kind: Any) -> Iterator[ImageBatch]:
    wanted = plan()
    for part in rows:
        yield ImageBatch(wanted.identities[part], wanted.samples[part], images(len(part), **kind))


@settings(deadline=None)
@given(st.lists(st.integers(1, 3), min_size=1, max_size=5))
def test_planned_images_pass_in_any_batches(sizes: list[int]) -> None:
    edges = np.minimum(np.cumsum([0, *sizes, 5]), 5)
    rows = [list(range(a, b)) for a, b in pairwise(edges.tolist()) if b > a]
    passed = list(checked(given_batches(rows), plan(), "toy"))
    assert [len(batch) for batch in passed] == [len(part) for part in rows]


@pytest.mark.parametrize(
    ("batches", "says"),
    [
        (lambda: given_batches([[0, 1, 2, 3]]), "toy gave 4 images of the 5 planned"),
        (lambda: given_batches([]), "toy gave 0 images of the 5 planned"),
        (lambda: given_batches([[0, 1], [3, 2], [4]]), "toy gave other images than planned, from row 2"),
        (lambda: given_batches([[0, 1, 2, 3, 4], [4]]), "other images than planned, from row 5"),
        (lambda: given_batches([[0, 1, 2, 3, 4]], dtype=np.float32), r"gave images float32 \[5, 8, 8, 3\], expected"),
        (lambda: iter([ImageBatch(np.arange(5), np.zeros(5, int), images(4))]), r"expected uint8 \[5, H, W, 3\]"),
        (lambda: iter([ImageBatch(np.arange(5), np.zeros(5, int), images(5)[..., :1])]), r"\[5, 8, 8, 1\]"),
        (lambda: iter([ImageBatch(np.arange(5), np.zeros(5, int), images(5)[0])]), r"uint8 \[8, 8, 3\]"),
    ],
)
def test_other_images_are_refused(batches: Any, says: str) -> None:
    with pytest.raises(StageError, match=says):
        list(checked(batches(), plan(), "toy"))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_metric_is_finite(value: float) -> None:
    with pytest.raises(StageError, match="separability: fdr is"):
        _record(Metric("fdr", value, 10), {"": ""}, EvaluateStage(component="separability"))


def test_a_metric_takes_the_digest_of_its_protocol() -> None:
    digests = {"fw-lfw": "abc", "": "judge"}
    accuracy = _record(
        Metric("fw-lfw/accuracy", 0.5, 10, benchmark="fw-lfw"), digests, EvaluateStage(component="verification")
    )
    assert (accuracy["name"], accuracy["protocol"]) == ("fw-lfw/accuracy", "abc")
    fdr = _record(
        Metric("separability/fdr", 0.5, 10), digests, EvaluateStage(component="separability", looks_at="held-out")
    )
    assert (fdr["name"], fdr["protocol"]) == ("held-out/fdr", "judge")


STATE = {
    "step": 7,
    "rate": 0.1,
    "name": "adam",
    "done": False,
    "nothing": None,
    "none of them": [],
    "weights": {"a": torch.arange(6.0).reshape(2, 3), "deep": {"b": torch.tensor(3), "c": [torch.ones(2), 4, "x"]}},
    "half": torch.ones(3).half(),
    "counter": torch.tensor([1, 2], dtype=torch.uint8),
    "empty": {},
}


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


def test_a_checkpoint_comes_back(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path)
    assert checkpoint.load() is None
    checkpoint.save(STATE)
    found = Run(seed=0, folder=tmp_path).checkpoint.load()
    assert same(found, STATE)
    checkpoint.save({"step": 8})
    assert checkpoint.load() == {"step": 8}
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.safetensors"]


def test_a_checkpoint_may_hold_a_tensor_twice_or_transposed(tmp_path: Path) -> None:
    shared = torch.arange(6.0).reshape(2, 3)
    Checkpoint(tmp_path).save({"a": shared, "b": shared, "t": shared.T, "row": shared[0]})
    found = Checkpoint(tmp_path).load()
    assert found is not None
    assert torch.equal(found["a"], found["b"])
    assert torch.equal(found["t"], shared.T)
    assert torch.equal(found["row"], shared[0])


def test_a_saved_state_does_not_follow_its_tensors(tmp_path: Path) -> None:
    weight = torch.zeros(2, requires_grad=True)
    Checkpoint(tmp_path).save({"weight": weight})
    with torch.no_grad():
        weight.add_(1)
    found = Checkpoint(tmp_path).load()
    assert found is not None
    assert not found["weight"].any()
    assert not found["weight"].requires_grad


def test_a_run_without_a_folder_keeps_no_checkpoint() -> None:
    run = Run(seed=0)
    run.checkpoint.save(STATE)
    assert run.checkpoint.load() is None
