"""What the tests share: dlib's file, its tensors, and pictures to compare with dlib on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from harness_dlib.published import PACKAGE, published_file
from harness_dlib.recognizer import DlibResNet
from harness_dlib.resnet import SIZE_PX

from harness import DataError
from harness.arrays import Images

SEED = 14


@pytest.fixture(scope="session")
def dat() -> Path:
    """dlib's file of the published network."""
    try:
        return published_file()
    except DataError:
        pytest.skip(f"{PACKAGE} is not installed")


@pytest.fixture(scope="session")
def recognizer(tmp_path_factory: pytest.TempPathFactory, dat: Path) -> DlibResNet:
    """``demo:dlib`` as a stage opens it."""
    from harness_dlib.published import write

    from harness.stages.opening import load_recognizer

    path = tmp_path_factory.mktemp("dlib") / "weights.safetensors"
    write(path)
    found = load_recognizer(path)
    assert isinstance(found, DlibResNet)
    return found


@pytest.fixture(scope="session")
def chips() -> Images:
    """100 pictures, uint8 [100, 150, 150, 3]: noise, soft spots, even ones, and faces of the face world."""
    from harness import Run
    from harness.builtin.faceworld import FaceWorldSource

    rng = np.random.default_rng(SEED)
    noise = rng.integers(0, 256, (30, SIZE_PX, SIZE_PX, 3))
    coarse = rng.integers(0, 256, (30, 6, 6, 3)).repeat(25, axis=1).repeat(25, axis=2)
    even = np.broadcast_to(rng.integers(0, 256, (10, 1, 1, 3)), (10, SIZE_PX, SIZE_PX, 3))
    settings = FaceWorldSource.Settings(range="judge", identities=10, per_identity=3, size_px=152, mode="mild")
    source, run = FaceWorldSource(settings), Run(0)
    faces = np.concatenate([batch.images for batch in source.sample(source.plan(run), run)])[:, 1:-1, 1:-1]
    return np.concatenate([noise, coarse, even, faces]).astype(np.uint8)
