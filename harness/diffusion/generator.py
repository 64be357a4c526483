"""The base class of generators that sample from a latent diffusion model.

A method says how a batch of the plan becomes a noise predictor; everything else is the same for all of them. Light on
purpose: torch is imported when something runs.
"""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel

from harness.components import Generator, Given, ImageBatch, Run, SamplePlan
from harness.components.base import APACHE
from harness.diffusion.settings import LatentFitSettings, LatentSampleSettings

if TYPE_CHECKING:
    from harness.diffusion.latent import LatentDiffusion
    from harness.diffusion.samplers import Denoiser


class LatentGenerator(Generator):
    """Samples images from a latent diffusion model, one denoiser per batch of plan rows."""

    Settings: ClassVar[type[BaseModel]] = LatentSampleSettings
    license = APACHE
    needs = frozenset({"model", "contexts"})

    def identity(self) -> dict[str, Any]:
        """Everything but the sampling batch size, which changes images by rounding alone."""
        hidden = set() if isinstance(self.settings, LatentFitSettings) else {"batch_size"}
        values: dict[str, Any] = self.settings.model_dump(mode="json", exclude=hidden)
        return values

    @abstractmethod
    def denoiser(self, parts: LatentDiffusion, plan: SamplePlan, rows: SamplePlan, given: Given, run: Run) -> Denoiser:
        """The noise predictor of a batch.

        Args:
            parts: the model's networks.
            plan: the whole shard, for its pool.
            rows: the batch.
            given: what the method needs, for what it adds to the model.
        """

    def attributes(self, rows: SamplePlan) -> Mapping[str, Any]:
        """What to record of each image of a batch beside its pixels."""
        return {}

    def sample(self, plan: SamplePlan, given: Given, run: Run) -> Iterator[ImageBatch]:
        """Sample every planned image from its own noise."""
        from harness.diffusion.latent import LatentDiffusion
        from harness.diffusion.sampling import sample_images

        parts = LatentDiffusion.from_model(given.model, run.device, self.settings.dtype)
        if self.settings.compile:
            warnings.filterwarnings("ignore", "Dynamo detected a call to a `functools.lru_cache`")  # the schedule's
            parts.unet.compile()
        for rows in plan.batches(self.settings.batch_size):
            denoiser = self.denoiser(parts, plan, rows, given, run)
            images = sample_images(parts, rows, run, denoiser, self.settings)
            yield ImageBatch(rows.identities, rows.samples, images, attributes=self.attributes(rows))
