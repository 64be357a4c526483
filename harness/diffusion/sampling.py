"""Sampling planned images from a latent diffusion model.

Letters: B images of a batch, I identities, S image side, E context width.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from torch import Tensor

from harness.arrays import Floats, Images
from harness.coding import from_unit
from harness.components.images import SamplePlan
from harness.diffusion.latent import LatentDiffusion
from harness.diffusion.samplers import OWN_SPACING, SAMPLERS, SPACINGS, Denoiser, Noise
from harness.diffusion.settings import TAKES, LatentSampleSettings
from harness.diffusion.unet import Contextualized

if TYPE_CHECKING:
    from harness.components.run import Run


def sample_images(
    parts: LatentDiffusion, rows: SamplePlan, run: Run, denoiser: Denoiser, settings: LatentSampleSettings
) -> Images:
    """Sample one batch of planned images, each from its own noise; uint8 RGB [B, S, S, 3]."""
    shape = parts.latent_shape
    who, which = rows.identities.tolist(), rows.samples.tolist()
    steps = parts.schedule.T if settings.sampler == "ddpm" else settings.steps
    spacing = SPACINGS[settings.spacing or OWN_SPACING[settings.sampler]]
    options = {name: getattr(settings, name) for name in TAKES[settings.sampler] - {"spacing"}}
    noisy = spacing(parts.schedule, steps)[:0:-1]  # a sampler draws noise at all but the last step, if at any
    with NoiseAhead(lambda t: run.noise(who, which, shape, "sampler", t), noisy) as noise:
        x_0 = SAMPLERS[settings.sampler](
            denoiser,
            run.noise(who, which, shape, "x_T"),
            parts.schedule,
            steps=steps,
            noise=noise,
            spacing=spacing,
            **options,
        )
    with torch.no_grad():
        return from_unit(parts.autoencoder.decode(x_0))


class NoiseAhead:
    """The noise of a sampler's steps; while the network works on one step, that of the next is drawn.

    Noise is drawn on the CPU, so that every device sees the same numbers, and for all steps of DDPM that takes a GPU's
    time for nothing. Here a thread draws it. Used in a ``with`` statement, which ends the thread.

    Args:
        draw: gives the noise of a step.
        steps: those that the sampler will ask for, in order. Where it asks for others, they are drawn at once; before
            it asks for any, nothing is drawn.
    """

    def __init__(self, draw: Noise, steps: Sequence[int]) -> None:
        self._draw = draw
        self._next = dict(pairwise(steps))
        self._coming: dict[int, Future[Tensor]] = {}
        self._thread = ThreadPoolExecutor(1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._thread.shutdown(cancel_futures=True)

    def __call__(self, t: int) -> Tensor:
        """The noise of step ``t``."""
        coming = self._coming.pop(t, None)
        noise = self._draw(t) if coming is None else coming.result()
        if t in self._next:
            self._coming[self._next[t]] = self._thread.submit(self._draw, self._next[t])
        return noise


def contextualize(parts: LatentDiffusion, rows: SamplePlan, column: Floats | None, run: Run) -> Contextualized:
    """Keys and values of a pool column for a batch, computed once per distinct identity.

    Args:
        column: float32 [I, E], a column of the plan's pool; None for "no context".
    """
    names, places = np.unique(rows.identities, return_inverse=True)
    given = None if column is None else torch.from_numpy(column[names]).to(run.device)
    with torch.no_grad():
        return parts.unet.contextualize(given, batch=len(names)).select(torch.from_numpy(places))
