"""Fits: the autoencoder of imported weights is left as it is, sources are read in batches, pictures are kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.builtin.small_cnn import SmallCNN, SmallCNNSettings
from harness.builtin.unconditional import Unconditional, UnconditionalFitSettings
from harness.coding import decode_image
from harness.components import Crop, Given, Model, Run, SamplePlan
from harness.diffusion import fitting
from harness.diffusion.autoencoder import PixelAutoencoder
from harness.diffusion.fitting import Fit, fit_model
from harness.diffusion.kinds import VQ_F4
from harness.diffusion.latent import AUTOENCODER, KIND, UNET, LatentDiffusion
from harness.diffusion.preparation import fit_autoencoder, prepare
from harness.diffusion.samplers import bind
from harness.diffusion.sampling import contextualize, sample_images
from harness.diffusion.schedule import linear_schedule
from harness.diffusion.settings import LatentFitSettings, LatentSampleSettings
from harness.diffusion.unet import ConditionalUNet, UNetConfig
from harness.diffusion.vq import VQAutoencoder, VQConfig
from harness.errors import Stopped
from harness.faces.faceset import FaceSet, ShardWriter, write_items
from harness.testing.latent import TINY_CONFIG


@pytest.fixture
def imported() -> Model:
    """As `harness weights import` gives it, with a small U-Net and a small VQ-f4."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = UNetConfig(**{**TINY_CONFIG.__dict__, "input_channels": 3})
        parts = LatentDiffusion(
            ConditionalUNet(config),
            VQAutoencoder(VQConfig(ch=32, ch_mult=(1, 1, 1), num_res_blocks=1, n_embed=64)),
            linear_schedule(),
            32,
        )
    named = {f"{UNET}{name}": tensor for name, tensor in parts.unet.state_dict().items()}
    return Model(KIND, parts.settings(), parts.tensors(named, torch.float32))


@pytest.fixture
def source(tmp_path: Path) -> FaceSet:
    writer, random = ShardWriter(tmp_path, 0), np.random.default_rng(0)
    for sample in range(6):
        writer.add(0, sample, random.integers(0, 256, (32, 32, 3), dtype=np.uint8))
    writer.close()
    write_items(tmp_path, 1)
    return FaceSet(tmp_path, Crop("raw", 32))


@pytest.fixture
def recognizer() -> SmallCNN:
    made = SmallCNN(SmallCNNSettings(width=16), Crop("raw", 32))
    made.load(made.state())
    return made


def test_vq_f4_is_taken_over(imported: Model, source: FaceSet) -> None:
    settings = LatentFitSettings(size_px=32, network="demo", steps=2, batch_size=2)
    curves: set[str] = set()
    run = Run(seed=0, emit=lambda kind, data: curves.add(data.get("name", data.get("unit", ""))))
    model = Unconditional(settings).fit(Given(source=source, autoencoder=imported), run)
    assert model.settings["first_stage"] == imported.settings["first_stage"]
    assert model.settings["first_stage"]["kind"] == "vq"
    assert model.settings["unet"]["input_channels"] == 3
    own = {name for name in model.tensors if name.startswith(AUTOENCODER)}
    assert own == {name for name in imported.tensors if name.startswith(AUTOENCODER)}
    assert all(torch.equal(model.tensors[name], imported.tensors[name]) for name in own)
    assert not any("autoencoder" in name for name in curves), "nothing of the autoencoder is fitted"
    assert LatentDiffusion.from_model(model).latent_shape == (3, 8, 8)


def test_vq_f4_alone_is_taken_over(imported: Model, source: FaceSet) -> None:
    own = {name: tensor for name, tensor in imported.tensors.items() if name.startswith(AUTOENCODER)}
    alone = Model(VQ_F4, {"first_stage": imported.settings["first_stage"]}, own)
    assert VQ_F4 in Unconditional.accepts["autoencoder"]
    settings = LatentFitSettings(size_px=32, network="demo", steps=2, batch_size=2)
    ours, whole = (Unconditional(settings).fit(Given(source=source, autoencoder=m), Run(0)) for m in (alone, imported))
    assert ours.settings == whole.settings
    assert all(torch.equal(ours.tensors[name], tensor) for name, tensor in whole.tensors.items())


@pytest.fixture
def small_adagn(monkeypatch: pytest.MonkeyPatch) -> None:
    """The published AdaGN networks, small."""
    adagn = replace(TINY_CONFIG, condition_type="AdaGN")
    monkeypatch.setattr(fitting, "PUBLISHED_ADAGN_CONFIG", adagn)
    monkeypatch.setattr(fitting, "PUBLISHED_UNCONDITIONAL_CONFIG", replace(adagn, is_context_conditional=False))


@pytest.mark.usefixtures("small_adagn")
@pytest.mark.parametrize("cpd", [0.0, 0.25, 0.5])
def test_an_adagn_network_is_fitted_and_sampled(source: FaceSet, recognizer: SmallCNN, cpd: float) -> None:
    short = {"size_px": 32, "autoencoder_steps": 1, "steps": 2, "batch_size": 2}
    settings = LatentFitSettings(network="published-adagn", **short)
    model = fit_model(KIND, Fit(source=source, settings=settings, recognizer=recognizer, cpd=cpd), Run(seed=0))
    parts = LatentDiffusion.from_model(model)
    assert (parts.unet.config.condition_type, parts.unet.config.context_dropout_probability) == ("AdaGN", cpd)
    assert parts.unet.config.whole_context_dropout_probability == 0.0
    plan = SamplePlan.grid(2, 2, pool={"context": np.eye(2, 16, dtype=np.float32)})
    contexts = contextualize(parts, plan, plan.pool["context"], Run(seed=0))
    images = sample_images(parts, plan, Run(seed=0), bind(parts.unet, contexts), LatentSampleSettings(steps=2))
    assert images.shape == (4, 32, 32, 3)


@pytest.mark.usefixtures("small_adagn")
def test_the_unconditional_model_is_the_published_adagn_one_if_nothing_is_said(source: FaceSet) -> None:
    settings = UnconditionalFitSettings(size_px=32, autoencoder_steps=1, steps=2, batch_size=2)
    model = Unconditional(settings).fit(Given(source=source), Run(seed=0))
    assert model.settings["unet"]["is_context_conditional"] is False
    assert not any("context_emb" in name for name in model.tensors)
    plan = SamplePlan.grid(3, 1)
    (batch,) = Unconditional(LatentSampleSettings(steps=2)).sample(plan, Given(model=model), Run(seed=0))
    assert batch.images.shape == (3, 32, 32, 3)


def test_a_source_is_read_in_batches(source: FaceSet, recognizer: SmallCNN, monkeypatch: pytest.MonkeyPatch) -> None:
    """A published one does not fit into memory as floats. What comes out is in the order of the source."""
    whole = prepare(source, recognizer, PixelAutoencoder(2), 32, Run(seed=0))
    monkeypatch.setattr(FaceSet, "images", lambda *_: pytest.fail("all images at once"))
    monkeypatch.setattr("harness.diffusion.preparation.BATCH", 4)
    parts = prepare(source, recognizer, PixelAutoencoder(2), 32, Run(seed=0))
    for name in ("latents", "mirrored", "contexts"):
        torch.testing.assert_close(getattr(parts, name), getattr(whole, name), atol=1e-5, rtol=0)
    assert len(parts.latents) == len(source)
    settings = LatentFitSettings(size_px=32, network="demo", autoencoder_steps=1, steps=1, batch_size=2)
    small = fit_autoencoder(source, settings, Run(seed=0), {})
    assert len(prepare(source, None, small, 32, Run(seed=0)).contexts) == len(source)


def test_a_fit_leaves_pictures_at_its_checkpoints(source: FaceSet) -> None:
    """And drawing them does not disturb the training."""
    settings = LatentFitSettings(size_px=32, network="demo", autoencoder_steps=1, steps=40, batch_size=2)
    pictures: dict[str, bytes] = {}

    def emit(kind: str, data: dict[str, Any]) -> None:
        if kind == "picture":
            pictures[data["name"]] = data["png"]

    torch.manual_seed(5)
    before = torch.get_rng_state()
    model = Unconditional(settings).fit(Given(source=source), Run(seed=0, emit=emit))
    assert torch.equal(torch.get_rng_state(), before)
    assert list(pictures) == [f"denoiser-{step:07d}" for step in range(2, 41, 2)]
    assert decode_image(pictures["denoiser-0000040"], "").shape == (4 * 32, 4 * 32, 3)
    assert pictures["denoiser-0000002"] != pictures["denoiser-0000040"]
    assert model.kind == Unconditional.fits


@pytest.mark.parametrize("stop_after", [1, 3, 5])
def test_a_stopped_fit_goes_on_to_the_same_weights(source: FaceSet, tmp_path: Path, stop_after: int) -> None:
    """Stopped while the autoencoder is trained, at its end, and while the denoiser is."""
    settings = LatentFitSettings(size_px=32, network="demo", autoencoder_steps=3, steps=4, batch_size=2)

    def fit(**more: Any) -> Model:
        return Unconditional(settings).fit(Given(source=source), Run(seed=0, **more))

    whole, asked = fit(), iter(range(20))
    folder = tmp_path / "run"
    with pytest.raises(Stopped):
        fit(folder=folder, should_stop=lambda: next(asked) == stop_after)
    rest = fit(folder=folder)
    assert all(torch.equal(rest.tensors[name], tensor) for name, tensor in whole.tensors.items())
