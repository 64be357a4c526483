"""``pytest tests/golden --golden-dir DIR`` judges the files of that folder and not our own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.mark.parametrize(("error", "status"), [(0.0, 0), (1e-5, 1)])
def test_another_folder_is_read(tmp_path: Path, error: float, status: int) -> None:
    arrays = dict(np.load(GOLDEN / "data" / "alignment.npz"))
    np.savez(tmp_path / "alignment.npz", **{**arrays, "matrices": arrays["matrices"] + error})
    test = f"{GOLDEN / 'test_evaluation.py'}::test_similarity_equals_reference"
    command = [sys.executable, "-m", "pytest", "-q", test, "--golden-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=GOLDEN.parents[1], capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stdout[-2000:]
