"""InceptionResnetV1 as facenet-pytorch publishes it: its files load, its embeddings come out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from facenet_pytorch import InceptionResnetV1, fixed_image_standardization

from harness.builtin.facenet import FaceNet
from harness.components import Crop
from harness.errors import DataError
from harness.foreign.checkpoints import Terms
from harness.foreign.recognizers import import_recognizer
from harness.stages.opening import load_recognizer
from harness.testing import check_component, check_light_import


@pytest.fixture(scope="module")
def theirs() -> InceptionResnetV1:
    torch.manual_seed(0)
    return InceptionResnetV1(classify=True, num_classes=7).eval()


def test_a_published_file_gives_its_embeddings(theirs: InceptionResnetV1, tmp_path: Path) -> None:
    torch.save(theirs.state_dict(), tmp_path / "theirs.pt")
    terms = Terms("CC BY-NC", "no")
    import_recognizer(tmp_path / "theirs.pt", tmp_path / "ours.safetensors", "facenet", FaceNet(), terms)
    images = np.random.default_rng(0).integers(0, 256, (2, 160, 160, 3), dtype=np.uint8)
    theirs.classify = False
    with torch.no_grad():
        expected = theirs(fixed_image_standardization(torch.from_numpy(images).permute(0, 3, 1, 2).float()))
    ours = load_recognizer(tmp_path / "ours.safetensors", "cpu")
    assert ours.takes == Crop("raw", 160)
    assert np.abs(ours.embed(images) - expected.numpy()).max() < 1e-5


def test_a_missing_tensor_is_named(theirs: InceptionResnetV1) -> None:
    tensors = {name: value for name, value in theirs.state_dict().items() if name != "last_linear.weight"}
    with pytest.raises(DataError, match=r"last_linear\.weight"):
        FaceNet().load(tensors)


def test_the_contract() -> None:
    check_component(FaceNet())
    check_light_import("harness.builtin.facenet")
