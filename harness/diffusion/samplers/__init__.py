"""Samplers: pure functions from noise to images, one module per method."""

from __future__ import annotations

from harness.diffusion.samplers import ddim, ddpm, dpm_solver, dpm_solver_sde, heun, unipc
from harness.diffusion.samplers.spacing import SPACINGS, Spacing
from harness.diffusion.samplers.types import (
    ConditionalDenoiser,
    Context,
    Denoiser,
    Noise,
    OnStep,
    Sampler,
    bind,
)

SAMPLERS: dict[str, Sampler] = {
    "ddpm": ddpm.sample,
    "ddim": ddim.sample,
    "dpm-solver++": dpm_solver.sample,
    "dpm-solver++-sde": dpm_solver_sde.sample,
    "unipc": unipc.sample,
    "heun": heun.sample,
}

OWN_SPACING: dict[str, str] = {"ddpm": "uniform", "ddim": "uniform", "heun": "edm"} | dict.fromkeys(
    ("dpm-solver++", "dpm-solver++-sde", "unipc"), "log-snr"
)
"""Where no spacing is asked for; the same as the samplers' defaults."""

__all__ = [
    "OWN_SPACING",
    "SAMPLERS",
    "SPACINGS",
    "ConditionalDenoiser",
    "Context",
    "Denoiser",
    "Noise",
    "OnStep",
    "Sampler",
    "Spacing",
    "bind",
]
