"""Multistep sampling of second or third order (DPM-Solver++ 2M and 3M).

Source: DPM-Solver++, arXiv 2211.01095, algorithm 2 (data prediction), with first order at the last step. Its text stops
at order 2; for order 3 the polynomial through three estimates is integrated exactly, which is UniPC's predictor (arXiv
2302.04867). What common code calls 3M halves the polynomial's last term and is of second order.
Letters: B batch, C channels, H, W pixels, T diffusion steps.
"""

from __future__ import annotations

import torch
from torch import Tensor

from harness.diffusion.samplers.exponential import Estimate, advance, estimate
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
    order: int = 2,
) -> Tensor:
    """Draw images in few steps: extrapolate the estimate of x_0 from the last ones, then go to the next level.

    Args:
        denoise: noise predictor, in evaluation mode; its mode is left alone.
        x_T: standard normal noise, float [B, C, H, W].
        schedule: the noise levels the model was trained with.
        steps: number of steps, at most T; need not divide T.
        noise: never asked for, the sampler is deterministic given x_T.
        on_step: called after each step.
        spacing: which steps are visited.
        order: how many estimates a step uses; fewer at first, and towards the end, where the last step uses one.

    Returns:
        x_0, float [B, C, H, W]; estimates of x_0 are not clipped.
    """
    visited = spacing(schedule, steps)
    before: list[Estimate] = []  # the latest first
    x = x_T
    for i in reversed(range(steps)):
        t = visited[i]
        here = estimate(denoise, x, schedule, t)
        x = here[1] if i == 0 else advance(x, here, before[: min(order - 1, i)], schedule, t, visited[i - 1])
        before = [here, *before][: order - 1]
        if on_step is not None:
            on_step(t, x)
    return x
