"""What `harness plan` says of the differences that a suite can detect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from harness.cli import main
from harness.reading.power import seed_noise
from harness.results import Environment, MetricRecord, Result, result_folder, write_result
from harness.stats.comparison import planned_difference

SUITE: dict[str, Any] = {
    "name": "power",
    "seeds": [0, 1, 2],
    "crop_px": 32,
    "sources": {"world": {"use": "faceworld", "identities": 40, "per_identity": 4, "size_px": 32}},
    "recognizers": {"own": {"train": "margin", "source": "world", "recipe": "tiny"}},
    "rows": {"own": {"recognizer": "own"}},
    "aligner": "none",
    "protocols": {
        "fw-lfw": {"use": "fw-lfw", "pairs": 2000, "size_px": 32},
        "own-pairs": {"use": "pairs", "source": "world"},
    },
    "evaluate": [{"use": "verification", "protocols": ["fw-lfw", "own-pairs"]}],
}


def plan(tmp_path: Path, *arguments: str) -> list[str]:
    path = tmp_path / "suite.yaml"
    path.write_text(yaml.safe_dump(SUITE, sort_keys=False))
    done = CliRunner().invoke(main, ["plan", str(path), "--workdir", str(tmp_path / "runs"), *arguments])
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    return lines[next(i for i, line in enumerate(lines) if line.startswith("smallest difference")) :]


def result(row: str, seed: int, accuracy: float) -> Result:
    return Result(
        suite="power",
        row=row,
        generator=row,
        seed=seed,
        status="done",
        metrics=[MetricRecord(name="fw-lfw/accuracy", value=accuracy, n=2000, protocol="p", pairs="fw-lfw-pairs")],
        started=0,
        finished=1,
        environment=Environment(harness="0"),
    )


def test_the_plan_says_what_it_detects_and_what_that_assumes(tmp_path: Path) -> None:
    lines = plan(tmp_path)
    assert "that 3 seeds detect (80% power, 5% level)" in lines[0]
    assert "claimed" not in lines[0]
    points = 100 * planned_difference(2000, 300, 3)
    assert lines[1] == f"  fw-lfw: {points:.1f} points (2,000 pairs, 300 identities, seed noise 1 assumed)"
    assert lines[2] == "  own-pairs: not known before its faces are made"
    assert "10% of pairs" in lines[3]


def test_one_seed_claims_nothing(tmp_path: Path) -> None:
    assert (
        "that 3 seeds detect (80% power, 5% level); with 1 seed none can be claimed"
        in plan(tmp_path, "--set", "seeds=[0]")[0]
    )


def test_results_replace_the_assumed_noise(tmp_path: Path) -> None:
    for row, values in {"a": (0.80, 0.83), "b": (0.70, 0.71, 0.72)}.items():
        for seed, value in enumerate(values):
            write_result(result_folder(tmp_path / "runs", "power", row, seed), result(row, seed, value))
    # pooled: (0.00045 * 1 + 0.0001 * 2) / 3
    assert "seed noise 1.47 measured" in plan(tmp_path)[1]
    assert seed_noise([result("a", 0, 0.8)]) == {}
    assert seed_noise([result("a", 0, 0.8), result("a", 1, 0.82)])["fw-lfw"] == pytest.approx(0.0141421, abs=1e-6)
