"""Guidance away from a negative context.

Letters: B batch, C channels, H, W pixels, E context width, T diffusion steps.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from harness.diffusion.samplers.types import ConditionalDenoiser, Context
from harness.diffusion.unet import Contextualized

Weight = float | Callable[[Tensor], Tensor]
"""A constant w, or a function of the diffusion steps t [B] (0-based) giving w_t [B]."""


def adaptive(weight: float, T: int) -> Weight:
    """w_t = w (1 - t / T): strong at the clean end. Source: AdaptDiff, as in the NegFaceDiff code."""
    return lambda t: weight * (1.0 - t.float() / T)


def reverse_adaptive(weight: float, T: int) -> Weight:
    """w_t = w t / T: strong at the noisy end. Source: as :func:`adaptive`."""
    return lambda t: weight * t.float() / T


def concatenate(first: Context, second: Context) -> Context:
    """Join two contexts of the same kind along the batch."""
    if isinstance(first, Contextualized) and isinstance(second, Contextualized):
        return Contextualized.concatenate([first, second])
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return torch.cat([first, second])
    raise TypeError("contexts and negative contexts must both be tensors or both be contextualized")


def with_negative(
    denoise: ConditionalDenoiser, negative: Context, weight: Weight, interval: tuple[int, int] | None = None
) -> ConditionalDenoiser:
    """Steer every noise estimate away from a negative identity.

    Args:
        denoise: maps x_t [B, C, H, W], t [B], contexts to predicted noise [B, C, H, W].
        negative: contexts to move away from, one per image, of the kind that the contexts will be.
        weight: guidance weight w, at least 0, or a function of t; 0 returns ``denoise`` itself. The authors use 0.5.
        interval: least and greatest diffusion step t at which to steer; at others ``denoise`` is called once, for half
            the work. None: at all steps.

    Returns:
        A denoiser that makes both predictions in one batch of 2B; every operation of the network is per sample, so
        the numbers are those of two calls up to rounding.

    Source: NegFaceDiff, arXiv 2508.09661; weights in steps as in AdaptDiff; the interval as in Kynkaanniemi et al.,
    arXiv 2404.07724, there in noise levels and for guidance of classes.
    """
    if not callable(weight):
        if weight < 0.0:
            raise ValueError(f"a guidance weight is at least 0, got {weight}")
        if weight == 0.0:
            return denoise
    last: tuple[Context, Context] | None = None

    def joined(context: Context) -> Context:
        # a contextualized context is the same frozen object at every step, and large: join it once
        nonlocal last
        if isinstance(context, Tensor):
            return concatenate(context, negative)
        if last is None or last[0] is not context:
            last = (context, concatenate(context, negative))
        return last[1]

    def guided(x_t: Tensor, t: Tensor, context: Context) -> Tensor:
        if interval is not None and not interval[0] <= int(t[0]) <= interval[1]:
            return denoise(x_t, t, context)
        both = denoise(torch.cat([x_t, x_t]), torch.cat([t, t]), joined(context))  # [2B, C, H, W]
        eps_positive, eps_negative = both.chunk(2)
        w = weight(t).to(both).reshape(-1, 1, 1, 1) if callable(weight) else weight
        return (1.0 + w) * eps_positive - w * eps_negative

    return guided
