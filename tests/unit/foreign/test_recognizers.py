"""Recognizers of others: imported tensor by tensor, or refused."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from harness.builtin.iresnet import IResNet, IResNetSettings
from harness.builtin.small_cnn import SmallCNN, SmallCNNSettings
from harness.components import Crop
from harness.errors import DataError, InputError
from harness.foreign.checkpoints import Terms
from harness.foreign.recognizers import build_recognizer, import_recognizer
from harness.store.weights import load_tensors, read_info

TERMS = Terms("CC-BY-NC-SA-4.0", "no")


def test_an_iresnet_is_imported(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = IResNet(IResNetSettings(depth=18)).network
    for name, buffer in network.named_buffers():
        if name.endswith("running_var"):
            buffer.mul_(100.0)
    source, out = tmp_path / "backbone.pth", tmp_path / "out.safetensors"
    torch.save(network.state_dict(), source)
    recognizer = build_recognizer("iresnet", IResNet, {"depth": 18}, Crop("raw", 112))
    import_recognizer(source, out, "iresnet", recognizer, TERMS)
    info = read_info(out)
    assert (info.role, info.kind, info.settings) == ("recognizer", "iresnet", {"depth": 18, "se": False})
    assert (info.view, info.size_px, info.license, info.commercial_use) == ("raw", 112, TERMS.license, "no")
    origin = {"file": "backbone.pth", "sha256": hashlib.sha256(source.read_bytes()).hexdigest()}
    assert info.provenance == {"imported": {"weights": origin}}
    again = IResNet(IResNetSettings(**info.settings), Crop(info.view, info.size_px))
    again.load(load_tensors(out))
    images = np.random.default_rng(0).integers(0, 256, (1, 112, 112, 3), dtype=np.uint8)
    with torch.no_grad():
        x = torch.from_numpy(images).permute(0, 3, 1, 2) / 127.5 - 1
        expected = network.eval()(x).numpy()
    assert np.allclose(again.embed(images), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_a_recognizer_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    source, out = tmp_path / "a.pt", tmp_path / "out.safetensors"
    state = SmallCNN(SmallCNNSettings(width=16)).state()
    for change, message in (
        ({"norm.bias": None}, r"a\.pt: .*norm\.bias has nothing, expected \(16,\)"),
        ({"extra": torch.ones(2)}, r"a\.pt: .*extra has \(2,\), expected nothing"),
        ({"norm.bias": torch.ones(3)}, r"a\.pt: .*norm\.bias has \(3,\), expected \(16,\)"),
    ):
        changed: dict[str, Tensor | None] = {**state, **change}
        torch.save({name: t for name, t in changed.items() if t is not None}, source)
        with pytest.raises(DataError, match=message):
            import_recognizer(
                source, out, "small-cnn", SmallCNN(SmallCNNSettings(width=16), Crop("arcface", 32)), TERMS
            )
        assert not out.exists()


def test_settings_are_checked() -> None:
    with pytest.raises(InputError, match="iresnet: depth: Input should be 18, 34, 50 or 100"):
        build_recognizer("iresnet", IResNet, {"depth": 35}, Crop("arcface", 112))
    with pytest.raises(InputError, match="iresnet: deep: Extra inputs"):
        build_recognizer("iresnet", IResNet, {"deep": 18}, Crop("arcface", 112))
