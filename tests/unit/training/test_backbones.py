"""The backbones against functional forwards in float64, written out here from the papers and state-dict names alone."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.builtin.iresnet import IR, IResNet, IResNetSettings, IRSettings, MobileFaceNet, MobileFaceNetSettings
from harness.builtin.timm_models import Timm, TimmSettings
from harness.components import Crop
from harness.errors import InputError
from harness.plugins import registry
from harness.testing import check_component, check_light_import, check_own_code
from harness.training.backbones.iresnet import IResNetwork, SqueezeExcitation

UNITS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 14, 3), 100: (3, 13, 30, 3)}


def random_state(shapes: dict[str, list[int]]) -> dict[str, Tensor]:
    """Weights of these names and shapes; signals keep their size through the layers, and every norm has statistics."""
    g = torch.Generator().manual_seed(0)
    state = {}
    for name, shape in shapes.items():
        value = torch.randn(shape, generator=g, dtype=torch.float64)
        if name.endswith("num_batches_tracked"):
            value = torch.zeros((), dtype=torch.float64)
        elif name.endswith("running_var"):
            value = 0.5 + value.abs()
        elif len(shape) > 1:
            value = value / np.prod(shape[1:]) ** 0.5
        elif name.endswith("weight"):
            value = 1 + 0.1 * value
        state[name] = value
    return state


def bn(x: Tensor, w: dict[str, Tensor], name: str) -> Tensor:
    stats = (w[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
    mean, var, scale, shift = (part.view(1, -1, *[1] * (x.dim() - 2)) for part in stats)
    return (x - mean) / (var + 1e-5).sqrt() * scale + shift


def prelu(x: Tensor, slope: Tensor) -> Tensor:
    return torch.where(x > 0, x, x * slope.view(1, -1, 1, 1))


def iresnet(x: Tensor, w: dict[str, Tensor], depth: int) -> Tensor:
    """Block: BN, conv, BN, PReLU, conv with the stride, BN, plus a shortcut; head: BN, flatten, linear, BN."""
    x = prelu(bn(F.conv2d(x, w["conv1.weight"], padding=1), w, "bn1"), w["prelu.weight"])
    for stage, count in enumerate(UNITS[depth], 1):
        for block in range(count):
            at, stride = f"layer{stage}.{block}", 1 if block else 2
            h = bn(F.conv2d(bn(x, w, f"{at}.bn1"), w[f"{at}.conv1.weight"], padding=1), w, f"{at}.bn2")
            h = F.conv2d(prelu(h, w[f"{at}.prelu.weight"]), w[f"{at}.conv2.weight"], stride=stride, padding=1)
            if not block:
                x = bn(F.conv2d(x, w[f"{at}.downsample.0.weight"], stride=stride), w, f"{at}.downsample.1")
            x = x + bn(h, w, f"{at}.bn3")
    flat = bn(x, w, "bn2").reshape(len(x), -1)
    return bn(flat @ w["fc.weight"].T + w["fc.bias"], w, "features")


def ir(x: Tensor, w: dict[str, Tensor], depth: int) -> Tensor:
    """Unit: BN, conv, PReLU, conv with the stride, BN; stem: conv, BN, PReLU; output: BN, flatten, linear, BN."""
    stem = bn(F.conv2d(x, w["input_layer.0.weight"], padding=1), w, "input_layer.1")
    x, at = prelu(stem, w["input_layer.2.weight"]), 0
    for count in UNITS[depth]:
        for place in range(count):
            res, stride = f"body.{at}.res_layer", 1 if place else 2
            h = F.conv2d(bn(x, w, f"{res}.0"), w[f"{res}.1.weight"], padding=1)
            h = F.conv2d(prelu(h, w[f"{res}.2.weight"]), w[f"{res}.3.weight"], stride=stride, padding=1)
            short = f"body.{at}.shortcut_layer"
            if f"{short}.0.weight" in w:
                x = bn(F.conv2d(x, w[f"{short}.0.weight"], stride=stride), w, f"{short}.1")
            else:
                x = x[:, :, ::stride, ::stride]
            x, at = x + bn(h, w, f"{res}.4"), at + 1
    flat = bn(x, w, "output_layer.0").reshape(len(x), -1)
    return bn(flat @ w["output_layer.3.weight"].T + w["output_layer.3.bias"], w, "output_layer.4")


@pytest.fixture(scope="module")
def x() -> Tensor:
    return torch.rand(1, 3, 112, 112, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 2 - 1


def agrees(network: nn.Module, x: Tensor, expected: Tensor) -> None:
    scale = float(expected.abs().max())
    with torch.no_grad():
        assert torch.allclose(network.double()(x), expected, rtol=0, atol=1e-9 * scale)


def test_iresnet_with_a_state_dict_of_the_published_names(golden_keys: dict[str, Any], x: Tensor) -> None:
    state = random_state(golden_keys["iresnet18"])
    recognizer = IResNet(IResNetSettings(depth=18))
    recognizer.network.double()
    recognizer.load(state)
    agrees(recognizer.network, x, iresnet(x, state, 18))


@pytest.fixture
def golden_keys() -> dict[str, Any]:
    path = Path(__file__).parents[2] / "golden" / "data" / "iresnet_checkpoint_keys.json"
    keys: dict[str, Any] = json.loads(path.read_text())
    return keys


def test_ir_differs_from_iresnet_in_its_units(x: Tensor) -> None:
    recognizer = IR(IRSettings(depth=18))
    recognizer.network.double()
    state = random_state({name: list(value.shape) for name, value in recognizer.network.state_dict().items()})
    recognizer.load(state)
    agrees(recognizer.network, x, ir(x, state, 18))


def test_squeeze_and_excitation_scales_the_channels() -> None:
    block, maps = SqueezeExcitation(32).double(), torch.randn(2, 32, 5, 5, dtype=torch.float64)
    first, second = block.fc1.weight[:, :, 0, 0], block.fc2.weight[:, :, 0, 0]
    assert first.shape == (2, 32)  # a sixteenth
    gates = 1 / (1 + torch.exp(-(maps.mean((2, 3)) @ first.T).clamp(min=0) @ second.T))
    assert torch.allclose(block(maps), maps * gates[:, :, None, None])


@pytest.mark.parametrize(("depth", "weights"), [(18, 24_025_600), (50, 43_590_848), (100, 65_156_160)])
def test_squeeze_and_excitation_adds_its_layers_and_nothing_else(depth: int, weights: int) -> None:
    with torch.device("meta"):
        network, plain = IResNetwork(depth, se=True), IResNetwork(depth)
    added = sum(2 * c * (c // 16) * n for c, n in zip((64, 128, 256, 512), UNITS[depth], strict=True))
    assert sum(p.numel() for p in network.parameters()) + 512 == weights + added
    assert not any(".se." in name for name in plain.state_dict())


def test_mobilefacenet_has_the_size_of_the_paper(x: Tensor) -> None:
    recognizer = MobileFaceNet(MobileFaceNetSettings(width=128))
    slopes = sum(m.weight.numel() for m in recognizer.network.modules() if isinstance(m, nn.PReLU))
    weights = sum(p.numel() for p in recognizer.network.parameters()) - slopes
    assert weights / 1e6 == pytest.approx(0.99, abs=0.01)  # as the paper says
    with torch.no_grad():
        assert recognizer.features(x.float()).shape == (1, 128)
    maps = {}
    for name, module in recognizer.network.layers.named_children():
        x = module.double()(x)
        maps[name] = tuple(x.shape[1:])
    assert [shape for shape in dict.fromkeys(maps.values()) if len(shape) == 3][:6] == [
        (64, 56, 56),
        (64, 28, 28),
        (128, 14, 14),
        (128, 7, 7),
        (512, 7, 7),
        (512, 1, 1),
    ]


@pytest.mark.parametrize("model", ["resnet18", "vit_tiny_patch16_224"])
def test_models_of_timm_get_an_embedding_head(model: str) -> None:
    recognizer = Timm(TimmSettings(model=model, width=32), Crop("arcface", 64))
    embedded = recognizer.embed(np.zeros((2, 64, 64, 3), np.uint8))
    assert embedded.shape == (2, 32)
    other = Timm(TimmSettings(model=model, width=32), Crop("arcface", 64))
    other.load(recognizer.state())
    assert np.array_equal(other.embed(np.zeros((2, 64, 64, 3), np.uint8)), embedded)


def test_timm_says_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="recognizer timm: unknown model 'resnet81'"):
        Timm(TimmSettings(model="resnet81"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'facegen-harness\[timm\]'"):
        Timm()


@pytest.mark.parametrize("name", ["iresnet", "ir", "mobilefacenet", "timm"])
def test_they_are_components(name: str) -> None:
    cls = registry().load("recognizers", name)
    shallow = {"depth": 18} if "depth" in cls.Settings.model_fields else {}
    recognizer = cls(cls.Settings(**shallow))
    check_component(recognizer)
    check_own_code(recognizer)
    check_light_import(cls.__module__)
