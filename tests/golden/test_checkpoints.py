"""Checkpoints with the names and shapes of the published ones load strict; others are refused by name.

The files made here have every tensor of the published ones as one zero that is repeated, so they weigh kilobytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.builtin.iresnet import IResNet, IResNetSettings
from harness.components import Crop, Model
from harness.diffusion.latent import LatentDiffusion
from harness.diffusion.weights import load_strict
from harness.errors import DataError
from harness.foreign import latent_diffusion
from harness.foreign.checkpoints import Terms, read_foreign
from harness.foreign.latent_diffusion import LatentFiles, import_latent_diffusion
from harness.foreign.recognizers import import_recognizer
from harness.store.weights import WeightsInfo, load_tensors, read_info
from harness.training.backbones.iresnet import IResNetwork

DEPTHS = [18, 50, 100]
TERMS = Terms("research only", "no")


def listed(folder: Path, name: str) -> dict[str, Any]:
    keys: dict[str, Any] = json.loads((folder / f"{name}_checkpoint_keys.json").read_text())
    return keys


def zeros(keys: Mapping[str, list[int]]) -> dict[str, Tensor]:
    def zero(name: str) -> Tensor:
        return torch.zeros((), dtype=torch.int64 if name.endswith("num_batches_tracked") else torch.float32)

    return {name: zero(name).expand(shape) for name, shape in keys.items()}


@pytest.mark.parametrize("depth", DEPTHS)
def test_published_iresnet_names_and_shapes(golden_dir: Path, depth: int) -> None:
    with torch.device("meta"):
        network = IResNetwork(depth)
    ours = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
    assert ours == listed(golden_dir, "iresnet")[f"iresnet{depth}"]
    load_strict(network, zeros(ours), "checkpoint")
    assert not any(tensor.is_meta for tensor in network.state_dict().values())


def test_a_published_iresnet_is_imported(golden_dir: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "backbone.pth", tmp_path / "out.safetensors"
    torch.save(zeros(listed(golden_dir, "iresnet")["iresnet18"]), source)
    import_recognizer(source, out, "iresnet", IResNet(IResNetSettings(depth=18)), TERMS)
    again = IResNet(IResNetSettings.model_validate(read_info(out).settings), Crop("arcface", 112))
    again.load(load_tensors(out))


@pytest.mark.parametrize("fault", ["missing", "extra", "misshapen"])
@pytest.mark.parametrize("name", ["layer3.1.conv2.weight", "features.weight", "layer1.0.bn1.num_batches_tracked"])
def test_another_iresnet_is_refused_by_name(golden_dir: Path, tmp_path: Path, name: str, fault: str) -> None:
    tensors = spoiled(zeros(listed(golden_dir, "iresnet")["iresnet18"]), name, fault)
    torch.save(tensors, tmp_path / "backbone.pth")
    recognizer = IResNet(IResNetSettings(depth=18))
    with pytest.raises(DataError, match=rf"backbone\.pth: .*{name}") as error:
        import_recognizer(tmp_path / "backbone.pth", tmp_path / "out.safetensors", "iresnet", recognizer, TERMS)
    assert "\n" not in str(error.value)


def spoiled(tensors: dict[str, Tensor], name: str, fault: str) -> dict[str, Tensor]:
    changed = dict(tensors)
    tensor = changed.pop(name)
    if fault == "extra":
        changed |= {name: tensor, f"{name}.more": torch.ones(1)}
    elif fault == "misshapen":
        changed[name] = torch.ones(3, 5)
    return changed


@pytest.fixture
def files(golden_dir: Path, tmp_path: Path, vectors: dict[str, Tensor]) -> LatentFiles:
    """The published IDiff-Face checkpoint and VQ-f4's two files, in name and shape."""
    vq = listed(golden_dir, "vq_f4")
    unet = zeros(listed(golden_dir, "idiffface")) | vectors
    made = LatentFiles(tmp_path / "ema.ckpt", tmp_path / "encoder.pt", tmp_path / "decoder.pt")
    for path, tensors in (
        (made.unet, unet),
        (made.encoder, zeros(vq["encoder"])),
        (made.decoder, zeros(vq["decoder"])),
    ):
        torch.save(tensors, path)
    return made


def test_a_published_idiffface_model_is_imported(
    files: LatentFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: dict[Path, tuple[dict[str, Tensor], WeightsInfo]] = {}
    # a gigabyte of zeros would be written here; what is written is looked at instead
    monkeypatch.setattr(
        latent_diffusion, "write_weights", lambda path, tensors, info: written.update({path: (tensors, info)})
    )
    import_latent_diffusion(files, tmp_path / "out.safetensors", TERMS)
    tensors, info = written[tmp_path / "out.safetensors"]
    assert sum(t.numel() for name, t in tensors.items() if name.startswith("unet.")) == 216_341_187
    autoencoder = 22_337_411 + 12 + 32_960_771 + 12 + 24_576
    assert sum(t.numel() for name, t in tensors.items() if name.startswith("first_stage.")) == autoencoder
    assert info.settings["size_px"] == 128
    parts = LatentDiffusion.from_model(Model(info.kind, info.settings, tensors))
    assert parts.settings() == info.settings


@pytest.mark.parametrize("fault", ["missing", "extra", "misshapen"])
@pytest.mark.parametrize(
    ("part", "name"),
    [
        ("unet", "eps_model.middle.attn.x_proj_in.weight"),
        ("unet", "sigmas"),
        ("encoder", "quant_conv.weight"),
        ("decoder", "quantize.embedding.weight"),
    ],
)
def test_another_model_is_refused_by_name(files: LatentFiles, tmp_path: Path, part: str, name: str, fault: str) -> None:
    path: Path = getattr(files, part)
    tensors = read_foreign(path)
    torch.save(spoiled(tensors, name, fault), path)
    with pytest.raises(DataError, match=f"{path.name}: .*{name.removeprefix('eps_model.')}") as error:
        import_latent_diffusion(files, tmp_path / "out.safetensors", TERMS)
    assert "\n" not in str(error.value)
