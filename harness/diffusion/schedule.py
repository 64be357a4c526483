"""The noise schedule of the diffusion models, and the steps that a sampler visits.

Letters: T diffusion steps, B batch, C channels, H, W pixels. Step indices t start at 0 (almost clean) and end at T-1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

BETA_FIRST = 1e-4  # at T = 1000. Source: DDPM, arXiv 2006.11239, section 4; IDiff-Face keeps it
BETA_LAST = 0.02  # at T = 1000. Same source
REFERENCE_STEPS = 1000  # both ends scale with REFERENCE_STEPS / T


@dataclass(frozen=True)
class Schedule:
    """Noise levels of a diffusion process.

    Attributes:
        betas: float32 [T], variance added at each step.
        alpha_bars: float32 [T], share of the clean signal's variance left after each step.
    """

    betas: Tensor
    alpha_bars: Tensor

    @property
    def T(self) -> int:  # noqa: N802 (the paper's symbol)
        """Number of diffusion steps."""
        return int(self.betas.shape[0])

    def alpha_bar(self, t: int) -> float:
        """The level at step ``t``; 1.0 (clean) for any index before the first."""
        return 1.0 if t < 0 else float(self.alpha_bars[t])

    def log_snr(self, t: int) -> float:
        """lambda = log(sqrt(ab) / sqrt(1 - ab)), half the log of the signal-to-noise ratio, at step ``t``."""
        level = self.alpha_bar(t)
        return 0.5 * math.log(level / (1.0 - level))

    def sigma(self, t: int) -> float:
        """sqrt(1 - ab) / sqrt(ab), the noise beside a clean image of scale 1 (EDM's sigma); 0 before the first step."""
        level = self.alpha_bar(t)
        return math.sqrt((1.0 - level) / level)

    def alpha_between(self, t: int, t_prev: int) -> float:
        """Product of alpha = 1 - beta over the steps after ``t_prev`` up to ``t``, in float64.

        The quotient of two alpha_bars would lose the small betas to float32 rounding.
        """
        return float((1.0 - self.betas[t_prev + 1 : t + 1].double()).prod())

    def levels(self, t: Tensor) -> Tensor:
        """alpha_bars at integer steps t [B], shaped [B, 1, 1, 1] for broadcasting over images."""
        return self.alpha_bars.to(t.device)[t].reshape(-1, 1, 1, 1)

    def add_noise(self, x_0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """x_t = sqrt(ab[t]) x_0 + sqrt(1 - ab[t]) noise, for x_0 and noise [B, C, H, W], t [B]."""
        level = self.levels(t)  # [B, 1, 1, 1]
        return level.sqrt() * x_0 + (1.0 - level).sqrt() * noise

    def predict_x_0(self, x_t: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """The clean image that x_t [B, C, H, W] and its noise estimate eps imply; not clipped."""
        level = self.levels(t)  # [B, 1, 1, 1]
        return (x_t - (1.0 - level).sqrt() * eps) / level.sqrt()


@lru_cache(maxsize=4)
def linear_schedule(T: int = REFERENCE_STEPS) -> Schedule:
    """The linear schedule of DDPM and IDiff-Face, rescaled to T steps.

    Args:
        T: number of diffusion steps, at least 21 (below, the last beta would reach 1).

    Source: DDPM, arXiv 2006.11239, section 4; rescaling as in the IDiff-Face code.
    """
    scale = REFERENCE_STEPS / T if T > 0 else float("inf")
    if scale * BETA_LAST >= 1.0:
        raise ValueError(f"the schedule needs T > {int(REFERENCE_STEPS * BETA_LAST)} diffusion steps, got {T}")
    betas = torch.linspace(BETA_FIRST * scale, BETA_LAST * scale, T, dtype=torch.float32)
    return Schedule(betas=betas, alpha_bars=torch.exp(torch.cumsum(torch.log(1.0 - betas), dim=0)))


def spaced_steps(T: int, steps: int) -> Sequence[int]:
    """The step indices that a sampler of ``steps`` steps visits, ascending: floor(i T / steps).

    Exactly ``steps`` of them, whether or not steps divides T; when it does, these are 0, skip, 2 skip, ..., T - skip.
    """
    if not 1 <= steps <= T:
        raise ValueError(f"a sampler takes between 1 and T = {T} steps, got {steps}")
    return [i * T // steps for i in range(steps)]
