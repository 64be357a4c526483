"""The types that samplers and guidance share.

Letters: B batch, C channels, H, W pixels.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from harness.diffusion.unet import ConditionalUNet, Contextualized

Context = Tensor | Contextualized
"""Raw contexts [B, E], or what the network made of them once."""

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""x_t [B, C, H, W], t [B] (0-based, all equal) -> predicted noise [B, C, H, W]."""

ConditionalDenoiser = Callable[[Tensor, Tensor, Context], Tensor]
"""As Denoiser, with one context per image as third argument."""

Noise = Callable[[int], Tensor]
"""Step index t -> the standard normal noise [B, C, H, W] of that step; asked for at most once per step."""

OnStep = Callable[[int, Tensor], None]
"""Called after each step with its index t and the image it produced."""


Sampler = Callable[..., Tensor]
"""denoise, x_T [B, C, H, W], schedule, keywords ``steps``, ``noise``, ``on_step``, ``spacing`` and its own -> x_0."""


def bind(denoise: ConditionalDenoiser | ConditionalUNet, context: Context) -> Denoiser:
    """Fix the context, which leaves what a sampler takes."""

    def bound(x_t: Tensor, t: Tensor) -> Tensor:
        eps: Tensor = denoise(x_t, t, context)
        return eps

    return bound
