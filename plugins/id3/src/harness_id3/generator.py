"""The ID3 generator.

Fit: the denoiser is conditioned on identity embeddings and attributes, with the ID-preserving loss. Sample: embeddings
around each identity's anchor, attributes drawn from the source's, and the adjusted score through the recognizer.

Source: ID3, arXiv 2409.17576. Its code is not public: what is reconstruction and not source is marked in each module.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field, field_validator

from harness import noise
from harness.components import Model, Request, Run, SamplePlan
from harness.diffusion.generator import LatentGenerator
from harness.diffusion.settings import LatentFitSettings, LatentSampleSettings
from harness.errors import StageError
from harness_id3.attributes import decode_attributes, encode_attributes
from harness_id3.embeddings import embeddings_around

if TYPE_CHECKING:
    import torch

    from harness.components.recognizer import Recognizer
    from harness.diffusion.latent import LatentDiffusion
    from harness.diffusion.samplers import Denoiser
    from harness.faces.faceset import FaceSet
    from harness_id3.loss import Embed

KIND = "id3/1"
Cosine = Annotated[float, Field(ge=-1, le=1)]
# Bounds of the cosine to the anchor. The paper shows [0.5, 0.7] and [0.7, 0.9]; which its main table uses is not said.
BOUNDS = (0.7, 0.9)
_TABLE, _NETWORK = "attribute_table", "attributes."


class ID3FitSettings(LatentFitSettings):
    """How to fit ID3."""

    inner_share: int = Field(2, ge=1, le=16, description="the inner product term sees one in this many of a batch")


class ID3SampleSettings(LatentSampleSettings):
    """How to sample with ID3."""

    gamma: float = Field(1.0, ge=0, description="strength of the adjusted score; 0: the original score")
    through_denoiser: bool = Field(True, description="gradient through the denoiser too, or the cheap direct path only")
    bounds: tuple[Cosine, Cosine] = Field(BOUNDS, description="least and greatest cosine of an embedding to its anchor")
    attributes: Literal["table", "none"] = Field(
        "table", description="rows drawn from the source's attribute table, or no attributes"
    )

    @field_validator("bounds")
    @classmethod
    def _ordered(cls, bounds: tuple[float, float]) -> tuple[float, float]:
        if bounds[0] > bounds[1]:
            raise ValueError("the least cosine first")
        return bounds


class ID3(LatentGenerator):
    """ID3: attributes, an identity-preserving loss and sampling along the adjusted score."""

    Settings = ID3SampleSettings
    FitSettings = ID3FitSettings
    code = ("harness_id3", "harness.diffusion", "harness.noise")
    accepts = frozenset({KIND})
    fits = KIND
    first_stages = frozenset({KIND, "latent-diffusion/1"})

    def fit(self, source: FaceSet, recognizer: Recognizer | None, run: Run, first_stage: Model | None = None) -> Model:
        """Fit first stage and denoiser; the recognizer gives y and is the F of the loss.

        Raises:
            StageError: no recognizer was given, or the loss is not finite.
        """
        import torch

        from harness.diffusion.latent import Prepared, fit_latent_diffusion
        from harness.diffusion.schedule import Schedule
        from harness.diffusion.training import Loss
        from harness_id3.loss import id3_loss
        from harness_id3.network import ID3Network

        if recognizer is None:
            raise StageError("id3 needs a recognizer for its embeddings; give models.NAME.recognizer")
        s, judge = self.settings, recognizer
        table = torch.from_numpy(encode_attributes(source.attributes, len(source)))

        def loss(data: Prepared, schedule: Schedule) -> Loss:
            return id3_loss(schedule, embedder(data.first_stage, judge), s.inner_share)

        parts, weights = fit_latent_diffusion(
            source,
            recognizer,
            run,
            s,
            cpd=0.0,
            network=ID3Network,
            extra={"attributes": table},
            loss=loss,
            first_stage=first_stage,
        )
        known = table[torch.isfinite(table).all(dim=1)]
        tensors = parts.tensors(weights, getattr(torch, s.save))
        return Model(KIND, parts.settings(), {**tensors, _TABLE: known.half()})

    def plan(self, request: Request, model: Model | None, run: Run) -> SamplePlan:
        """Anchors are the suite's contexts; every image draws its attributes from the model's table."""
        assert request.contexts is not None
        assert model is not None
        plan = SamplePlan.grid(request.identities, request.per_identity, pool={"anchor": request.contexts})
        table = np.asarray(model.tensors[_TABLE], dtype=np.float32)
        if self.settings.attributes == "none" or not len(table):
            drawn = np.full((len(plan), 4), np.nan, dtype=np.float32)
        else:
            where = noise.uniform(run.seed, plan.identities.tolist(), plan.samples.tolist(), 1, "id3-attributes")[:, 0]
            drawn = table[(where * len(table)).astype(np.int64)]
        return SamplePlan(plan.identities, plan.samples, {"attributes": drawn}, plan.pool)

    def denoiser(self, parts: LatentDiffusion, plan: SamplePlan, rows: SamplePlan, model: Model, run: Run) -> Denoiser:
        """The model under each image's own embedding and attributes, along the adjusted score."""
        import torch

        from harness.diffusion.samplers import bind
        from harness.diffusion.weights import load_strict, take_prefix
        from harness_id3.network import AttributeTokens
        from harness_id3.score import with_identity_score

        if model.recognizer is None:
            raise StageError("id3 needs the recognizer that its model was fitted with; name it under recognizers")
        s = self.settings
        who, which = rows.identities.tolist(), rows.samples.tolist()
        drawn = embeddings_around(plan.pool["anchor"][rows.identities], s.bounds, run.seed, who, which)
        y = torch.from_numpy(drawn).to(run.device)
        tokens = AttributeTokens(parts.unet.config.context_channels)
        load_strict(tokens, take_prefix(model.tensors, _NETWORK), "model")
        tokens.to(run.device).eval().requires_grad_(False)
        with torch.no_grad():
            extra = tokens(torch.from_numpy(rows.items["attributes"]).to(run.device))
            contexts = parts.unet.contextualise(y, extra_tokens=extra)
        embed = embedder(parts.first_stage, model.recognizer)
        plain = bind(parts.unet, contexts)
        return with_identity_score(plain, y, embed, parts.schedule, s.gamma, through_denoiser=s.through_denoiser)

    def attributes(self, rows: SamplePlan) -> Mapping[str, Any]:
        """The pose and age that were asked for."""
        return decode_attributes(rows.items["attributes"])


def embedder(first_stage: Any, recognizer: Recognizer) -> Embed:
    """F after the decoder: latents to unit-norm embeddings in float32, without quantization, differentiable."""
    import torch
    from torch.nn import functional as F

    size = recognizer.takes.size_px

    def embed(latents: torch.Tensor) -> torch.Tensor:
        with torch.autocast(latents.device.type, enabled=False):
            images = first_stage.decode(latents.float(), quantise=False)
            if images.shape[-1] != size:
                images = F.interpolate(images, size=(size, size), mode="bilinear", antialias=True)
            return F.normalize(recognizer.features(images), dim=1)

    return embed
