"""Where the golden fixtures come from: ``pytest tests/golden --golden-dir DIR`` reads other files of the same names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

DEFAULT_DIR = Path(__file__).parent / "data"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--golden-dir", default=None, help="folder of golden fixtures (default: tests/golden/data)")


@pytest.fixture(scope="session")
def golden_dir(request: pytest.FixtureRequest) -> Path:
    # the option is unknown when pytest was started above this folder, for example without arguments
    given = request.config.getoption("--golden-dir", default=None)
    folder = Path(given) if given else DEFAULT_DIR
    if not folder.is_dir():
        pytest.fail(f"--golden-dir: {folder} is not a folder")
    return folder


@pytest.fixture
def vectors(golden_dir: Path) -> dict[str, Tensor]:
    """The eight schedule vectors as they stand in a checkpoint of the reference."""
    with np.load(golden_dir / "schedule_published.npz") as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}
