"""What DPM-Solver++ and UniPC share: the flow in lambda, with a polynomial through estimates of x_0.

From step s to step t, with h = lambda_t - lambda_s, the flow is exactly

    x_t = sigma_t / sigma_s x_s + alpha_t int_0^1 h exp(-h (1 - r)) x_0(lambda_s + r h) dr

and for a constant x_0 the integral is (1 - exp(-h)) x_0. A solver puts in the polynomial through the estimates of x_0
that it has, which is the same as a constant: a weighted mean of these estimates.

Letters: B batch, C channels, H, W pixels. Sources: DPM-Solver++, arXiv 2211.01095; UniPC, arXiv 2302.04867, for data
prediction and B(h) = exp(h) - 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from harness.diffusion.samplers.types import Denoiser
from harness.diffusion.schedule import Schedule

Estimate = tuple[float, Tensor]
"""lambda, and the estimate of x_0 [B, C, H, W] made there."""


def estimate(denoise: Denoiser, x: Tensor, schedule: Schedule, t: int) -> Estimate:
    """The clean image that x [B, C, H, W] at step ``t`` implies; one call of the network."""
    level = schedule.alpha_bar(t)
    eps = denoise(x, torch.full((len(x),), t, device=x.device))
    return schedule.log_snr(t), (x - math.sqrt(1.0 - level) * eps) / math.sqrt(level)


def advance(x: Tensor, here: Estimate, others: Sequence[Estimate], schedule: Schedule, t: int, t_next: int) -> Tensor:
    """x at ``t_next`` from x at ``t``, the estimate there and others, whose number is the order less one."""
    level, level_next = schedule.alpha_bar(t), schedule.alpha_bar(t_next)
    h = schedule.log_snr(t_next) - here[0]
    d = mean_estimate(here, others, h)
    return math.sqrt((1.0 - level_next) / (1.0 - level)) * x - math.sqrt(level_next) * math.expm1(-h) * d


def mean_estimate(here: Estimate, others: Sequence[Estimate], h: float) -> Tensor:
    """The constant x_0 that a step of length ``h`` puts in for the polynomial through these estimates."""
    shares = _shares(h, [other[0] - here[0] for other in others])
    d = (1.0 - sum(shares)) * here[1]
    for share, (_, x_0) in zip(shares, others, strict=True):
        d = d + share * x_0
    return d


def _shares(h: float, offsets: Sequence[float]) -> list[float]:
    """The weight of each further estimate, at lambda_s plus its offset.

    With one of them it is half its extrapolation, as published: of second order for any h. With more they integrate the
    polynomial exactly: sum_k w_k r_k^n = J_n for n = 1, 2, ..., r_k being offsets in units of h and
    J_n = int_0^1 h exp(-h (1 - r)) r^n dr, by parts 1 - n / h J_{n-1}; a share is w_k / J_0.
    """
    if not offsets:
        return []
    if len(offsets) == 1:
        return [0.5 * h / offsets[0]]
    whole = integral = -math.expm1(-h)
    r, powers, integrals = np.array(offsets) / h, [], []
    for n in range(1, len(offsets) + 1):
        integral = 1.0 - n / h * integral
        integrals.append(integral)
        powers.append(r**n)
    shares: list[float] = (np.linalg.solve(np.stack(powers), np.array(integrals)) / whole).tolist()
    return shares
