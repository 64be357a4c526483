"""Foreign checkpoints: what is read, what is refused, and that nothing in them runs."""

from __future__ import annotations

import argparse
import hashlib
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file
from torch import Tensor

from harness.builtin.iresnet import IResNet, IResNetSettings
from harness.builtin.small_cnn import SmallCNN, SmallCNNSettings
from harness.cli.weights import weights
from harness.components import Crop, Model, Run, SamplePlan
from harness.diffusion.latent import KIND, LatentDiffusion, sample_images
from harness.diffusion.samplers import bind
from harness.diffusion.schedule import linear_schedule, published_vectors
from harness.diffusion.settings import LatentSampleSettings
from harness.diffusion.unet import ConditionalUNet, UNetConfig
from harness.diffusion.vq import VQAutoencoder, VQConfig
from harness.errors import DataError, InputError
from harness.store.foreign import (
    LatentFiles,
    Terms,
    build_recognizer,
    import_latent_diffusion,
    import_recognizer,
    read_foreign,
)
from harness.store.weights import load_tensors, read_info, weights_content

TERMS = Terms("CC-BY-NC-SA-4.0", "no")
UNET = UNetConfig(
    initial_channels=32,
    channel_multipliers=(1, 1),
    is_attention=(False, True),
    n_blocks_per_resolution=1,
    context_input_channels=8,
    context_channels=32,
    context_tokens=2,
)
VQ = VQConfig(ch=32, ch_mult=(1, 1, 1), num_res_blocks=1, n_embed=16)


class Touch:
    """Unpickling it freely would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def tensors() -> dict[str, Tensor]:
    return {"a.weight": torch.ones(2, 3), "b": torch.zeros(1)}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda t: t,
        OrderedDict,
        lambda t: {"state_dict": t, "epoch": 3},
        lambda t: {f"module.{name}": value for name, value in t.items()},
    ],
    ids=["plain", "ordered", "with-epoch", "parallel"],
)
def test_what_is_read(tmp_path: Path, wrap: Callable[[dict[str, Tensor]], Any], zipped: bool) -> None:
    torch.save(wrap(tensors()), tmp_path / "a.ckpt", _use_new_zipfile_serialization=zipped)
    found = read_foreign(tmp_path / "a.ckpt")
    assert set(found) == {"a.weight", "b"}
    assert torch.equal(found["a.weight"], torch.ones(2, 3))


def test_safetensors_are_read(tmp_path: Path) -> None:
    save_file(tensors(), tmp_path / "a.safetensors")
    assert set(read_foreign(tmp_path / "a.safetensors")) == {"a.weight", "b"}
    (tmp_path / "b.safetensors").write_bytes(b"junk")
    with pytest.raises(DataError, match=r"b\.safetensors: cannot be read as safetensors"):
        read_foreign(tmp_path / "b.safetensors")


def test_one_of_several_tables_is_chosen(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({"raw": tensors(), "ema": {"c": torch.ones(1)}, "step": 3}, path)
    with pytest.raises(DataError, match="several tables of tensors; choose one with --entry: raw, ema"):
        read_foreign(path)
    assert set(read_foreign(path, "ema")) == {"c"}
    with pytest.raises(DataError, match=r"no entry 'best'; it holds raw \(dict\), ema \(dict\), step \(int\)"):
        read_foreign(path, "best")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "expected tensors by name, found nothing"),
        ([1, 2], "expected tensors by name, found a list"),
        ({"epoch": 3, "w": torch.ones(1)}, r"found epoch \(int\), w \(Tensor\)"),
        ({0: torch.ones(1)}, r"found 0 \(Tensor\)"),
    ],
)
def test_what_is_no_table(tmp_path: Path, content: Any, message: str) -> None:
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(DataError, match=message):
        read_foreign(tmp_path / "a.pt")


@pytest.mark.parametrize("zipped", [True, False])
def test_unsafe_pickles_are_refused_and_nothing_runs(tmp_path: Path, zipped: bool) -> None:
    trap = tmp_path / "trap"
    cases = {"a": {"w": torch.ones(1), "x": Touch(trap)}, "b": {"w": torch.ones(1), "args": argparse.Namespace(lr=1)}}
    for name, content in cases.items():
        torch.save(content, tmp_path / name, _use_new_zipfile_serialization=zipped)
        with pytest.raises(
            DataError, match="which a file of weights must not; unpickling it could run any code"
        ) as info:
            read_foreign(tmp_path / name)
        assert "\n" not in str(info.value)
        assert "weights_only" not in str(info.value), "no advice to load it anyway"
    assert not trap.exists()


@pytest.mark.parametrize("content", [b"", b"hello world", pickle.dumps({"a": 1}), b"PK\x03\x04" + bytes(50)])
def test_what_is_no_checkpoint(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.pt: not a checkpoint of tensors that torch can read safely") as info:
        read_foreign(path)
    assert "\n" not in str(info.value)
    with pytest.raises(DataError, match=r"none\.pt: cannot be read \(No such file"):
        read_foreign(tmp_path / "none.pt")


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
    assert (info.role, info.kind, info.settings) == ("recognizer", "iresnet", {"depth": 18})
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
    with pytest.raises(InputError, match="iresnet: depth: Input should be 18, 50 or 100"):
        build_recognizer("iresnet", IResNet, {"depth": 34}, Crop("arcface", 112))
    with pytest.raises(InputError, match="iresnet: deep: Extra inputs"):
        build_recognizer("iresnet", IResNet, {"deep": 18}, Crop("arcface", 112))


class Published:
    """A small model in the files and names of the published one."""

    def __init__(self, folder: Path) -> None:
        torch.manual_seed(0)
        self.unet, self.stage = ConditionalUNet(UNET).eval(), VQAutoencoder(VQ).eval()
        for parameter in self.unet.parameters():
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.05)
        self.checkpoint = {f"eps_model.{n}": t for n, t in self.unet.state_dict().items()}
        self.checkpoint |= published_vectors(linear_schedule())
        self.files = LatentFiles(folder / "unet.ckpt", folder / "encoder.pt", folder / "decoder.safetensors")
        self.write(self.checkpoint)
        torch.save(self.stage.encoder.state_dict(), self.files.encoder)
        save_file(self.stage.decoder.state_dict(), self.files.decoder)

    def write(self, checkpoint: dict[str, Tensor]) -> None:
        torch.save(checkpoint, self.files.unet)

    def convert(self, out: Path, **options: Any) -> None:
        import_latent_diffusion(self.files, out, TERMS, unet_config=UNET, vq_config=VQ, **options)


@pytest.fixture
def published(tmp_path: Path) -> Published:
    return Published(tmp_path)


def test_a_latent_diffusion_model_is_imported(published: Published, tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    published.convert(out, size_px=64)
    info = read_info(out)
    assert (info.role, info.kind, info.license, info.recognizer) == ("model", KIND, TERMS.license, "")
    assert info.settings["first_stage"]["kind"] == "vq"
    assert (info.settings["T"], info.settings["size_px"]) == (1000, 64)
    assert set(info.provenance["imported"]) == {"unet", "encoder", "decoder"}
    parts = LatentDiffusion.from_model(Model(info.kind, info.settings, load_tensors(out)))
    assert parts.settings() == info.settings
    assert parts.latent_shape == (3, 16, 16)
    x, t, context = torch.randn(2, 3, 16, 16), torch.tensor([7, 900]), torch.randn(2, 8)
    with torch.no_grad():
        assert torch.equal(parts.unet(x, t, context), published.unet(x, t, context))
        assert torch.equal(parts.first_stage.decode(x), published.stage.decode(x, quantise=True))
        assert not torch.equal(parts.first_stage.decode(x), published.stage.decode(x, quantise=False))
        images = torch.rand(1, 3, 64, 64) * 2 - 1
        assert torch.equal(parts.first_stage.encode(images), published.stage.encode(images))


def test_an_imported_model_samples_images(published: Published, tmp_path: Path) -> None:
    published.convert(tmp_path / "out.safetensors", size_px=64)
    info = read_info(tmp_path / "out.safetensors")
    parts = LatentDiffusion.from_model(Model(info.kind, info.settings, load_tensors(tmp_path / "out.safetensors")))
    settings = LatentSampleSettings(sampler="dpm-solver++", steps=3)
    images = sample_images(parts, SamplePlan.grid(2, 1), Run(0), bind(parts.unet, torch.randn(2, 8)), settings)
    assert images.shape == (2, 64, 64, 3)
    assert images.dtype == np.uint8


def test_the_recognizer_of_the_contexts_is_remembered(published: Published, tmp_path: Path) -> None:
    cond, out = tmp_path / "cond.safetensors", tmp_path / "out.safetensors"
    torch.save(SmallCNN(SmallCNNSettings(width=8)).state(), tmp_path / "cnn.pt")
    small = SmallCNN(SmallCNNSettings(width=8), Crop("raw", 32))
    import_recognizer(tmp_path / "cnn.pt", cond, "small-cnn", small, TERMS)
    published.convert(out, recognizer=cond)
    assert read_info(out).recognizer == weights_content(cond)
    with pytest.raises(InputError, match="holds a model, expected the recognizer"):
        published.convert(tmp_path / "more.safetensors", recognizer=out)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"eps_model.final.bias": None}, r"unet\.ckpt: .*missing final\.bias \[3\]"),
        ({"eps_model.more": torch.ones(1)}, r"unet\.ckpt: .*unexpected more \[1\]"),
        ({"eps_model.final.bias": torch.ones(4)}, r"unet\.ckpt: .*final\.bias has shape \[4\], expected \[3\]"),
        ({"sigmas": None}, r"unet\.ckpt: schedule vector 'sigmas' is missing"),
        ({"more": torch.ones(1)}, r"unet\.ckpt: schedule vector 'more' is missing, unexpected"),
    ],
)
def test_a_model_that_does_not_fit_is_refused(
    published: Published, tmp_path: Path, change: dict[str, Tensor | None], message: str
) -> None:
    changed = {**published.checkpoint, **change}
    published.write({name: tensor for name, tensor in changed.items() if tensor is not None})
    with pytest.raises(DataError, match=message):
        published.convert(tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


def test_autoencoder_files_that_do_not_fit_are_refused(published: Published, tmp_path: Path) -> None:
    swapped = LatentFiles(published.files.unet, published.files.decoder, published.files.encoder)
    published.files = swapped
    with pytest.raises(DataError, match=r"decoder\.safetensors: .*missing encoder\.conv_in\.weight"):
        published.convert(tmp_path / "out.safetensors")


def test_the_size_must_fit(published: Published, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="multiple of 8 for this model, got 100"):
        published.convert(tmp_path / "out.safetensors", size_px=100)


def run(*arguments: str) -> Any:
    return CliRunner().invoke(weights, ["import", *arguments])


def test_the_command(tmp_path: Path) -> None:
    source, out = tmp_path / "a.pt", tmp_path / "new" / "out.safetensors"
    torch.save(SmallCNN(SmallCNNSettings(width=16)).state(), source)
    common = [str(source), "--as", "small-cnn", "--set", "width=16", "--view", "raw", "--size-px", "32"]
    done = run(*common, "--license", "MIT", "--commercial-use", "yes", "-o", str(out))
    assert done.exit_code == 0, done.output
    assert weights_content(out)[:12] in done.output
    assert "license MIT, commercial use yes" in done.output
    info = read_info(out)
    assert (info.settings, info.view, info.size_px, info.commercial_use) == ({"width": 16}, "raw", 32, "yes")
    again = run(*common, "-o", str(out))
    assert isinstance(again.exception, InputError)
    assert "exists; remove it" in str(again.exception)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--as", "small-cnn"], "--as small-cnn needs FILE"),
        (["FILE", "--as", "small-cnn"], "--as small-cnn needs --view"),
        (["FILE", "--as", "small-cnn", "--view", "raw", "--unet", "FILE"], "--as small-cnn takes no --unet"),
        (["FILE", "--as", "small-cnm", "--view", "raw"], "did you mean 'small-cnn'"),
        (["FILE", "--as", "small-cnn", "--view", "raw", "--set", "width"], "--set width: expected key=value"),
        (["FILE", "--as", "small-cnn", "--view", "raw", "--set", "width=1"], "small-cnn: width: "),
        (["--as", "latent-diffusion", "--unet", "FILE"], "--as latent-diffusion needs --encoder"),
    ],
)
def test_the_command_says_what_is_wrong(tmp_path: Path, arguments: list[str], message: str) -> None:
    torch.save(tensors(), tmp_path / "a.pt")
    given = [str(tmp_path / "a.pt") if text == "FILE" else text for text in arguments]
    done = run(*given, "-o", str(tmp_path / "out.safetensors"))
    assert isinstance(done.exception, InputError)
    assert message in str(done.exception)
    wrong = run(*given, "-o", str(tmp_path / "out.pt"))
    assert "ends in .safetensors" in str(wrong.exception)


def test_the_command_reaches_the_model_import(published: Published, tmp_path: Path) -> None:
    files = published.files
    given = ["--unet", str(files.unet), "--encoder", str(files.encoder), "--decoder", str(files.decoder)]
    done = run("--as", "latent-diffusion", *given, "-o", str(tmp_path / "out.safetensors"))
    assert isinstance(done.exception, DataError), "the small model is not the published one"
    assert "do not fit ConditionalUNet" in str(done.exception)
