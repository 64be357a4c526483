"""`harness results`: one line per row, metric and seed, as parquet and CSV that pandas reads."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner
from rows import put

from harness.cli.results import results
from harness.results import MetricRecord


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    for seed in range(3):
        put(tmp_path, "good", seed, 0.9)
    bare = MetricRecord(name="m/x", value=0.5, n=1, protocol="p", note="=1+1")
    put(tmp_path, "=cmd", 0, 0.5, folder="odd", dataset=None, generator="recognizer", metrics=[bare])
    return tmp_path


def call(workdir: Path, *args: str) -> bytes:
    done = CliRunner().invoke(results, ["--workdir", str(workdir), *args], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout_bytes


def test_pandas_reads_the_parquet(workdir: Path) -> None:
    frame = pd.read_parquet(io.BytesIO(call(workdir)))
    good = frame[(frame["row"] == "good") & (frame["metric"] == "fw-lfw/accuracy")]
    assert good["seed"].tolist() == [0, 1, 2]
    assert (good["high"] - good["low"]).round(6).tolist() == [0.04] * 3
    assert set(good["protocol"]) == {"sha256:fw-lfw"}
    assert set(good["recipe"]) == {"sha256:recipe"}
    assert set(good["suite"]) == {"demo"}
    assert good["n"].tolist() == [400] * 3
    assert good["identities"].tolist() == [12] * 3
    assert good["mean"].nunique() == 1
    assert good["mean"].iloc[0] == pytest.approx(good["value"].mean())


def test_columns_have_one_type_whatever_is_missing(workdir: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    lone = tmp_path_factory.mktemp("lone")
    put(lone, "bare", 0, 0.5, dataset=None, generator="recognizer", metrics=[])
    put(lone, "bare", 1, 0.5, metrics=[MetricRecord(name="m/x", value=0.5, n=1, protocol="p")], dataset=None)
    few, many = (pd.read_parquet(io.BytesIO(call(each))) for each in (lone, workdir))
    numbers = ["value", "low", "high", "mean", "seeds_low", "seeds_high", "seed", "n", "identities", "per_identity"]
    assert few.columns.tolist() == many.columns.tolist()
    assert few[numbers].dtypes.tolist() == many[numbers].dtypes.tolist()


def test_csv_says_the_same_and_holds_no_formula(workdir: Path) -> None:
    frame = pd.read_parquet(io.BytesIO(call(workdir)))
    text = pd.read_csv(io.BytesIO(call(workdir, "--format", "csv")))
    assert text["value"].tolist() == pytest.approx(frame["value"].tolist())
    assert text.columns.tolist() == frame.columns.tolist()
    assert "'=cmd" in text["row"].tolist()
