"""The recognizer of ``docs/writing-a-recognizer.md``, outside the repository: it does what the page says."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from harness.results import read_result
from tests.packaging.conftest import TIME_LIMIT_S, blocks

PAGE = Path(__file__).parents[2] / "docs" / "writing-a-recognizer.md"
Harness = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a reader of the page has, with the entry point that an installation would make."""
    folder = tmp_path_factory.mktemp("patches")
    for name, content in blocks(PAGE.read_text(encoding="utf-8")):
        (folder / name).write_text(content, encoding="utf-8")
    info = folder / "harness_patches-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: harness-patches\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text("[facegen_harness]\npatches = patches\n")
    return folder


def test_its_own_test_passes(folder: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(folder)]
    env = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "test_patches.py"],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT_S,
        check=False,
    )
    assert not done.returncode, done.stdout


def test_its_suite_runs_with_two_crops_of_the_same_pictures(folder: Path, harness: Harness, tmp_path: Path) -> None:
    done = harness("run", folder / "suite.yaml", packages=[folder])
    assert not done.returncode, done.stderr
    runs = tmp_path / "runs"
    for row in ("loose", "tight"):
        path = runs / "results" / "patches" / row / "seed-0" / "results.json"
        assert "fw-lfw/accuracy" in {metric.name for metric in read_result(path).metrics}
    faces = [pq.read_table(path) for path in runs.glob("store/protocol/*/items.parquet")]
    assert len(faces) == 2
    assert faces[0]["identity"].equals(faces[1]["identity"])
    assert not faces[0]["pixels"].equals(faces[1]["pixels"])


def test_a_misspelt_crop_is_told(folder: Path, harness: Harness) -> None:
    done = harness("plan", folder / "suite.yaml", "--set", "recognizers.loose.view=lose", packages=[folder])
    assert done.returncode == 2
    assert "recognizers.loose.view: unknown crop 'lose', expected one of arcface, " in done.stderr
    assert "did you mean 'loose'?" in done.stderr
