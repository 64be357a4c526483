"""The published latent diffusion model: imported tensor by tensor, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file
from torch import Tensor

from harness.builtin.small_cnn import SmallCNN, SmallCNNSettings
from harness.cli.weights import weights
from harness.components import Crop, Model, Run, SamplePlan
from harness.diffusion.latent import KIND, LatentDiffusion
from harness.diffusion.samplers import bind
from harness.diffusion.sampling import sample_images
from harness.diffusion.settings import LatentSampleSettings
from harness.diffusion.unet import ConditionalUNet, UNetConfig
from harness.diffusion.vq import VQAutoencoder, VQConfig
from harness.errors import DataError, InputError
from harness.foreign.checkpoints import Terms
from harness.foreign.latent_diffusion import LatentFiles, import_latent_diffusion, load_published_idiffface
from harness.foreign.recognizers import import_recognizer
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


def vectors(T: int = 1000) -> dict[str, Tensor]:
    """The schedule vectors of a published checkpoint, as the reference makes them: float32 all the way."""
    betas = np.linspace(0.1 / T, 20 / T, T).astype(np.float32)
    alphas = 1 - betas
    bars = np.exp(np.cumsum(np.log(alphas), dtype=np.float32))
    made = {
        "betas": betas,
        "alphas": alphas,
        "sigmas": np.sqrt(betas),
        "sqrt_alphas_inv": 1 / np.sqrt(alphas),
        "alpha_bars": bars,
        "sqrt_alpha_bars": np.sqrt(bars),
        "sqrt_one_minus_alpha_bars": np.sqrt(1 - bars),
        "one_minus_alphas_over_sqrt_one_minus_alpha_bars": (1 - alphas) / np.sqrt(1 - bars),
    }
    return {name: torch.from_numpy(vector) for name, vector in made.items()}


class Published:
    """A small model in the files and names of the published one."""

    def __init__(self, folder: Path) -> None:
        torch.manual_seed(0)
        self.unet, self.autoencoder = ConditionalUNet(UNET).eval(), VQAutoencoder(VQ).eval()
        for parameter in self.unet.parameters():
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.05)
        self.checkpoint = {f"eps_model.{n}": t for n, t in self.unet.state_dict().items()}
        self.checkpoint |= vectors()
        self.files = LatentFiles(folder / "unet.ckpt", folder / "encoder.pt", folder / "decoder.safetensors")
        self.write(self.checkpoint)
        torch.save(self.autoencoder.encoder.state_dict(), self.files.encoder)
        save_file(self.autoencoder.decoder.state_dict(), self.files.decoder)

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
        assert torch.equal(parts.autoencoder.decode(x), published.autoencoder.decode(x, quantize=True))
        assert not torch.equal(parts.autoencoder.decode(x), published.autoencoder.decode(x, quantize=False))
        images = torch.rand(1, 3, 64, 64) * 2 - 1
        assert torch.equal(parts.autoencoder.encode(images), published.autoencoder.encode(images))


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


def test_the_command_reaches_the_model_import(published: Published, tmp_path: Path) -> None:
    files = published.files
    given = ["--unet", str(files.unet), "--encoder", str(files.encoder), "--decoder", str(files.decoder)]
    done = CliRunner().invoke(
        weights, ["import", "--as", "latent-diffusion", *given, "-o", str(tmp_path / "out.safetensors")]
    )
    assert isinstance(done.exception, DataError), "the small model is not the published one"
    assert "do not fit ConditionalUNet" in str(done.exception)


PLAIN = UNetConfig(
    initial_channels=32, channel_multipliers=(1,), is_attention=(False,), n_blocks_per_resolution=1, context_channels=32
)


NETWORK = {f"eps_model.{n}": t for n, t in ConditionalUNet(PLAIN).state_dict().items()}


def _state() -> dict[str, torch.Tensor]:
    return NETWORK | vectors(40)


def test_the_published_layout() -> None:
    unet, schedule = load_published_idiffface(_state(), "file", PLAIN)
    assert schedule.T == 40
    assert not unet.training


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"betas": None}, "no tensor 'betas'"),
        ({"sigmas": None}, "'sigmas' is missing"),
        (
            {"betas": torch.full((40,), 0.1)},
            r"'betas' is 0\.1 at step 0, expected 0\.0025, as the linear schedule with T = 40 gives it",
        ),
        ({"alphas": torch.full((40,), float("nan"))}, "'alphas' is nan at step 0, expected 0.9975"),
        ({name: vector[:20] for name, vector in vectors(40).items()}, "'betas' has 20 steps, expected at least 21"),
        (dict.fromkeys(NETWORK), "no tensor below 'eps_model.'"),
        ({"eps_model.final.bias": None}, "missing final.bias"),
    ],
)
def test_other_checkpoints_are_refused(change: dict[str, torch.Tensor | None], message: str) -> None:
    tensors = {n: t for n, t in {**_state(), **change}.items() if t is not None}
    with pytest.raises(DataError, match=message):
        load_published_idiffface(tensors, "file", PLAIN)
