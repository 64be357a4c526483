"""The adjusted score: sampling steered towards the identity by the recognizer's gradient.

    eps_adj = eps - sqrt(1 - ab_t) gamma c_t g_t,   g_t = grad_{x_t} <y, F(x0hat(x_t))>

Letters: B batch, C, H, W latents, E context width. Source: ID3, arXiv 2409.17576, sampling; the
noise form is ours.
"""

from __future__ import annotations

import torch
from torch import Tensor

from harness.diffusion.samplers import Denoiser
from harness.diffusion.schedule import Schedule
from harness_id3.loss import Embed, identity_weight
from harness_id3.readings import WeightReading


def with_identity_score(
    denoise: Denoiser,
    y: Tensor,
    embed: Embed,
    schedule: Schedule,
    gamma: float,
    *,
    reading: WeightReading = "falling",
    through_denoiser: bool = True,
    clip_norm: float | None = None,
    below: int | None = None,
) -> Denoiser:
    """Adjust every noise estimate by the gradient of the inner product with y.

    Args:
        denoise: the conditional noise predictor.
        y: unit-norm identity embeddings, [B, E].
        embed: see :data:`harness_id3.loss.Embed`.
        schedule: the model's noise levels.
        gamma: strength; 0 returns ``denoise`` itself (the ablation "original score").
        reading: of c_t, see :func:`harness_id3.loss.identity_weight`.
        through_denoiser: follow the gradient through the denoiser as well; False keeps only the direct path from x_t
            to its estimate of x_0, which is cheaper.
        clip_norm: largest L2 norm of one image's g_t; longer ones are scaled down to it. None: as they are.
        below: adjust at steps t below this one only; at noisier ones the estimate of x_0 shows hardly anybody.
            None: at all steps.
    """
    if gamma == 0:
        return denoise

    def adjusted(x_t: Tensor, t: Tensor) -> Tensor:
        if below is not None and int(t[0]) >= below:
            return denoise(x_t, t)
        with torch.enable_grad():
            x = x_t.detach().requires_grad_()
            eps = denoise(x, t) if through_denoiser else denoise(x_t, t).detach()
            inner = (embed(schedule.predict_x_0(x, eps, t)) * y).sum()
            (g_t,) = torch.autograd.grad(inner, x)
        if clip_norm is not None:
            norm = g_t.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
            g_t = g_t * (clip_norm / norm.clamp(min=clip_norm))
        noise_level = (1.0 - schedule.levels(t)).sqrt()
        c_t = identity_weight(t, schedule.T, reading).view(-1, 1, 1, 1)
        return eps.detach() - noise_level * gamma * c_t * g_t

    return adjusted
