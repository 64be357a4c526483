"""Heun's method of second order (EDM's deterministic sampler).

Source: EDM, arXiv 2206.00364, algorithm 1, on a model that predicts the noise of a variance preserving process: with
x_t = sqrt(ab) x and sigma_t = sqrt((1 - ab) / ab), its dx/dsigma is the predicted noise.
Letters: B batch, C channels, H, W pixels, T diffusion steps.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from harness.diffusion.samplers.spacing import Spacing, edm_steps
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
    spacing: Spacing = edm_steps,
) -> Tensor:
    """Draw images with two network calls a step: along the slope here, then along the mean of it and the slope there.

    Args:
        denoise: noise predictor, in evaluation mode; its mode is left alone.
        x_T: standard normal noise, float [B, C, H, W].
        schedule: the noise levels the model was trained with.
        steps: number of steps n, at most T; the network is called 2 n - 1 times, since the last is Euler's.
        noise: never asked for, the sampler is deterministic given x_T.
        on_step: called after each step.
        spacing: which steps are visited.

    Returns:
        x_0, float [B, C, H, W]; estimates of x_0 are not clipped.
    """
    visited = spacing(schedule, steps)
    x = x_T / math.sqrt(schedule.alpha_bar(visited[-1]))  # on EDM's scale: the clean image plus sigma times noise
    for i in reversed(range(steps)):
        t, t_next = visited[i], visited[i - 1] if i > 0 else -1
        h = schedule.sigma(t_next) - schedule.sigma(t)
        slope = _slope(denoise, x, schedule, t)
        there = x + h * slope
        x = there if i == 0 else x + h * 0.5 * (slope + _slope(denoise, there, schedule, t_next))
        if on_step is not None:
            on_step(t, x * math.sqrt(schedule.alpha_bar(t_next)))
    return x


def _slope(denoise: Denoiser, x: Tensor, schedule: Schedule, t: int) -> Tensor:
    return denoise(x * math.sqrt(schedule.alpha_bar(t)), torch.full((len(x),), t, device=x.device))
