"""Ancestral sampling (DDPM).

Source: DDPM, arXiv 2006.11239, algorithm 2, variance beta_t; used by IDiff-Face, arXiv 2308.04995.
Letters: B batch, C channels, H, W pixels, T diffusion steps.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from harness.diffusion.samplers.spacing import Spacing, uniform_steps
from harness.diffusion.samplers.types import Denoiser, Noise, OnStep
from harness.diffusion.schedule import Schedule


@torch.no_grad()
def sample(
    denoise: Denoiser,
    x_T: Tensor,
    schedule: Schedule,
    *,
    steps: int,
    noise: Noise,
    on_step: OnStep | None = None,
    reference_quirks: bool = False,
    eta: float = 1.0,
    spacing: Spacing = uniform_steps,
) -> Tensor:
    """Draw images step by step with fresh noise at every step but the last.

    Args:
        denoise: noise predictor, in evaluation mode; its mode is left alone.
        x_T: standard normal noise, float [B, C, H, W].
        schedule: the noise levels the model was trained with.
        steps: T for the published sampler. With fewer, the process is respaced: beta becomes 1 minus the product of
            alphas since the next lower visited step.
        noise: noise of step t, asked for at every step but the last.
        on_step: called after each step.
        reference_quirks: do as the published code, which adds no noise at t = 1 either; needs steps = T.
        eta: scale of the added noise; 1 is DDPM.
        spacing: which steps are visited, with fewer than T.

    Returns:
        x_0, float [B, C, H, W]; predictions of x_0 are not clipped on the way.
    """
    if reference_quirks and steps != schedule.T:
        raise ValueError(f"the reference's DDPM takes all T = {schedule.T} steps, got {steps}")
    visited = spacing(schedule, steps)
    last_noisy = 2 if reference_quirks else 1
    x = x_T
    for i in reversed(range(steps)):
        t, t_prev = visited[i], visited[i - 1] if i > 0 else -1
        alpha = schedule.alpha_between(t, t_prev)
        eps = denoise(x, torch.full((len(x),), t, device=x.device))
        x = (x - (1.0 - alpha) / math.sqrt(1.0 - schedule.alpha_bar(t)) * eps) / math.sqrt(alpha)
        if i >= last_noisy:
            x = x + eta * math.sqrt(1.0 - alpha) * noise(t)
        if on_step is not None:
            on_step(t, x)
    return x
