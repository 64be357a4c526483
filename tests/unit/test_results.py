"""Result files: written whole, read back equal, and a damaged one is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from harness.errors import DataError
from harness.results import (
    FILE_NAME,
    Dataset,
    Environment,
    MetricRecord,
    Result,
    StageRecord,
    iterate_results,
    read_result,
    result_folder,
    write_result,
)


def result(**changes: Any) -> Result:
    values: dict[str, Any] = {
        "suite": "small",
        "row": "toy",
        "generator": "toy",
        "seed": 1,
        "status": "done",
        "shipped": ["demo:judge"],
        "dataset": Dataset(identities=4, per_identity=5, images=20),
        "parameters": {"generator": "toy", "settings.spread": 0.05, "settings.bounds": [0.7, 0.9]},
        "metrics": [MetricRecord(name="fw-lfw/accuracy", value=0.6, n=200, protocol="p", interval=(0.55, 0.65))],
        "stages": [StageRecord(kind="train", key="k", content="c", seconds=1.5)],
        "curves": {"loss": [(1, 2.0), (2, 1.0)]},
        "started": 1.0,
        "finished": 2.0,
        "environment": Environment(harness="0.1.0"),
    }
    return Result(**{**values, **changes})


def test_a_result_comes_back(tmp_path: Path) -> None:
    written = result()
    path = write_result(result_folder(tmp_path, "small", "toy", 1), written)
    assert path == tmp_path / "results" / "small" / "toy" / "seed-1" / FILE_NAME
    assert read_result(path) == written
    assert json.loads(path.read_text())["schema"] == 2
    assert [file.name for file in path.parent.iterdir()] == [FILE_NAME]


def test_metrics_are_found_by_name() -> None:
    found = result().metric("fw-lfw/accuracy")
    assert found is not None
    assert found.interval == (0.55, 0.65)
    assert result().metric("fdr") is None


def test_results_of_one_suite_or_all(tmp_path: Path) -> None:
    for suite, row, seed in (("b", "toy", 0), ("a", "toy", 1), ("a", "toy", 0), ("a", "other", 0)):
        made = result(suite=suite, row=row, seed=seed)
        write_result(result_folder(tmp_path, suite, row, seed), made)
    found = [(r.suite, r.row, r.seed) for _, r in iterate_results(tmp_path)]
    assert found == [("a", "other", 0), ("a", "toy", 0), ("a", "toy", 1), ("b", "toy", 0)]
    assert {r.suite for _, r in iterate_results(tmp_path, "b")} == {"b"}
    assert not list(iterate_results(tmp_path / "nothing"))


@pytest.mark.parametrize("text", ["", "{", '{"schema": 1}', "\udcff"])
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / FILE_NAME
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(DataError, match="run the suite again") as caught:
        read_result(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_schema_is_refused(tmp_path: Path) -> None:
    path = write_result(tmp_path, result())
    path.write_text(path.read_text().replace('"schema": 2', '"schema": 3'))
    with pytest.raises(DataError, match="not a result file of schema 2"):
        read_result(path)


def test_a_file_of_schema_1_is_read_and_its_metrics_are_plain_numbers(tmp_path: Path) -> None:
    path = write_result(tmp_path, result())
    document = json.loads(path.read_text())
    described = set(MetricRecord.model_fields) - {
        *("name", "value", "n", "protocol", "interval", "interval_over", "method", "std_folds", "note")
    }
    document["schema"] = 1
    document["metrics"] = [{k: v for k, v in m.items() if k not in described} for m in document["metrics"]]
    path.write_text(json.dumps(document))
    (metric,) = read_result(path).metrics
    assert (metric.title, metric.unit, metric.better) == ("", "plain", "neither")
    assert not any((metric.headline, metric.ranked, metric.average, metric.pairs))


def test_unknown_fields_and_changes_are_refused() -> None:
    with pytest.raises(ValidationError):
        result(speed=3)
    with pytest.raises(ValidationError):
        result().row = "other"  # type: ignore[misc]
