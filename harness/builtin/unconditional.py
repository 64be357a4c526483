"""``unconditional``: the latent diffusion model of IDiff-Face without a context, for the law of contexts ``two-stage``.

Its images show no identity in particular, so as a row of its own it is of no use.

Source: IDiff-Face, arXiv 2308.04995, and its public code: the network is the U-Net of variant "AdaGN" without a
context. Of its training nothing is said; ours is that of the conditional model. The other networks can be fitted too,
with the projected context always zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from harness.components import FittedGenerator, Given, Model, Run, SamplePlan
from harness.diffusion.generator import LatentGenerator
from harness.diffusion.kinds import UNCONDITIONAL, WITH_AUTOENCODER
from harness.diffusion.settings import LatentFitSettings, Network

if TYPE_CHECKING:
    from harness.diffusion.latent import LatentDiffusion
    from harness.diffusion.samplers import Denoiser

KIND = UNCONDITIONAL


class UnconditionalFitSettings(LatentFitSettings):
    """How to fit."""

    network: Network = Field(
        "published-adagn",
        description="the U-Net: published-adagn, the reference's, which has no place for a context (132 M weights); "
        "published (216 M) or demo (2 M): those of the conditional models, with the context always zero",
    )


class Unconditional(LatentGenerator, FittedGenerator):
    """Latent diffusion without identities: faces of nobody in particular, for two-stage contexts."""

    FitSettings = UnconditionalFitSettings
    needs = frozenset({"model"})
    accepts = {"model": frozenset({KIND}), "autoencoder": WITH_AUTOENCODER | {KIND}}
    fits = KIND

    def fit(self, given: Given, run: Run) -> Model:
        """Fit autoencoder and denoiser to a source."""
        from harness.diffusion.fitting import Fit, fit_model

        return fit_model(KIND, Fit(source=given.source, settings=self.settings, autoencoder=given.autoencoder), run)

    def denoiser(self, parts: LatentDiffusion, plan: SamplePlan, rows: SamplePlan, given: Given, run: Run) -> Denoiser:
        """The model without a context."""
        from harness.diffusion.samplers import bind
        from harness.diffusion.sampling import contextualize

        return bind(parts.unet, contextualize(parts, rows, None, run))
