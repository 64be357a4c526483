"""``unconditional``: the latent diffusion model of IDiff-Face without a context, the first stage of two-stage contexts.

Its images show no identity in particular, so as a row of its own it is of no use; the law ``two-stage`` samples it.

Source: IDiff-Face, arXiv 2308.04995, names such a model and says nothing of its training. Ours: the same U-Net, fitted
as the conditional one is, with the projected context always zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.components import Model, Run, SamplePlan
from harness.diffusion.generator import LatentGenerator
from harness.diffusion.settings import LatentFitSettings

if TYPE_CHECKING:
    from harness.components.recognizer import Recognizer
    from harness.diffusion.latent import LatentDiffusion
    from harness.diffusion.samplers import Denoiser
    from harness.faces.faceset import FaceSet

KIND = "latent-diffusion-unconditional/1"


class Unconditional(LatentGenerator):
    """Latent diffusion without identities: faces of nobody in particular, for two-stage contexts."""

    FitSettings = LatentFitSettings
    code = ("harness.builtin.unconditional", "harness.diffusion", "harness.faces.coding", "harness.noise")
    accepts = frozenset({KIND})
    fits = KIND
    first_stages = frozenset({KIND, "latent-diffusion/1"})
    needs_contexts = False

    def fit(self, source: FaceSet, recognizer: Recognizer | None, run: Run, first_stage: Model | None = None) -> Model:
        """Fit first stage and denoiser to a source; a recognizer is not looked at."""
        import torch

        from harness.diffusion.latent import UNET, fit_latent_diffusion

        parts, weights = fit_latent_diffusion(source, None, run, self.settings, cpd=0.0, first_stage=first_stage)
        named = {f"{UNET}{name}": tensor for name, tensor in weights.items()}
        return Model(KIND, parts.settings(), parts.tensors(named, getattr(torch, self.settings.save)))

    def denoiser(self, parts: LatentDiffusion, plan: SamplePlan, rows: SamplePlan, model: Model, run: Run) -> Denoiser:
        """The model without a context."""
        from harness.diffusion.latent import contextualise
        from harness.diffusion.samplers import bind

        return bind(parts.unet, contextualise(parts, rows, None, run))
