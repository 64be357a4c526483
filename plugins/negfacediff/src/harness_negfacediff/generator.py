"""The NegFaceDiff generator: IDiff-Face's model, steered away from a negative context while sampling.

    eps_guided = (1 + w) eps(x_t, t, p) - w eps(x_t, t, n)

Nothing is trained; the model is whatever fitted a latent diffusion model on contexts.

Source: NegFaceDiff, arXiv 2508.09661; weight schedules from AdaptDiff, arXiv 2603.29569.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from harness.components import Given, Request, Run, SamplePlan
from harness.diffusion.generator import LatentGenerator
from harness.diffusion.kinds import LATENT_DIFFUSION
from harness.diffusion.settings import LatentSampleSettings, T
from harness_negfacediff.negatives import negative_table

if TYPE_CHECKING:
    from harness.diffusion.guidance import Weight
    from harness.diffusion.latent import LatentDiffusion
    from harness.diffusion.samplers import Denoiser

# Guidance weight of the paper. Source: NegFaceDiff repository, README and first release
WEIGHT = 0.5

# Negatives that are another identity, by the table of the pool; the rest need none.
_TABLES = ("close", "mid", "far", "random", "mid_reference", "previous")
Negative = Literal["none", "null_projected", "null_zero", "close", "mid", "far", "random", "mid_reference", "previous"]

Step = Annotated[int, Field(ge=0, lt=T)]


class NegFaceDiffSettings(LatentSampleSettings):
    """How to guide and sample."""

    negative: Negative = Field(
        "far",
        description="far, mid, close, random: another identity; null_projected: a zero context through the projection "
        "(the reference's null); null_zero: no context; none: the plain model; for parity, the reference's rules for "
        "its mid, mid_reference, and for its random, previous: the identity before",
    )
    w: float = Field(WEIGHT, ge=0, le=20, description="guidance weight; published: 0.5")
    schedule: Literal["constant", "adaptive", "reverse-adaptive"] = Field(
        "constant", description="w over the steps; adaptive: w (1 - t/T) as in AdaptDiff, reverse-adaptive: w t/T"
    )
    interval: tuple[Step, Step] | None = Field(
        None,
        description="least and greatest diffusion step t (0 clean, 999 noise) at which to steer, such as [200, 800]; "
        "at others the network is called without the negative, for half the work; null: steer at all steps",
    )

    @model_validator(mode="before")
    @classmethod
    def _plain_model_has_no_weight(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and given.get("negative") == "none":
            return {"w": 0.0, **given}
        return given

    @model_validator(mode="after")
    def _something_to_schedule(self) -> Self:
        if self.negative == "none" and self.w:
            raise ValueError(f"w {self.w:g}: has no effect with negative 'none'; leave it out")
        if self.schedule != "constant" and self.w == 0:
            without = "negative 'none'" if self.negative == "none" else "w 0"
            raise ValueError(f"schedule {self.schedule!r}: has no effect with {without}; set it to constant")
        if self.interval is not None and self.w == 0:
            raise ValueError(f"interval {list(self.interval)}: has no effect with w 0; leave it out")
        if self.interval is not None and self.interval[0] > self.interval[1]:
            raise ValueError(f"interval {list(self.interval)}: the least step first")
        return self


class NegFaceDiff(LatentGenerator):
    """NegFaceDiff: steer IDiff-Face's model away from another identity while sampling."""

    Settings = NegFaceDiffSettings
    accepts = {"model": frozenset({LATENT_DIFFUSION})}

    def plan(self, request: Request, given: Given, run: Run) -> SamplePlan:
        """Choose every identity's negative, over the whole pool."""
        contexts = given.contexts
        pool = {"context": contexts}
        if self.settings.negative in _TABLES:
            table = negative_table(contexts, self.settings.negative, run.seed)
            pool["negative"] = contexts[table]
        elif self.settings.negative == "null_projected":
            pool["negative"] = np.zeros_like(contexts)
        return SamplePlan.grid(request.identities, request.per_identity, pool=pool)

    def denoiser(self, parts: LatentDiffusion, plan: SamplePlan, rows: SamplePlan, given: Given, run: Run) -> Denoiser:
        """The model with guidance; both predictions of a step are one batch."""
        from harness.diffusion.guidance import with_negative
        from harness.diffusion.samplers import bind
        from harness.diffusion.sampling import contextualize

        s = self.settings
        contexts = contextualize(parts, rows, plan.pool["context"], run)
        if s.w == 0:
            return bind(parts.unet, contexts)
        negatives = contextualize(parts, rows, plan.pool.get("negative"), run)
        weight = _weight(s.w, s.schedule, parts.schedule.T)
        return bind(with_negative(parts.unet, negatives, weight, s.interval), contexts)


def _weight(w: float, schedule: str, T: int) -> Weight:
    from harness.diffusion.guidance import adaptive, reverse_adaptive

    return {"constant": w, "adaptive": adaptive(w, T), "reverse-adaptive": reverse_adaptive(w, T)}[schedule]
