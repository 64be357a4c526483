"""Samplers: pure functions from noise to images, one module per method."""

from __future__ import annotations

from harness.diffusion.samplers import ddim, ddpm, dpm_solver
from harness.diffusion.samplers.types import (
    ConditionalDenoiser,
    Context,
    Denoiser,
    Noise,
    OnStep,
    Sampler,
    bind,
)

SAMPLERS: dict[str, Sampler] = {"ddpm": ddpm.sample, "ddim": ddim.sample, "dpm-solver++": dpm_solver.sample}

__all__ = ["SAMPLERS", "ConditionalDenoiser", "Context", "Denoiser", "Noise", "OnStep", "Sampler", "bind"]
