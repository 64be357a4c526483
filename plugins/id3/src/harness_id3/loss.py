"""The four-term loss of ID3, in our reading, which is consistent with the paper's abstract.

    L = E_t |noise - eps|^2                                denoising
      + lambda_rec |x_0 - x0hat(x_t at t = 0)|^2           one-step reconstruction
      - w E_t [ c_t <y, F(x0hat(x_t))> ]                   inner product, ID-preserving
      + const

The terms and c_t are the paper's; the factors lambda_rec and w, 1 by default, are ours.

Letters: B batch, C, H, W latents, S image side, E context width, T steps. Source: ID3, arXiv 2409.17576.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.diffusion.schedule import Schedule
from harness.diffusion.training import Batch, Loss, noise_error, noised
from harness_id3.network import ID3Network
from harness_id3.readings import WeightReading

Embed = Callable[[Tensor], Tensor]
"""Latents [B, C, H, W] to unit-norm embeddings [B, E], differentiable: decode, clamp, resize, F, normalize."""

REC_SHARE = 8  # the reconstruction sees one in so many images of a batch; not sourced, ours


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms beside the denoising one.

    Attributes:
        inner: w, the factor of c_t; 0 is the paper's ablation without the ID-preserving term.
        c_t: see :func:`identity_weight`.
        inner_share: the inner product is taken on the first 1/inner_share of the batch, for memory and time; its mean
            estimates the same expectation.
        reconstruction: lambda_rec.
    """

    inner: float = 1.0
    c_t: WeightReading = "falling"
    inner_share: int = 2
    reconstruction: float = 1.0


def identity_weight(t: Tensor, T: int, reading: WeightReading = "falling") -> Tensor:
    """c_t = lambda_t kappa_t = 0.5 (1 - 1 / (1 + exp(-t/T))), or the same with exp(t/T).

    The text that quotes the formula has lost its minus signs. "falling" restores the one inside exp: 0.25 at t = 0,
    0.1345 at T. "rising" leaves it out: 0.25 at t = 0, 0.3655 at T.

    Args:
        t: steps, [B].

    Returns:
        float32 [B].

    Source: ID3, section on the setup.
    """
    exponent = t.float() / T
    return 0.5 / (1.0 + torch.exp(exponent if reading == "falling" else -exponent))


def gaussian_decoder_weight(schedule: Schedule) -> float:
    """lambda_rec of a decoder N(x_0; x0hat, beta_0 I): 1 / (2 beta_0), which is 5000 for T = 1000.

    The last term of DDPM's bound is -log p(x_0 | x_1), and the mean of that distribution is x0hat at t = 0. Since
    x_0 - x0hat is sqrt(beta_0 / (1 - beta_0)) times the error of the noise, the term is half of that error squared, as
    large as the denoising term; with the weight 1 it is 1e-4 of it. Ours: the paper's weight is not known.

    Source: DDPM, arXiv 2006.11239, sections 2 and 3.3, with a continuous decoder in place of its discrete one.
    """
    return 1.0 / (2.0 * float(schedule.betas[0]))


def id3_loss(schedule: Schedule, embed: Embed, weights: LossWeights) -> Loss:
    """The loss over batches of "latents", "contexts" (y) and "attributes" (s).

    Args:
        embed: the frozen autoencoder's decoder followed by the frozen recognizer.
        weights: of the terms; one that has the weight 0 is not computed.
    """

    def loss(model: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        network = cast(ID3Network, model)
        y, s = batch["contexts"], batch["attributes"]
        x_0, noise, t = noised(batch["latents"], schedule, generator)
        x_t = schedule.add_noise(x_0, noise, t)
        eps = network(x_t, t, y, s, generator)
        value = noise_error(network, eps, noise, schedule.levels(t))
        if weights.inner:
            some = slice(0, max(1, len(x_0) // weights.inner_share))
            x0hat = schedule.predict_x_0(x_t[some], eps[some], t[some])
            inner = (embed(x0hat) * y[some]).sum(dim=1)  # [B / share]
            c_t = weights.inner * identity_weight(t[some], schedule.T, weights.c_t)
            value = value - (c_t * inner).mean()
        if weights.reconstruction:
            few = slice(0, max(1, len(x_0) // REC_SHARE))
            first = torch.zeros_like(t[few])
            x_t = schedule.add_noise(x_0[few], noise[few], first)
            x0hat = schedule.predict_x_0(x_t, network(x_t, first, y[few], s[few], generator), first)
            value = value + weights.reconstruction * F.mse_loss(x0hat, x_0[few])
        return value

    return loss
