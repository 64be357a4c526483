"""Implicit sampling (DDIM).

Source: DDIM, arXiv 2010.02502, equation 12; used by NegFaceDiff, arXiv 2508.09661.
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
    eta: float = 0.0,
    spacing: Spacing = uniform_steps,
) -> Tensor:
    """Draw images in few steps: estimate x_0, then return to the next lower visited noise level.

    Args:
        denoise: noise predictor, in evaluation mode; its mode is left alone.
        x_T: standard normal noise, float [B, C, H, W].
        schedule: the noise levels the model was trained with.
        steps: number of steps, at most T; need not divide T.
        noise: noise of step t; asked for only where eta > 0, and never at the last step.
        on_step: called after each step.
        reference_quirks: do as the published code, which returns to the level one index below the one that the next
            step assumes; needs steps to divide T.
        eta: 0 is deterministic given x_T, 1 adds as much noise as DDPM's smaller variance.
        spacing: which steps are visited.

    Returns:
        x_0, float [B, C, H, W]; estimates of x_0 are not clipped.
    """
    if reference_quirks and schedule.T % steps:
        raise ValueError(f"the reference's DDIM needs a number of steps that divides T = {schedule.T}, got {steps}")
    visited = spacing(schedule, steps)
    x = x_T
    for i in reversed(range(steps)):
        t, t_prev = visited[i], visited[i - 1] if i > 0 else -1
        if reference_quirks:
            t_prev = t - schedule.T // steps - 1
        x = _step(denoise, x, schedule, t, t_prev, noise, eta)
        if on_step is not None:
            on_step(t, x)
    return x


def _step(denoise: Denoiser, x: Tensor, schedule: Schedule, t: int, t_prev: int, noise: Noise, eta: float) -> Tensor:
    level, level_prev = schedule.alpha_bar(t), schedule.alpha_bar(t_prev)
    eps = denoise(x, torch.full((len(x),), t, device=x.device))
    x_0 = (x - math.sqrt(1.0 - level) * eps) / math.sqrt(level)
    sigma = eta * math.sqrt((1.0 - level_prev) / (1.0 - level) * (1.0 - level / level_prev))
    x = math.sqrt(level_prev) * x_0 + math.sqrt(max(0.0, 1.0 - level_prev - sigma**2)) * eps
    return x + sigma * noise(t) if sigma > 0.0 else x
