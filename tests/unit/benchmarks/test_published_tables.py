"""The suites at published sizes are planned on a machine that has none of their data."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.cli import main
from harness.errors import InputError
from harness.suites.read import load_suite

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"
TABLES = ("negfacediff-table", "idiffface-table", "id3-table")


@pytest.fixture(autouse=True)
def no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HARNESS_DATA", raising=False)
    monkeypatch.delenv("HARNESS_WEIGHTS", raising=False)


@pytest.mark.parametrize("name", TABLES)
def test_the_plan_lists_what_is_missing_and_the_cost(name: str) -> None:
    done = CliRunner().invoke(main, ["plan", str(BENCHMARKS / name / "suite.yaml")])
    assert done.exit_code == 2
    lines = done.output.splitlines()
    missing = [line for line in lines if line.startswith("missing")]
    assert any("elasticface-raw.safetensors" in line for line in missing)
    assert sum("/benchmarks/" in line for line in missing) == 5
    assert sum("terms:" in line for line in lines) == len(missing)  # each is explained
    assert "not said" not in done.output
    assert "network evaluations" in done.output
    readme = (BENCHMARKS / name / "README.md").read_text()
    assert all(line in readme for line in lines if line.startswith(("missing", "row", "fit")))


def test_the_cost_follows_the_sizes() -> None:
    done = CliRunner().invoke(main, ["plan", str(BENCHMARKS / "idiffface-table" / "suite.yaml")])
    images = 3 * 10_050 * 60
    assert f"uniform-10k-50: {images:,} images, {1000 * images:,} network evaluations" in done.output
    assert f"uniform-5k-16: at most {3 * 5_000 * 16 * 200:,} training images" in done.output


def test_a_run_names_what_is_missing_first() -> None:
    done = CliRunner().invoke(main, ["run", str(BENCHMARKS / "id3-table" / "suite.yaml")])
    assert done.exit_code == 2
    assert "HARNESS_DATA" in done.output.splitlines()[0]


def test_a_wrong_suite_is_still_one_line(tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"
    text = (BENCHMARKS / "id3-table" / "suite.yaml").read_text()
    path.write_text(text.replace("seeds: [0, 1, 2]", "seed: [0]"))
    with pytest.raises(InputError, match="unknown key 'seed'"):
        load_suite(path, (), [])
    done = CliRunner().invoke(main, ["plan", str(path)])
    assert len(done.output.splitlines()) == 1
