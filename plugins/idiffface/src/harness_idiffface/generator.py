"""The IDiff-Face generator.

Fit: latents of a source's faces, each conditioned on the unit-norm embedding of its own raw image, with contextual
partial dropout. Sample: one context per identity; its images differ by their noise alone.

Source: IDiff-Face, arXiv 2308.04995.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from harness.components import Model, Run, SamplePlan
from harness.diffusion.generator import LatentGenerator
from harness.diffusion.settings import LatentFitSettings
from harness.errors import StageError

if TYPE_CHECKING:
    from harness.components.recognizer import Recognizer
    from harness.diffusion.latent import LatentDiffusion
    from harness.diffusion.samplers import Denoiser
    from harness.faces.faceset import FaceSet

KIND = "latent-diffusion/1"
# Component dropout of the published main model (CPD25). Source: IDiff-Face, section 4
CPD = 0.25


class IDiffFaceFitSettings(LatentFitSettings):
    """How to fit IDiff-Face."""

    cpd: float = Field(CPD, ge=0, lt=1, description="contextual partial dropout: chance per context component")


class IDiffFace(LatentGenerator):
    """IDiff-Face: latent diffusion conditioned on identity embeddings, with contextual partial dropout."""

    FitSettings = IDiffFaceFitSettings
    code = ("harness_idiffface", "harness.diffusion", "harness.faces.coding", "harness.noise")
    accepts = frozenset({KIND})
    fits = KIND
    first_stages = frozenset({KIND})

    def fit(self, source: FaceSet, recognizer: Recognizer | None, run: Run, first_stage: Model | None = None) -> Model:
        """Fit first stage and denoiser to a source.

        Raises:
            StageError: no recognizer was given, or the loss is not finite.
        """
        import torch

        from harness.diffusion.latent import UNET, fit_latent_diffusion

        if recognizer is None:
            raise StageError("idiffface needs a recognizer for its contexts; give models.NAME.recognizer")
        s = self.settings
        parts, weights = fit_latent_diffusion(source, recognizer, run, s, cpd=s.cpd, first_stage=first_stage)
        named = {f"{UNET}{name}": tensor for name, tensor in weights.items()}
        return Model(KIND, parts.settings(), parts.tensors(named, getattr(torch, s.save)))

    def denoiser(self, parts: LatentDiffusion, plan: SamplePlan, rows: SamplePlan, model: Model, run: Run) -> Denoiser:
        """The model under each identity's own context."""
        from harness.diffusion.latent import contextualise
        from harness.diffusion.samplers import bind

        return bind(parts.unet, contextualise(parts, rows, plan.pool["context"], run))
