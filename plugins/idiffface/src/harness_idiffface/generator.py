"""The IDiff-Face generator.

Fit: latents of a source's faces, each conditioned on the unit-norm embedding of its own raw image, with contextual
partial dropout. Sample: one context per identity; its images differ by their noise alone.

Source: IDiff-Face, arXiv 2308.04995.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from harness.components import FittedGenerator, Given, Model, Run, SamplePlan
from harness.diffusion.generator import LatentGenerator
from harness.diffusion.kinds import LATENT_DIFFUSION, WITH_AUTOENCODER
from harness.diffusion.settings import LatentFitSettings

if TYPE_CHECKING:
    from harness.diffusion.latent import LatentDiffusion
    from harness.diffusion.samplers import Denoiser

KIND = LATENT_DIFFUSION
# Component dropout of the published main model (CPD25). Source: IDiff-Face, section 4
CPD = 0.25


class IDiffFaceFitSettings(LatentFitSettings):
    """How to fit IDiff-Face."""

    cpd: float = Field(CPD, ge=0, lt=1, description="contextual partial dropout: chance per context component")


class IDiffFace(LatentGenerator, FittedGenerator):
    """IDiff-Face: latent diffusion conditioned on identity embeddings, with contextual partial dropout."""

    FitSettings = IDiffFaceFitSettings
    accepts = {"model": frozenset({KIND}), "autoencoder": WITH_AUTOENCODER}
    fits = KIND
    fit_needs = frozenset({"source", "recognizer"})

    def fit(self, given: Given, run: Run) -> Model:
        """Fit autoencoder and denoiser to a source; the recognizer gives the contexts."""
        from harness.diffusion.fitting import Fit, fit_model

        fit = Fit(
            source=given.source,
            settings=self.settings,
            recognizer=given.recognizer,
            autoencoder=given.autoencoder,
            cpd=self.settings.cpd,
        )
        return fit_model(KIND, fit, run)

    def denoiser(self, parts: LatentDiffusion, plan: SamplePlan, rows: SamplePlan, given: Given, run: Run) -> Denoiser:
        """The model under each identity's own context."""
        from harness.diffusion.samplers import bind
        from harness.diffusion.sampling import contextualize

        return bind(parts.unet, contextualize(parts, rows, plan.pool["context"], run))
