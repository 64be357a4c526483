"""Contradictory settings are refused when they are read, long before anything is fitted or sampled."""

from __future__ import annotations

import shutil
import threading
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from harness.builtin.unconditional import Unconditional
from harness.components import Given, Run, SamplePlan
from harness.diffusion import settings
from harness.diffusion.latent import LatentDiffusion
from harness.diffusion.sampling import NoiseAhead, sample_images
from harness.diffusion.schedule import REFERENCE_STEPS
from harness.diffusion.settings import LatentFitSettings, LatentSampleSettings
from harness.diffusion.unet import DEMO_CONFIG, PUBLISHED_ADAGN_CONFIG, PUBLISHED_CONFIG, ConditionalUNet
from harness.testing.latent import tiny_model


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"sampler": "dpm-solver++", "eta": 0.5}, "eta 0.5"),
        ({"sampler": "dpm-solver++", "reference_quirks": True}, "reference_quirks true"),
        ({"sampler": "ddpm", "eta": 1.0}, "eta 1.0"),
        ({"sampler": "ddim", "steps": 30, "reference_quirks": True}, "steps 30"),
        ({"sampler": "ddim", "spacing": "edm", "reference_quirks": True}, "spacing 'edm'"),
        (
            {"sampler": "dpm-solver++-sde", "eta": 1.0},
            "eta 1.0: for ddim only, got sampler 'dpm-solver..-sde'; set it to 0.0",
        ),
        ({"sampler": "dpm-solver++-sde", "order": 3}, "order 3: for dpm-solver.., unipc only, .*; set it to 2"),
        ({"sampler": "heun", "order": 3}, "order 3"),
        ({"sampler": "ddim", "order": 3}, "order 3"),
        ({"sampler": "unipc", "order": 4}, "order"),
        ({"sampler": "unipc", "reference_quirks": True}, "reference_quirks true: .*; set it to false"),
        ({"sampler": "ddpm", "spacing": "log-snr"}, 'spacing "log-snr": .*; set it to null'),
        ({"steps": 1001}, "steps"),
        ({"steps": 1}, "steps"),
    ],
)
def test_what_a_sampler_does_not_take_is_refused(given: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        LatentSampleSettings(**given)


@pytest.mark.parametrize(
    "given",
    [
        {"sampler": "ddim", "eta": 1.0},
        {"sampler": "ddim", "steps": 200, "reference_quirks": True},
        {"sampler": "ddpm", "steps": 30, "reference_quirks": True},
        {"sampler": "dpm-solver++", "steps": 7},
        {"sampler": "dpm-solver++", "order": 3, "spacing": "edm"},
        {"sampler": "unipc", "order": 3, "spacing": "uniform"},
        {"sampler": "dpm-solver++-sde", "spacing": "log-snr"},
        {"sampler": "heun", "spacing": "uniform"},
        {"sampler": "ddim", "spacing": "edm"},
    ],
)
def test_what_a_sampler_takes_passes(given: dict[str, Any]) -> None:
    LatentSampleSettings(**given)


@pytest.mark.parametrize(("given", "multiple"), [({"size_px": 80}, 32), ({"size_px": 40, "autoencoder": "pixel"}, 16)])
def test_a_size_that_the_published_network_cannot_halve_is_refused(given: dict[str, Any], multiple: int) -> None:
    with pytest.raises(ValidationError, match=f"multiple of {multiple}"):
        LatentFitSettings(**given)
    LatentFitSettings(**{**given, "network": "demo"})
    LatentFitSettings(**{**given, "size_px": 2 * multiple})


def test_the_constants_are_those_of_the_networks() -> None:
    networks = {"demo": DEMO_CONFIG, "published": PUBLISHED_CONFIG, "published-adagn": PUBLISHED_ADAGN_CONFIG}
    assert settings._UNET_FACTOR.keys() == networks.keys()
    for name, config in networks.items():
        assert settings._UNET_FACTOR[name] == 2 ** (len(config.is_attention) - 1)
    assert settings.T == REFERENCE_STEPS == DEMO_CONFIG.T


def test_ddpm_keeps_its_noise_with_default_settings() -> None:
    """The setting eta is DDIM's; its default of 0 must not silence DDPM."""
    model, plan = tiny_model(), SamplePlan.grid(1, 2)
    asked: list[str] = []

    class Listening(Run):
        def noise(self, identities: Any, samples: Any, shape: Any, purpose: str, step: int = 0) -> torch.Tensor:
            asked.append(purpose)
            return super().noise(identities, samples, shape, purpose, step) * (0.0 if purpose == self.silent else 1.0)

        silent = ""

    parts, run = LatentDiffusion.from_model(model), Listening(seed=0)

    def draw() -> Any:
        return sample_images(parts, plan, run, lambda x, t: torch.zeros_like(x), LatentSampleSettings(sampler="ddpm"))

    noisy = draw()
    run.silent = "sampler"
    assert (noisy != draw()).any()
    assert asked.count("sampler") == 2 * (parts.schedule.T - 1)


def test_noise_is_drawn_while_the_network_works() -> None:
    """The next step's in a thread, the same numbers, each once, and none that nobody asks for."""
    drawn, last = [], threading.Event()

    def draw(t: int) -> torch.Tensor:
        drawn.append((t, threading.current_thread() is threading.main_thread()))
        if t == 3:
            last.set()
        return torch.full((2,), float(t))

    with NoiseAhead(draw, [9, 6, 3]) as noise:
        assert not drawn
        assert noise(9).tolist() == [9.0, 9.0]
        assert noise(6).tolist() == [6.0, 6.0]
        assert last.wait(10), "the third is drawn before it is asked for"
        assert noise(3).tolist() == [3.0, 3.0]
        assert noise(1).tolist() == [1.0, 1.0]
    assert drawn == [(9, True), (6, False), (3, False), (1, True)]


def test_a_fault_of_the_noise_is_told() -> None:
    def draw(t: int) -> torch.Tensor:
        if t == 6:
            raise MemoryError
        return torch.zeros(1)

    with NoiseAhead(draw, [9, 6]) as noise:
        noise(9)
        with pytest.raises(MemoryError):
            noise(6)


def test_bfloat16_is_close_and_enters_the_key() -> None:
    parts = LatentDiffusion.from_model(tiny_model())
    half = LatentDiffusion.from_model(tiny_model(), dtype="bfloat16")
    assert next(half.unet.parameters()).dtype == torch.bfloat16
    assert next(half.autoencoder.parameters()).dtype == torch.float32
    x, t, context = torch.randn(4, 4, 8, 8), torch.full((4,), 7), torch.randn(4, 16)
    with torch.no_grad():
        eps, rough = parts.unet(x, t, context), half.unet(x, t, half.unet.contextualize(context))
    assert rough.dtype == torch.float32
    error = float((rough - eps).square().mean().sqrt() / eps.square().mean().sqrt())
    assert 0 < error < 0.05


@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="needs a C++ compiler")
@pytest.mark.slow
def test_a_compiled_denoiser_changes_images_by_rounding_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    model, plan, compiled = tiny_model(), SamplePlan.grid(2, 2), []
    monkeypatch.setattr(ConditionalUNet, "compile", lambda unet: compiled.append(unet) or nn.Module.compile(unet))

    def images(**settings: Any) -> np.ndarray:
        generator = Unconditional(LatentSampleSettings(steps=2, **settings))
        return np.concatenate([batch.images for batch in generator.sample(plan, Given(model=model), Run(seed=0))])

    assert np.abs(images(compile=True).astype(int) - images()).max() <= 1
    assert len(compiled) == 1
