"""Sampling planned images from a latent diffusion model.

Letters: B images of a batch, I identities, S image side, E context width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from harness.arrays import Floats, Images
from harness.components.images import SamplePlan
from harness.diffusion.latent import LatentDiffusion
from harness.diffusion.samplers import SAMPLERS, Denoiser
from harness.diffusion.settings import LatentSampleSettings
from harness.diffusion.unet import Contextualized
from harness.coding import from_unit

if TYPE_CHECKING:
    from harness.components.run import Run


def sample_images(
    parts: LatentDiffusion, rows: SamplePlan, run: Run, denoiser: Denoiser, settings: LatentSampleSettings
) -> Images:
    """Sample one batch of planned images, each from its own noise; uint8 RGB [B, S, S, 3]."""
    shape = parts.latent_shape
    who, which = rows.identities.tolist(), rows.samples.tolist()
    x_0 = SAMPLERS[settings.sampler](
        denoiser,
        run.noise(who, which, shape, "x_T"),
        parts.schedule,
        steps=parts.schedule.T if settings.sampler == "ddpm" else settings.steps,
        noise=lambda t: run.noise(who, which, shape, "sampler", t),
        reference_quirks=settings.reference_quirks,
        eta=1.0 if settings.sampler == "ddpm" else settings.eta,  # DDPM has its noise; eta is a setting of DDIM
    )
    with torch.no_grad():
        return from_unit(parts.autoencoder.decode(x_0))


def contextualize(parts: LatentDiffusion, rows: SamplePlan, column: Floats | None, run: Run) -> Contextualized:
    """Keys and values of a pool column for a batch, computed once per distinct identity.

    Args:
        column: float32 [I, E], a column of the plan's pool; None for "no context".
    """
    names, places = np.unique(rows.identities, return_inverse=True)
    given = None if column is None else torch.from_numpy(column[names]).to(run.device)
    with torch.no_grad():
        return parts.unet.contextualize(given, batch=len(names)).select(torch.from_numpy(places))
