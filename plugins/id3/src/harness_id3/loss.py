"""The four-term loss of ID3, in our reading, which is consistent with the paper's abstract.

    L = E_t |noise - eps|^2                                denoising
      + lambda_rec |x_0 - x0hat(x_t at t = 0)|^2           one-step reconstruction
      - E_t [ c_t <y, F(x0hat(x_t))> ]                     inner product, ID-preserving
      + const

Letters: B batch, C, H, W latents, S image side, E context width, T steps. Source: ID3, arXiv 2409.17576.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.diffusion.schedule import Schedule
from harness.diffusion.training import Batch, Loss, noise_error, noised
from harness_id3.network import ID3Network

Embed = Callable[[Tensor], Tensor]
"""Latents [B, C, H, W] to unit-norm embeddings [B, E], differentiable: decode, clamp, resize, F, normalize."""

# Weight and share of the batch of the reconstruction term; not sourced, ours.
LAMBDA_REC = 1.0
REC_SHARE = 8  # one in eight


def identity_weight(t: Tensor, T: int) -> Tensor:
    """c_t = lambda_t kappa_t = 0.5 (1 - 1 / (1 + exp(-t/T))) = 0.5 / (1 + exp(t/T)): 0.25 at t = 0, 0.1345 at T.

    Source: ID3, section on the setup, minus signs restored.
    """
    return 0.5 / (1.0 + torch.exp(t.float() / T))


def id3_loss(schedule: Schedule, embed: Embed, inner_share: int) -> Loss:
    """The loss over batches of "latents", "contexts" (y) and "attributes" (s).

    Args:
        embed: the frozen autoencoder's decoder followed by the frozen recognizer.
        inner_share: the inner product is taken on the first 1/inner_share of the batch, for memory and time; its mean
            estimates the same expectation.
    """

    def loss(model: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        network = cast(ID3Network, model)
        y, s = batch["contexts"], batch["attributes"]
        x_0, noise, t = noised(batch["latents"], schedule, generator)
        x_t = schedule.add_noise(x_0, noise, t)
        eps = network(x_t, t, y, s, generator)
        value = noise_error(network, eps, noise, schedule.levels(t))
        some = slice(0, max(1, len(x_0) // inner_share))
        x0hat = schedule.predict_x_0(x_t[some], eps[some], t[some])
        inner = (embed(x0hat) * y[some]).sum(dim=1)  # [B / share]
        value = value - (identity_weight(t[some], schedule.T) * inner).mean()
        few = slice(0, max(1, len(x_0) // REC_SHARE))
        first = torch.zeros_like(t[few])
        x_t = schedule.add_noise(x_0[few], noise[few], first)
        x0hat = schedule.predict_x_0(x_t, network(x_t, first, y[few], s[few], generator), first)
        return value + LAMBDA_REC * F.mse_loss(x0hat, x_0[few])

    return loss
