"""The ID3 generator.

Fit: the denoiser is conditioned on identity embeddings and attributes, with the ID-preserving loss. Sample: embeddings
around each identity's anchor, attributes drawn from the source's, and the adjusted score through the recognizer.

Source: ID3, arXiv 2409.17576. Its code is not public: what is reconstruction and not source is marked in each module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from harness.components import AttributePredictor, Component, FittedGenerator, Given, Model, Request, Run, SamplePlan
from harness.diffusion.embeddings import embeddings_around
from harness.diffusion.generator import LatentGenerator
from harness.diffusion.kinds import WITH_AUTOENCODER
from harness.diffusion.settings import LatentFitSettings, LatentSampleSettings, T
from harness.errors import InputError
from harness.plugins import registry
from harness_id3.attributes import (
    AGE_YEARS,
    ANGLE_DEG,
    Law,
    decode_attributes,
    draw_attributes,
    encode_attributes,
    mirror_attributes,
)
from harness_id3.readings import Projection, WeightReading

if TYPE_CHECKING:
    import torch

    from harness.components.recognizer import Recognizer
    from harness.diffusion.autoencoder import Autoencoder
    from harness.diffusion.latent import LatentDiffusion
    from harness.diffusion.preparation import Prepared
    from harness.diffusion.samplers import Denoiser
    from harness.diffusion.schedule import Schedule
    from harness.diffusion.training import Loss
    from harness.diffusion.unet import UNetConfig
    from harness.faces.faceset import FaceSet
    from harness_id3.loss import Embed, LossWeights

KIND = "id3/1"
Cosine = Annotated[float, Field(ge=-1, le=1)]
Angle = Annotated[float, Field(ge=0, le=ANGLE_DEG)]
# Bounds of the cosine to the anchor. The paper shows [0.5, 0.7] and [0.7, 0.9]; which its main table uses is not said.
BOUNDS = (0.7, 0.9)
PREDICT_BATCH = 256  # images handed to a predictor at once
INNER_SHARE = 2  # the inner product term sees one in so many images of a batch. Ours
_TABLE, _NETWORK = "attribute_table", "attributes."


class ID3FitSettings(LatentFitSettings):
    """How to fit ID3."""

    network: Literal["demo", "published"] = Field(
        "published", description="the U-Net, whose cross-attention reads the attributes: 216 M weights, or demo: 2 M"
    )
    reconstruction_weight: Annotated[float, Field(ge=0)] | Literal["gaussian"] = Field(
        1.0,
        description="lambda_rec of the one-step reconstruction at t = 0, to which 1 gives next to no weight; gaussian: "
        "that of a Gaussian decoder of variance beta_0, 1 / (2 beta_0) = 5000, as much as the denoising term has",
    )
    inner_weight: float = Field(
        1.0, ge=0, description="factor of the inner product's c_t; 0: no ID-preserving term, the paper's ablation"
    )
    c_t: WeightReading = Field(
        "falling", description="0.5 / (1 + exp(t/T)), from 0.25 to 0.13; rising: the other sign, from 0.25 to 0.37"
    )
    inner_share: int = Field(
        INNER_SHARE, ge=1, le=16, description="the inner product term sees one in this many of a batch"
    )
    projection: Projection = Field(
        "then-linear",
        description="the attributes' 512, 256, 768 are followed by a linear layer to eight tokens; as-tokens: the 768 "
        "are the tokens",
    )
    predictors: tuple[str, ...] = Field(
        (),
        description="registered attribute predictors, for yaw, pitch, roll or age where the source has no such column",
    )
    pose_only: bool = Field(False, description="condition on pose alone: every image counts as of one age")

    @model_validator(mode="after")
    def _has_an_effect(self) -> Self:
        if self.inner_weight == 0 and (self.c_t != "falling" or self.inner_share != INNER_SHARE):
            raise ValueError("c_t and inner_share: have no effect with inner_weight 0; leave them out")
        return self


class ID3SampleSettings(LatentSampleSettings):
    """How to sample with ID3."""

    gamma: float = Field(1.0, ge=0, description="strength of the adjusted score; 0: the original score")
    c_t: WeightReading = Field("falling", description="the weight of the adjusted score over the steps, as in a fit")
    through_denoiser: bool = Field(True, description="gradient through the denoiser too, or the cheap direct path only")
    bounds: tuple[Cosine, Cosine] = Field(BOUNDS, description="least and greatest cosine of an embedding to its anchor")
    clip_norm: float | None = Field(None, gt=0, description="largest L2 norm of an image's gradient; null: no bound")
    guide_below: int | None = Field(
        None, ge=1, le=T, description="adjust the score at diffusion steps t below this one; null: at all"
    )
    attributes: Law = Field(
        "table",
        description="rows drawn from the source's attribute table; uniform-pose: angles uniform in pose_range, age "
        "from the table; none: no attributes",
    )
    pose_range: tuple[Angle, Angle, Angle] = Field(
        (60.0, 20.0, 10.0), description="degrees of yaw, pitch and roll to either side, for uniform-pose"
    )
    pose_only: bool = Field(False, description="only pose varies: every image has the table's mean age")

    @field_validator("bounds")
    @classmethod
    def _ordered(cls, bounds: tuple[float, float]) -> tuple[float, float]:
        if bounds[0] > bounds[1]:
            raise ValueError("the least cosine first")
        return bounds

    @model_validator(mode="after")
    def _has_an_effect(self) -> Self:
        if self.reference_quirks:
            raise ValueError("reference_quirks true: the code of ID3 is not public, so there are none; set it false")
        if self.gamma == 0 and (self.clip_norm is not None or self.guide_below is not None or self.c_t != "falling"):
            raise ValueError("c_t, clip_norm and guide_below: have no effect with gamma 0; leave them out")
        if self.attributes == "none" and self.pose_only:
            raise ValueError("pose_only true: has no effect with attributes none; leave it out")
        return self


class ID3(LatentGenerator, FittedGenerator):
    """ID3: attributes, an identity-preserving loss and sampling along the adjusted score."""

    Settings = ID3SampleSettings
    FitSettings = ID3FitSettings
    needs = frozenset({"model", "contexts", "recognizer"})
    accepts = {"model": frozenset({KIND}), "autoencoder": WITH_AUTOENCODER | {KIND}}
    fits = KIND
    fit_needs = frozenset({"source", "recognizer"})

    def uses(self) -> tuple[type[Component], ...]:
        """The predictors that a fit names."""
        return tuple(_predictor(name) for name in getattr(self.settings, "predictors", ()))

    def fit(self, given: Given, run: Run) -> Model:
        """Fit autoencoder and denoiser; the recognizer gives y and is the F of the loss."""
        import torch

        from harness.diffusion.fitting import Fit, fit_latent_diffusion
        from harness_id3.loss import id3_loss
        from harness_id3.network import ID3Network

        s, recognizer = self.settings, given.recognizer
        table = self._attribute_table(given.source, run)
        known = table[torch.isfinite(table).all(dim=1)]

        def network(config: UNetConfig) -> ID3Network:
            made = ID3Network(config, s.projection)
            made.attributes.standardize_by(known)
            return made

        def loss(data: Prepared, schedule: Schedule) -> Loss:
            return id3_loss(schedule, embedder(data.autoencoder, recognizer), self._loss_weights(schedule))

        fit = Fit(
            source=given.source,
            settings=s,
            recognizer=recognizer,
            autoencoder=given.autoencoder,
            network=network,
            extra={"attributes": table},
            mirrored_extra={"attributes": torch.from_numpy(mirror_attributes(table.numpy()))},
            loss=loss,
        )
        parts, weights = fit_latent_diffusion(fit, run)
        tensors = parts.tensors(weights, getattr(torch, s.save))
        return Model(KIND, {**parts.settings(), "projection": s.projection}, {**tensors, _TABLE: known.half()})

    def _loss_weights(self, schedule: Schedule) -> LossWeights:
        from harness_id3.loss import LossWeights, gaussian_decoder_weight

        s = self.settings
        named = s.reconstruction_weight
        reconstruction = gaussian_decoder_weight(schedule) if named == "gaussian" else named
        return LossWeights(s.inner_weight, s.c_t, s.inner_share, reconstruction)

    def _attribute_table(self, source: FaceSet, run: Run) -> torch.Tensor:
        """Encoded attributes of a source's faces, [N, 4]; NaN where one is unknown."""
        import torch

        columns = known_attributes(source, self.settings.predictors, run)
        if self.settings.pose_only:
            columns["age"] = np.full(len(source), AGE_YEARS, dtype=np.float32)  # the middle, encoded as 0
        return torch.from_numpy(encode_attributes(columns, len(source)))

    def plan(self, request: Request, given: Given, run: Run) -> SamplePlan:
        """Anchors are the suite's contexts; every image draws its attributes from the model's table."""
        plan = SamplePlan.grid(request.identities, request.per_identity, pool={"anchor": given.contexts})
        table, s = np.asarray(given.model.tensors[_TABLE], dtype=np.float32), self.settings
        who, which = plan.identities.tolist(), plan.samples.tolist()
        drawn = draw_attributes(table, s.attributes, s.pose_range, s.pose_only, run.seed, who, which)
        return SamplePlan(plan.identities, plan.samples, {"attributes": drawn}, plan.pool)

    def denoiser(self, parts: LatentDiffusion, plan: SamplePlan, rows: SamplePlan, given: Given, run: Run) -> Denoiser:
        """The model under each image's own embedding and attributes, along the adjusted score."""
        import torch

        from harness.diffusion.samplers import bind
        from harness.diffusion.weights import load_strict, take_prefix
        from harness_id3.network import AttributeTokens
        from harness_id3.score import with_identity_score

        s = self.settings
        who, which = rows.identities.tolist(), rows.samples.tolist()
        drawn = embeddings_around(plan.pool["anchor"][rows.identities], s.bounds, run.seed, who, which, "id3")
        y = torch.from_numpy(drawn).to(run.device)
        projection = given.model.settings.get("projection", "then-linear")  # older models do not say
        tokens = AttributeTokens(parts.unet.config.context_channels, projection)
        load_strict(tokens, take_prefix(given.model.tensors, _NETWORK), "model")
        tokens.to(run.device).eval().requires_grad_(False)
        with torch.no_grad():
            extra = tokens(torch.from_numpy(rows.items["attributes"]).to(run.device))
            contexts = parts.unet.contextualize(y, extra_tokens=extra)
        embed = embedder(parts.autoencoder, given.recognizer)
        plain = bind(parts.unet, contexts)
        return with_identity_score(
            plain,
            y,
            embed,
            parts.schedule,
            s.gamma,
            reading=s.c_t,
            through_denoiser=s.through_denoiser,
            clip_norm=s.clip_norm,
            below=s.guide_below,
        )

    def attributes(self, rows: SamplePlan) -> Mapping[str, Any]:
        """The pose and age that were asked for."""
        return decode_attributes(rows.items["attributes"])


def _predictor(name: str) -> type[AttributePredictor]:
    found = registry().load("attribute_predictors", name)
    if not issubclass(found, AttributePredictor):
        raise InputError(f"id3: predictor {name!r} is {found.__name__}, expected an AttributePredictor")
    return found


def known_attributes(source: FaceSet, predictors: Sequence[str], run: Run) -> dict[str, Any]:
    """The attributes of a source's faces, float32 [N] each, with those that it lacks from predictors.

    Args:
        predictors: registered names; what the source says of a face is believed, then the first one that knows.
    """
    unknown = np.full(len(source), np.nan, dtype=np.float32)
    columns: dict[str, Any] = dict(source.attributes)
    for name in predictors:
        predictor = _predictor(name)()
        known = {each: columns.get(each, unknown) for each in predictor.gives}
        if all(np.isfinite(column).all() for column in known.values()):
            continue
        progress, parts = run.progress(len(source), f"{name} images"), []
        for batch in source.batches(PREDICT_BATCH):
            parts.append(predictor.predict(batch, run))
            progress.advance(len(batch))
        for each, column in known.items():
            columns[each] = np.where(np.isfinite(column), column, np.concatenate([part[each] for part in parts]))
    return columns


def embedder(autoencoder: Autoencoder, recognizer: Recognizer) -> Embed:
    """F after the decoder: latents to unit-norm embeddings in float32, without quantization, differentiable."""
    import torch
    from torch.nn import functional as F

    size = recognizer.takes.size_px

    def embed(latents: torch.Tensor) -> torch.Tensor:
        with torch.autocast(latents.device.type, enabled=False):
            images = autoencoder.decode(latents.float(), quantize=False)
            if images.shape[-1] != size:
                images = F.interpolate(images, size=(size, size), mode="bilinear", antialias=True)
            return F.normalize(recognizer.features(recognizer.in_order(images)), dim=1)

    return embed
