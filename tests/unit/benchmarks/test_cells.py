"""Studies accumulate one result file per cell, and what was measured is not measured again."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner

from harness.results import Environment, MetricRecord, Result, result_folder, write_result
from harness.suite import load_suite

STUDIES = Path(__file__).parents[3] / "benchmarks" / "studies"
SUITE = """
name: study
seeds: [0, 1]
crop_px: 32
recognizers: {judge: {weights: demo:judge}}
rows: {a: {recognizer: judge}, b: {recognizer: judge}}
protocols: {fw-lfw: {use: fw-lfw, pairs: 200, size_px: 32}}
evaluate: [{use: verification, protocols: [fw-lfw]}]
"""


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("studies_cells", STUDIES / "cells.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def study(tmp_path: Path) -> Path:
    folder = tmp_path / "study"
    folder.mkdir()
    (folder / "suite.yaml").write_text(SUITE, encoding="utf-8")
    return folder


def result(workdir: Path, row: str, seed: int, status: Any = "done") -> None:
    """As a run leaves it."""
    metrics = [MetricRecord(name="fw-lfw/accuracy", value=0.5 + 0.1 * seed, n=200, protocol="p")]
    made = Result(
        suite="study",
        row=row,
        generator="recognizer",
        seed=seed,
        status=status,
        metrics=metrics,
        started=0,
        finished=1,
        environment=Environment(harness="0"),
    )
    write_result(result_folder(workdir, "study", row, seed), made)


def test_only_missing_cells_are_measured(
    script: ModuleType, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[tuple[str, str]] = []

    def measure(command: list[str], **_: Any) -> None:
        row, seed = command[command.index("--only") + 1], command[command.index("--set") + 1]
        ran.append((row, seed))
        result(tmp_path / "work", row, int(seed[7:-1]))

    monkeypatch.setattr(script.subprocess, "run", measure)
    args = ["run", str(study), "--workdir", str(tmp_path / "work")]
    assert CliRunner().invoke(script.main, [*args, "--cells", "1"]).exit_code == 0
    assert ran == [("a", "seeds=[0]")]
    done = CliRunner().invoke(script.main, args)
    assert done.exit_code == 0, done.output
    assert ran == [("a", "seeds=[0]"), ("b", "seeds=[0]"), ("a", "seeds=[1]"), ("b", "seeds=[1]")]
    assert len(list(study.rglob("results.json"))) == 4
    assert "0 cells are missing" in CliRunner().invoke(script.main, args).output
    assert len(ran) == 4


def test_a_cell_that_failed_is_no_result(
    script: ModuleType, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script.subprocess, "run", lambda command, **_: result(tmp_path, "a", 0, "failed"))
    done = CliRunner().invoke(script.main, ["run", str(study), "--workdir", str(tmp_path)])
    assert done.exit_code == 1
    assert "a seed 0 did not finish" in done.output
    assert not list(study.rglob("results.json"))


def test_another_size_does_not_land_in_the_study(script: ModuleType, study: Path) -> None:
    done = CliRunner().invoke(script.main, ["run", str(study), "--set", "dataset.identities=8"])
    assert done.exit_code == 1
    assert "--set needs --out" in done.output


def test_tables_are_made_from_what_is_there(script: ModuleType, study: Path) -> None:
    for seed in (0, 1):
        result(study, "a", seed)
    done = CliRunner().invoke(script.main, ["tables", str(study)])
    assert done.exit_code == 0, done.output
    text = (study / "RESULTS.md").read_text(encoding="utf-8")
    assert "study: 2 of 4 cells" in text
    assert "55" in text, "the mean of 50 and 60 percent"


@pytest.mark.parametrize("name", ["sampler-steps", "negatives", "id3-ablations"])
def test_the_studies_have_three_seeds_and_a_page(script: ModuleType, name: str) -> None:
    suites = script.suites(STUDIES / name)
    assert suites
    for suite in suites.values():
        assert suite.seeds == [0, 1, 2]
    page = (STUDIES / name / "README.md").read_text(encoding="utf-8")
    assert all(path.name in page for path in suites)


def test_the_grid_of_sampler_steps_is_whole() -> None:
    suite = load_suite(STUDIES / "sampler-steps" / "suite.yaml")
    grid = {(row.settings["sampler"], row.settings["steps"]) for row in suite.rows.values()}
    assert grid == {(s, n) for s in ("ddim", "dpm-solver++") for n in (5, 10, 20, 50)} | {("ddim", 200)}
