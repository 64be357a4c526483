"""A synthetic result, and a workdir whose MLflow database exists already (creating one takes seconds)."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.results import Dataset, Environment, MetricRecord, Result, StageRecord, result_folder, write_result
from harness.tracking.store import client, set_environment
from harness.tracking.uris import STORE_FILE

SUITE_YAML = "name: demo\nseeds: [0]\n"


@pytest.fixture(autouse=True)
def _no_foreign_store(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "HARNESS_WORKDIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's tables and nothing of ours."""
    path = tmp_path_factory.mktemp("store") / STORE_FILE
    set_environment(path.parent)
    client(f"sqlite:///{path}")
    return path


@pytest.fixture
def workdir(tmp_path: Path, empty_store: Path) -> Path:
    folder = tmp_path / "runs"
    folder.mkdir()
    shutil.copy(empty_store, folder / STORE_FILE)
    return folder


@pytest.fixture
def make() -> Callable[..., Result]:
    def build(row: str = "toy", seed: int = 0, accuracy: float = 0.8, **more: Any) -> Result:
        interval = (accuracy - 0.02, accuracy + 0.02)
        given: dict[str, Any] = {
            "suite": "demo",
            "row": row,
            "generator": row,
            "seed": seed,
            "status": "done",
            "recipe": "sha256:recipe",
            "shipped": ["ldm", "judge"],
            "commercial_use": "no",
            "dataset": Dataset(identities=6, per_identity=4, images=24),
            "parameters": {"settings.gamma": 0.1, "trainer.margin": "cos@0.35", "long": "x" * 7000},
            "metrics": [
                MetricRecord(
                    name="fw-lfw/accuracy",
                    value=accuracy,
                    n=200,
                    protocol="sha256:lfw",
                    interval=interval,
                    std_folds=0.01,
                    unit="fraction",
                    better="higher",
                    headline=True,
                    ranked=True,
                ),
                MetricRecord(name="ijbc/tar@far=1e-4", value=0.5, n=200, protocol="sha256:ijbc", headline=True),
                MetricRecord(name="ijbc/genuine_mean", value=0.3, n=200, protocol="sha256:ijbc"),
            ],
            "stages": [
                StageRecord(kind="generate", key="k", content="sha256:gen", seconds=4.5, images=24, rejected=2),
                StageRecord(kind="train", key="k2", content="sha256:rec", seconds=2.0),
            ],
            "curves": {"train/loss": [(0, 3.0), (10, 2.0), (20, 1.5)]},
            "figures": ["scores.png"],
            "tables": ["pairs.csv"],
            "started": 1_700_000_000.0,
            "finished": 1_700_000_100.5 + seed,
            "environment": Environment(harness="0.1.0", plugins={"harness-toy": "0.2"}, device="cpu", commit="abc"),
        }
        return Result(**(given | more))

    return build


@pytest.fixture
def put(workdir: Path) -> Callable[[Result], Path]:
    """Write a result with the files it names, and the suite file; returns the result's folder."""

    def write(result: Result) -> Path:
        folder = result_folder(workdir, result.suite, result.row, result.seed)
        write_result(folder, result)
        for name in (*result.figures, *result.tables):
            (folder / name).write_bytes(name.encode())
        (folder.parents[1] / "suite.yaml").write_text(SUITE_YAML)
        return folder

    return write
