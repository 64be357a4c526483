"""Predictor and corrector of one network call (UniPC), of second or third order.

Source: UniPC, arXiv 2302.04867, for data prediction and B(h) = exp(h) - 1, with lower orders towards the end and first
order at the last step.
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
    """Draw images in few steps: go to the next level as DPM-Solver++ does, and once more with the estimate found there.

    The corrected image is where the next step starts. Its own estimate is not made anew, so a step costs one call.

    Args:
        denoise: noise predictor, in evaluation mode; its mode is left alone.
        x_T: standard normal noise, float [B, C, H, W].
        schedule: the noise levels the model was trained with.
        steps: number of steps, at most T; need not divide T.
        noise: never asked for, the sampler is deterministic given x_T.
        on_step: called after each step.
        spacing: which steps are visited.
        order: of the predictor; the corrector's is one higher.

    Returns:
        x_0, float [B, C, H, W]; estimates of x_0 are not clipped.
    """
    visited = spacing(schedule, steps)
    known: list[Estimate] = []  # the latest first
    x, x_before = x_T, x_T
    for i in reversed(range(steps)):
        t = visited[i]
        here = estimate(denoise, x, schedule, t)
        if known:
            x = advance(x_before, known[0], [*known[1:], here], schedule, visited[i + 1], t)
        known = [here, *known][: min(order, i + 1)]
        x_before = x
        x = here[1] if i == 0 else advance(x, here, known[1:], schedule, t, visited[i - 1])
        if on_step is not None:
            on_step(t, x)
    return x
