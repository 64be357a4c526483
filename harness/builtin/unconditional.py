"""``unconditional``: the latent diffusion model of IDiff-Face without a context, for the law of contexts ``two-stage``.

Its images show no identity in particular, so as a row of its own it is of no use.

Source: IDiff-Face, arXiv 2308.04995, names such a model and says nothing of its training. Ours: the same U-Net, fitted
as the conditional one is, with the projected context always zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.components import FittedGenerator, Given, Model, Run, SamplePlan
from harness.diffusion.generator import LatentGenerator
from harness.diffusion.settings import LatentFitSettings

if TYPE_CHECKING:
    from harness.diffusion.latent import LatentDiffusion
    from harness.diffusion.samplers import Denoiser

KIND = "latent-diffusion-unconditional/1"


class Unconditional(LatentGenerator, FittedGenerator):
    """Latent diffusion without identities: faces of nobody in particular, for two-stage contexts."""

    FitSettings = LatentFitSettings
    needs = frozenset({"model"})
    accepts = {"model": frozenset({KIND}), "autoencoder": frozenset({KIND, "latent-diffusion/1"})}
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
