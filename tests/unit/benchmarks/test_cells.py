"""Studies accumulate one result file per cell, and what was measured is not measured again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from harness.results import Environment, MetricRecord, Result, result_folder, write_result
from harness.suites.read import load_suite

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
def script(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("studies/cells.py")


@pytest.fixture
def study(tmp_path: Path) -> Path:
    folder = tmp_path / "study"
    folder.mkdir()
    (folder / "suite.yaml").write_text(SUITE, encoding="utf-8")
    return folder


def result(workdir: Path, row: str, seed: int, status: Any = "done") -> None:
    """As a run leaves it."""
    metrics = [accuracy(0.5 + 0.1 * seed)]
    made = Result(
        suite="study",
        row=row,
        generator="toy",
        seed=seed,
        status=status,
        metrics=metrics,
        started=0,
        finished=1,
        environment=Environment(harness="0"),
    )
    folder = result_folder(workdir, "study", row, seed)
    write_result(folder, made)
    decide(folder, 200)


def accuracy(value: float) -> MetricRecord:
    shown: dict[str, Any] = {"unit": "fraction", "better": "higher", "headline": True, "ranked": True}
    name = "fw-lfw/accuracy"
    return MetricRecord(
        name=name, value=value, n=200, protocol="p", title="fw-lfw", margin=0.02, pairs="fw-lfw-pairs", **shown
    )


def decide(folder: Path, pairs: int) -> None:
    """The decisions beside a result, which are the same in every row."""
    image = np.arange(pairs)
    columns = {"a": 2 * image, "b": 2 * image + 1, "identity_a": image % 40}
    columns |= {"identity_b": image % 40 + 40 * (image % 2), "same": image % 2 == 0, "fold": image * 10 // pairs}
    columns |= {"score": np.linspace(-1, 1, pairs), "correct": image % 10 > 0}
    (folder / "tables").mkdir()
    pq.write_table(pa.table(columns), folder / "tables" / "fw-lfw-pairs.parquet")
    bins = {"low": [-1.0, 0.0], "high": [0.0, 1.0], "genuine": [0, 3], "impostor": [5, 1]}
    pq.write_table(pa.table(bins), folder / "tables" / "separability-histogram.parquet")


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
    copied = [pq.read_table(path) for path in study.rglob("fw-lfw-pairs.parquet")]
    assert len(copied) == 4
    assert copied[0].column_names == ["a", "b", "identity_a", "identity_b", "same", "fold", "correct"]
    assert copied[0].num_rows == 200
    assert len(list(study.rglob("separability-histogram.parquet"))) == 4
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
    assert "(study-scores.png)" in text
    assert (study / "study-scores.png").is_file()


PAIRED = SUITE.replace("[0, 1]", "[0, 1, 2]")


def measured(study: Path, row: str, seed: int, fdr: float) -> None:
    """A result with its decisions and a dataset metric."""
    judged: dict[str, Any] = {"title": "FDR", "better": "higher", "headline": True, "relative": True, "margin": 0.1}
    made = Result(
        suite="study",
        row=row,
        generator="toy",
        seed=seed,
        status="done",
        metrics=[accuracy(0.9), MetricRecord(name="separability/fdr", value=fdr, n=9, protocol="j", **judged)],
        started=0,
        finished=1,
        environment=Environment(harness="0"),
    )
    folder = result_folder(study, "study", row, seed)
    write_result(folder, made)
    decide(folder, 400)


@pytest.mark.parametrize(
    ("percent", "apart", "equal", "verdict"),
    [
        # mean 2, standard deviation 1 over three seeds; t(2) is 4.303 at 95 percent and 2.920 at 90
        ((1, 2, 3), "+2.00 [-0.48, +4.48] p 0.074", "[+0.31, +3.69]", "yes"),
        ((8, 9, 10), "+9.00 [+6.52, +11.48] p 0.0041", "[+7.31, +10.69]", "not shown"),
    ],
)
def test_differences_are_paired_by_seed(
    script: ModuleType, study: Path, percent: tuple[int, ...], apart: str, equal: str, verdict: str
) -> None:
    (study / "suite.yaml").write_text(PAIRED, encoding="utf-8")
    for seed, more in enumerate(percent):
        base = 1.0 + 0.5 * seed  # far more than the difference, and gone once paired
        measured(study, "a", seed, base)
        measured(study, "b", seed, base * (1 + more / 100))
    done = CliRunner().invoke(script.main, ["tables", str(study), "--against", "a"])
    assert done.exit_code == 0, done.output
    text = (study / "RESULTS.md").read_text(encoding="utf-8").partition("### Against a\n")[2]
    assert "(study-against-a.png)" in text
    assert (study / "study-against-a.png").is_file()
    _, accuracy, datasets, equality = [line for line in text.splitlines() if line.startswith("| b | ")]
    assert "+0.00 [+0.00, +0.00] p 1" in accuracy, "accuracy, of the same decisions"
    assert apart in datasets
    assert equality == f"| b | [+0.00, +0.00] | {equal} | {verdict} |"


def test_two_seeds_claim_nothing(script: ModuleType, study: Path) -> None:
    (study / "suite.yaml").write_text(PAIRED, encoding="utf-8")
    for seed in range(3):
        measured(study, "a", seed, 1.0)
    for seed in range(2):
        measured(study, "b", seed, 2.0)
    done = CliRunner().invoke(script.main, ["tables", str(study), "--against", "a"])
    assert done.exit_code == 0, done.output
    assert "Against a" not in (study / "RESULTS.md").read_text(encoding="utf-8")


def test_what_a_command_says_against_it_is_repeated(script: ModuleType, study: Path) -> None:
    measured(study, "a", 0, 1.0)
    (study / "results" / "study" / "a" / "seed-0" / "results.json").write_text('{"status": "done"}', encoding="utf-8")
    with pytest.raises(script.click.ClickException, match="not a result file"):
        script.say("leaderboard", "--workdir", str(study))


@pytest.mark.parametrize("name", ["sampler-steps", "negatives", "id3-ablations", "cpd"])
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
