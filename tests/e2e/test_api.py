"""The Python API: what the command line does, in one process and more than once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import harness
from harness.errors import InputError

SUITE = """
name: api
crop_px: 32
sources:
  judged: {use: faceworld, range: judge, identities: 8, per_identity: 6, size_px: 32, mode: mild}
recognizers:
  judge: {train: margin, source: judged, aligner: landmarks, recipe: tiny, seed: 1}
dataset: {identities: 4, per_identity: 6}
aligner: none
trainer: {use: margin, recipe: tiny}
rows:
  plain: {use: toy}
  varied: {use: toy, settings: {spread: 0.5}}
evaluate:
  - {use: separability, judge: judge}
"""


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HARNESS_WORKDIR", str(tmp_path / "runs"))
    path = tmp_path / "suite.yaml"
    path.write_text(SUITE, encoding="utf-8")
    return path


@pytest.mark.slow
def test_two_runs_in_one_process(suite: Path, capfd: pytest.CaptureFixture[str]) -> None:
    first = harness.run(suite, only=["plain"], workers=1)
    assert [(result.row, result.status) for result in first] == [("plain", "done")]
    assert "Leaderboard: api" in capfd.readouterr().out
    both = harness.run(suite, set={"seeds": [0]}, workers=1, show=False)
    assert [result.row for result in both] == ["plain", "varied"]
    assert both[0] == first[0], "what was finished is found, not made again"
    assert not capfd.readouterr().out

    board = harness.leaderboard()
    assert [row.name for row in board.rows] == ["plain", "varied"]
    frame = board.to_frame()
    fdr = frame[(frame.row == "plain") & (frame.metric == "separability/fdr")]
    metric = both[0].metric("separability/fdr")
    assert metric is not None
    assert fdr.value.tolist() == [metric.value]
    comparison = harness.compare("plain", "varied")
    assert comparison.recipe["settings.spread"] == (0.05, 0.5)


def test_a_plan_and_what_is_wrong_with_one(suite: Path) -> None:
    plan = harness.plan(suite, set={"seeds": [0, 1]})
    assert plan.rows == ["plain", "varied"]
    assert len(plan.row_plans) == 4
    with pytest.raises(InputError, match="unknown row 'plane', expected one of plain, varied; did you mean 'plain'"):
        harness.run(suite, only=["plane"])
    with pytest.raises(AttributeError, match="no attribute 'rum'"):
        _ = harness.rum


def test_every_exported_name_is_there() -> None:
    for name in harness.EXPORTS:
        assert getattr(harness, name) is not None
        assert name in dir(harness)


def test_the_package_is_a_program() -> None:
    done = subprocess.run([sys.executable, "-m", "harness", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"harness, version {harness.__version__}\n"
