"""IDiff-Face: an image is a function of (seed, identity, sample) alone; a fit keeps all that sampling needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from harness_idiffface.generator import IDiffFace, IDiffFaceFitSettings
from pydantic import ValidationError

from harness.builtin.small_cnn import SmallCNN, SmallCNNSettings
from harness.components import Crop, Given, Model, Request, Run, SamplePlan
from harness.diffusion.latent import LatentDiffusion
from harness.diffusion.settings import LatentSampleSettings
from harness.errors import StageError
from harness.faces.faceset import FaceSet, ShardWriter, write_items

GRAY_LEVELS = 2  # by which rounding may move a pixel when batches differ


class Recording(Run):
    """Keeps every draw of noise by what it was for."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.drawn: dict[tuple[int, int, str, int], torch.Tensor] = {}

    def noise(self, identities: Any, samples: Any, shape: Any, purpose: str, step: int = 0) -> torch.Tensor:
        values = super().noise(identities, samples, shape, purpose, step)
        for row, key in enumerate(zip(identities, samples, strict=True)):
            self.drawn[(*key, purpose, step)] = values[row]
        return values


def images(model: Model, plan: SamplePlan, run: Run, **settings: Any) -> np.ndarray:
    generator = IDiffFace(LatentSampleSettings(**{"steps": 3, **settings}))
    batches = list(generator.sample(plan, Given(model=model), run))
    assert np.array_equal(np.concatenate([batch.identities for batch in batches]), plan.identities)
    assert np.array_equal(np.concatenate([batch.samples for batch in batches]), plan.samples)
    return np.concatenate([batch.images for batch in batches])


@pytest.fixture
def plan(contexts: np.ndarray) -> SamplePlan:
    return IDiffFace().plan(Request(6, 3), Given(contexts=contexts), Run(seed=0))


def distance(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.abs(a.astype(int) - b.astype(int)).max())


def test_the_plan_is_the_full_grid_over_the_contexts(plan: SamplePlan, contexts: np.ndarray) -> None:
    assert len(plan) == 18
    assert np.array_equal(plan.pool["context"], contexts)


@pytest.mark.parametrize("sampler", [{"sampler": "ddim", "eta": 0.5}, {"sampler": "ddpm"}])
def test_batches_change_neither_noise_nor_images(model: Model, plan: SamplePlan, sampler: dict[str, Any]) -> None:
    small, large = Recording(seed=0), Recording(seed=0)
    a = images(model, plan, small, batch_size=3, **sampler)
    b = images(model, plan, large, batch_size=16, **sampler)
    assert small.drawn.keys() == large.drawn.keys()
    assert all(torch.equal(small.drawn[key], large.drawn[key]) for key in small.drawn)
    assert a.dtype == np.uint8
    assert a.shape == (18, 32, 32, 3)
    if sampler["sampler"] == "ddim":  # all steps of DDPM, unclipped, drive a random model into black and white
        assert 20 < a.std() < 100  # pictures with contrast, or the next line would say nothing
    assert distance(a, b) <= GRAY_LEVELS


def test_another_slice_gives_the_same_images(model: Model, plan: SamplePlan) -> None:
    whole = images(model, plan, Run(seed=0), batch_size=16)
    part = images(model, plan.rows(7, 13), Run(seed=0), batch_size=4)
    assert distance(whole[7:13], part) <= GRAY_LEVELS


def test_images_differ_by_sample_identity_and_seed(model: Model, plan: SamplePlan) -> None:
    a, b = (images(model, plan, Run(seed=seed)) for seed in (0, 1))
    for first, second in ((a[0], a[1]), (a[0], a[3]), (a[0], b[0])):
        assert distance(first, second) > 10 * GRAY_LEVELS


def test_the_context_matters(model: Model, plan: SamplePlan) -> None:
    swapped = SamplePlan(plan.identities, plan.samples, pool={"context": plan.pool["context"][::-1].copy()})
    a, b = images(model, plan, Run(seed=0)), images(model, swapped, Run(seed=0))
    assert distance(a, b) > 2 * GRAY_LEVELS


def test_batch_size_is_no_part_of_the_key() -> None:
    small, large = (IDiffFace(LatentSampleSettings(batch_size=size)).identity() for size in (3, 16))
    assert small == large
    fits = (IDiffFace(IDiffFaceFitSettings(batch_size=size)).identity() for size in (3, 16))
    assert next(fits) != next(fits)


@pytest.mark.parametrize("wrong", [{"cpd": 1.0}, {"cpd": -0.1}, {"size_px": 33}, {"network": "big"}, {"keep": "none"}])
def test_settings_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        IDiffFaceFitSettings(**wrong)


@pytest.fixture
def source(tmp_path: Path) -> FaceSet:
    """Twelve noisy faces of three people."""
    writer, random = ShardWriter(tmp_path, 0), np.random.default_rng(0)
    for person in range(3):
        for sample in range(4):
            writer.add(person, sample, random.integers(60 * person, 60 * person + 90, (32, 32, 3), dtype=np.uint8))
    writer.close()
    write_items(tmp_path, 1)
    return FaceSet(tmp_path, Crop("raw", 32))


def recognizer() -> SmallCNN:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return SmallCNN(SmallCNNSettings(width=16), Crop("raw", 32))


SHORT = {"size_px": 32, "network": "demo", "autoencoder_steps": 2, "steps": 2, "batch_size": 4}


def test_a_fit_gives_all_that_sampling_needs(source: FaceSet, contexts: np.ndarray) -> None:
    settings = IDiffFaceFitSettings(**SHORT, cpd=0.5, save="float16")
    model = IDiffFace(settings).fit(Given(source=source, recognizer=recognizer()), Run(seed=3))
    assert model.kind == IDiffFace.fits == "latent-diffusion/1"
    assert {tensor.dtype for tensor in model.tensors.values()} == {torch.float16}
    parts = LatentDiffusion.from_model(model)
    assert parts.unet.config.context_input_channels == 16
    assert parts.unet.config.context_dropout_probability == 0.5
    assert parts.unet.config.whole_context_dropout_probability == 0.0
    assert not parts.unet.training
    plan = IDiffFace().plan(Request(2, 1), Given(contexts=contexts[:2]), Run(seed=0))
    assert images(model, plan, Run(seed=0), steps=2).shape == (2, 32, 32, 3)


def test_a_fit_on_pixels(source: FaceSet, contexts: np.ndarray) -> None:
    """Pixel diffusion: the same network on the picture itself, whose 2 x 2 blocks become channels."""
    settings = IDiffFaceFitSettings(**SHORT, autoencoder="pixel")
    model = IDiffFace(settings).fit(Given(source=source, recognizer=recognizer()), Run(seed=3))
    parts = LatentDiffusion.from_model(model)
    assert model.settings["first_stage"]["kind"] == "pixel"
    assert parts.latent_shape == (12, 16, 16)
    assert not [name for name in model.tensors if name.startswith("first_stage.")]
    plan = IDiffFace().plan(Request(2, 1), Given(contexts=contexts[:2]), Run(seed=0))
    assert images(model, plan, Run(seed=0), steps=2).shape == (2, 32, 32, 3)


def test_a_fit_needs_a_recognizer(source: FaceSet) -> None:
    assert "recognizer" in IDiffFace.fit_needs
    with pytest.raises(StageError, match=r"given\.recognizer"):
        IDiffFace(IDiffFaceFitSettings(**SHORT)).fit(Given(source=source), Run(seed=0))
