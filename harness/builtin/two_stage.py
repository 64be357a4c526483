"""The context law ``two-stage``: embeddings of faces that an unconditional model draws."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from harness.arrays import Floats
from harness.builtin.contexts import unit
from harness.builtin.unconditional import KIND, Unconditional
from harness.components import ContextLaw, Given, SamplePlan
from harness.components.base import APACHE
from harness.diffusion.settings import LatentSampleSettings
from harness.errors import StageError, Stopped

if TYPE_CHECKING:
    from harness.components.run import Run


class TwoStageSettings(LatentSampleSettings):
    """How to sample the unconditional model."""


class TwoStage(ContextLaw):
    """Embeddings of faces that an unconditional model draws (IDiff-Face, arXiv 2308.04995).

    One image per context, embedded as the training images were: raw, unaligned.
    """

    Settings = TwoStageSettings
    license = APACHE
    needs = frozenset({"recognizer", "model"})
    accepts = {"model": frozenset({KIND})}

    def identity(self) -> dict[str, Any]:
        """Everything but the batch size, as for rows."""
        values: dict[str, Any] = self.settings.model_dump(mode="json", exclude={"batch_size"})
        return values

    def draw(self, count: int, given: Given, run: Run) -> Floats:
        """Sample, then embed.

        Raises:
            StageError: the recognizer takes aligned faces; the sampled ones are not.
            Stopped: the user asked to stop; what was embedded is kept.
        """
        import torch

        recognizer = given.recognizer
        if recognizer.takes.view != "raw":
            raise StageError("two-stage contexts are embeddings of whole pictures; give a recognizer with view raw")
        everyone = np.arange(count, dtype=np.int64)
        # Sample -1, which no row asks for: else an image of a row would start from the noise that drew its context.
        plan = SamplePlan(everyone, np.full_like(everyone, -1))
        progress = run.progress(count, "images")
        saved = run.checkpoint.load() or {"embeddings": torch.empty(0, recognizer.width)}
        embedded: Floats = saved["embeddings"].numpy()
        progress.advance(len(embedded))
        for batch in Unconditional(self.settings).sample(plan.rows(len(embedded), count), given, run):
            embedded = np.concatenate([embedded, recognizer.embed(batch.images)])
            run.checkpoint.save({"embeddings": torch.from_numpy(embedded)})
            progress.advance(len(batch))
            if run.stop_requested:
                raise Stopped(f"two-stage contexts stopped after {len(embedded)} of {count} images")
        return unit(embedded)
