"""Stochastic multistep sampling of second order (SDE-DPM-Solver++ 2M).

Source: DPM-Solver++, arXiv 2211.01095, SDE-DPM-Solver++(2M), with first order at the last step.
Letters: B batch, C channels, H, W pixels, T diffusion steps.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from harness.diffusion.samplers.exponential import Estimate, estimate, mean_estimate
from harness.diffusion.samplers.spacing import Spacing, log_snr_steps
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
    spacing: Spacing = log_snr_steps,
) -> Tensor:
    """Draw images in few steps with fresh noise at every step but the last.

    Args:
        denoise: noise predictor, in evaluation mode; its mode is left alone.
        x_T: standard normal noise, float [B, C, H, W].
        schedule: the noise levels the model was trained with.
        steps: number of steps, at most T; need not divide T.
        noise: noise of step t, asked for at every step but the last.
        on_step: called after each step.
        spacing: which steps are visited.

    Returns:
        x_0, float [B, C, H, W]; estimates of x_0 are not clipped.
    """
    visited = spacing(schedule, steps)
    before: list[Estimate] = []
    x = x_T
    for i in reversed(range(steps)):
        t = visited[i]
        here = estimate(denoise, x, schedule, t)
        x = here[1] if i == 0 else _step(x, here, before, schedule, t, visited[i - 1], noise)
        before = [here]
        if on_step is not None:
            on_step(t, x)
    return x


def _step(
    x: Tensor, here: Estimate, before: list[Estimate], schedule: Schedule, t: int, t_next: int, noise: Noise
) -> Tensor:
    level, level_next = schedule.alpha_bar(t), schedule.alpha_bar(t_next)
    h = schedule.log_snr(t_next) - here[0]
    fresh = -math.expm1(-2.0 * h)  # share of the variance that is drawn anew
    kept = math.sqrt((1.0 - level_next) / (1.0 - level)) * math.exp(-h) * x
    towards = math.sqrt(level_next) * fresh * mean_estimate(here, before, h)
    return kept + towards + math.sqrt((1.0 - level_next) * fresh) * noise(t)
