"""Multistep sampling of second order (DPM-Solver++ 2M).

Source: DPM-Solver++, arXiv 2211.01095, algorithm 2 (data prediction), with first order at the last step.
Letters: B batch, C channels, H, W pixels, T diffusion steps.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence

import torch
from torch import Tensor

from harness.diffusion.samplers.types import Denoiser, Noise, OnStep
from harness.diffusion.schedule import Schedule, spaced_steps


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
) -> Tensor:
    """Draw images in few steps: extrapolate the estimate of x_0 from the last two, then go to the next level.

    Args:
        denoise: noise predictor, in evaluation mode; its mode is left alone.
        x_T: standard normal noise, float [B, C, H, W].
        schedule: the noise levels the model was trained with.
        steps: number of steps, at most T; need not divide T.
        noise: never asked for, the sampler is deterministic given x_T.
        on_step: called after each step.
        reference_quirks: refused; the published code has no such sampler.
        eta: 0; anything else is refused.

    Returns:
        x_0, float [B, C, H, W]; estimates of x_0 are not clipped.
    """
    if eta != 0.0:
        raise ValueError(f"dpm-solver++ is deterministic: eta must be 0, got {eta}; ddim takes an eta")
    if reference_quirks:
        raise ValueError("the published code has no dpm-solver++, so there are no reference_quirks to repeat")
    visited = log_snr_steps(schedule, steps)
    before: tuple[float, Tensor] | None = None  # lambda and estimate of x_0 at the step before
    x = x_T
    for i in reversed(range(steps)):
        t = visited[i]
        level, here = schedule.alpha_bar(t), log_snr(schedule, t)
        eps = denoise(x, torch.full((len(x),), t, device=x.device))
        x_0 = (x - math.sqrt(1.0 - level) * eps) / math.sqrt(level)
        x = x_0 if i == 0 else _step(x, x_0, before, schedule, t, visited[i - 1])
        before = here, x_0
        if on_step is not None:
            on_step(t, x)
    return x


def _step(
    x: Tensor, x_0: Tensor, before: tuple[float, Tensor] | None, schedule: Schedule, t: int, t_next: int
) -> Tensor:
    """x at ``t_next`` from x and the estimate of x_0 at ``t``; of first order where there is no step before."""
    level, level_next = schedule.alpha_bar(t), schedule.alpha_bar(t_next)
    here = log_snr(schedule, t)
    h = log_snr(schedule, t_next) - here
    d = x_0
    if before is not None:
        half = 0.5 * h / (here - before[0])  # 1 / (2 r) of the paper
        d = (1.0 + half) * x_0 - half * before[1]
    return math.sqrt((1.0 - level_next) / (1.0 - level)) * x - math.sqrt(level_next) * math.expm1(-h) * d


def log_snr(schedule: Schedule, t: int) -> float:
    """lambda = log(alpha / sigma), half the log of the signal-to-noise ratio, at step ``t``."""
    level = schedule.alpha_bar(t)
    return 0.5 * math.log(level / (1.0 - level))


def log_snr_steps(schedule: Schedule, steps: int) -> Sequence[int]:
    """The step indices that the sampler visits, ascending: evenly spaced in lambda between DDIM's first and last.

    Exactly ``steps`` of them: indices that would coincide move to the next free one. Evenly spaced indices, as DDIM has
    them, leave a gap in lambda before t = 0 over which two estimates extrapolate badly: on analytic mixtures that is
    worse than DDIM at 10 and 20 steps, and this is better than DDIM at every number of steps.
    """
    last = spaced_steps(schedule.T, steps)[-1]
    levels = [-log_snr(schedule, t) for t in range(last + 1)]  # ascending
    visited: list[int] = []
    for i in range(steps):
        target = levels[0] + (levels[-1] - levels[0]) * i / max(1, steps - 1)
        t = bisect_left(levels, target, hi=last)
        if t > 0 and target - levels[t - 1] < levels[t] - target:
            t -= 1
        least = visited[-1] + 1 if visited else 0
        visited.append(max(least, min(t, last - (steps - 1 - i))))
    return visited
