"""The IDperturb generator: IDiff-Face's model, with a context of its own for every image.

    y = c v + sqrt(1 - c^2) u,   c ~ U[lb, 1],   lb_i = max(base, max over j of cos(theta_ij / 2))

Nothing is trained; the model is whatever fitted a latent diffusion model on contexts.

Letters: B images, I identities, D context width. Source: IDperturb, arXiv 2602.18831.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
from pydantic import Field, model_validator

from harness import Given, Request, Run, SamplePlan
from harness.arrays import Doubles, Floats
from harness.diffusion.embeddings import embeddings_around
from harness.diffusion.generator import LatentGenerator
from harness.diffusion.kinds import LATENT_DIFFUSION
from harness.diffusion.settings import LatentSampleSettings

if TYPE_CHECKING:
    from harness.diffusion.latent import LatentDiffusion
    from harness.diffusion.samplers import Denoiser

# Least and greatest cosine of an image's context to its identity's. Source: IDperturb, shipped configuration
LOWER_BOUND, UPPER_BOUND = 0.4, 1.0
PURPOSE = "idperturb"  # of its draws


class IDPerturbSettings(LatentSampleSettings):
    """How to perturb and sample."""

    lower_bound: float = Field(
        LOWER_BOUND, ge=-1, le=1, description="least cosine of an image's context to its identity's; published: 0.4"
    )
    safe: bool = Field(
        True,
        description="raise the bound of an identity where its cone would reach past the half-way direction to another; "
        "it is then above 0.71 wherever another is within 90 degrees, and a lower lower_bound has no effect",
    )
    gaussian: float | None = Field(
        None,
        gt=0,
        description="in place of the cone, as an ablation: standard deviation of Gaussian noise that is added to every "
        "component of the unit context, which is then normalized",
    )

    @model_validator(mode="after")
    def _cone_or_noise(self) -> Self:
        if self.gaussian is not None and (self.lower_bound, self.safe) != (LOWER_BOUND, True):
            raise ValueError(f"gaussian {self.gaussian:g}: has no cone, so leave lower_bound and safe out")
        return self


class IDPerturb(LatentGenerator):
    """IDperturb: turn every image's context away from its identity's while sampling IDiff-Face's model."""

    Settings = IDPerturbSettings
    accepts = {"model": frozenset({LATENT_DIFFUSION})}

    def plan(self, request: Request, given: Given, run: Run) -> SamplePlan:
        """Work out how far every identity's contexts may turn, over the whole pool."""
        s, contexts = self.settings, given.contexts
        bounds = np.full((len(contexts), 1), s.lower_bound, np.float32)  # [I, 1]
        if s.safe and s.gaussian is None:
            bounds = np.maximum(bounds, half_way_cosines(contexts))
        pool = {"context": contexts, "lower_bound": bounds}
        return SamplePlan.grid(request.identities, request.per_identity, pool=pool)

    def denoiser(self, parts: LatentDiffusion, plan: SamplePlan, rows: SamplePlan, given: Given, run: Run) -> Denoiser:
        """The model under each image's own context."""
        import torch

        from harness.diffusion.samplers import bind

        drawn = torch.from_numpy(self._contexts(plan, rows, run)).to(run.device)
        with torch.no_grad():
            return bind(parts.unet, parts.unet.contextualize(drawn))

    def _contexts(self, plan: SamplePlan, rows: SamplePlan, run: Run) -> Floats:
        """One context per image of a batch, float32 [B, D]."""
        s, who, which = self.settings, rows.identities.tolist(), rows.samples.tolist()
        own = plan.pool["context"][rows.identities]
        if s.gaussian is not None:
            z = run.noise(who, which, own.shape[1:], f"{PURPOSE}-direction").cpu().numpy()
            return unit(own + s.gaussian * z.astype(np.float64))
        lower: Doubles = plan.pool["lower_bound"][rows.identities].astype(np.float64)
        return embeddings_around(own, (lower, UPPER_BOUND), run.seed, who, which, PURPOSE)


def half_way_cosines(contexts: Floats) -> Floats:
    """Cosine of half the angle to the nearest other identity: a cone as narrow as this overlaps no other such cone.

    cos(theta / 2) = sqrt((1 + cos theta) / 2) rises with cos theta, so the nearest other identity has the largest.

    Args:
        contexts: unit norm, [I, D]; compared block by block, so memory does not grow with the square of I.

    Returns:
        float32 [I, 1]; 0 for an identity that has no other.
    """
    from harness.stats.neighbors import nearest

    own = np.arange(len(contexts))
    cosine, _ = nearest(contexts, contexts, apart=(own, own))  # [I, 1], -inf without a neighbor
    half: Floats = np.sqrt((1.0 + cosine.clip(-1.0, 1.0)) / 2.0)
    return half


def unit(x: Doubles) -> Floats:
    """Rows [B, D] scaled to norm 1, float32."""
    scaled: Floats = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    return scaled
