"""``fidelity``: how far the distribution of synthetic embeddings lies from the authentic one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from harness.arrays import Floats, Ints
from harness.components.base import APACHE, Settings
from harness.components.evaluator import Evaluator
from harness.components.metric import Metric, Report
from harness.errors import StageError
from harness.faces.embedding import embedding_name, unit_embeddings
from harness.stats.fidelity import KernelDistance, frechet_distance, kernel_distance
from harness.stats.intervals import bootstrapped, few_identities, multiplicities
from harness.stats.neighbors import sums
from harness.stats.uncertainty import Uncertainty

if TYPE_CHECKING:
    from harness.components.given import Given
    from harness.components.run import Run
    from harness.faces.faceset import FaceSet


class FidelitySettings(Settings):
    """Settings of ``fidelity``."""

    max_images: int = Field(10_000, ge=100, description="images of each side, on which distances depend; drawn, seeded")
    replicates: int = Field(1000, ge=100, le=100_000, description="bootstrap replicates of an interval")


class Fidelity(Evaluator):
    """Frechet and kernel distance of the judge's unit embeddings."""

    Settings: ClassVar[type[Settings]] = FidelitySettings
    license = APACHE
    needs = frozenset({"dataset", "judge", "source"})

    def evaluate(self, given: Given, run: Run) -> Report:
        """Compare equally many images of both sides."""
        dataset, judge, source = given.dataset, given.judge, given.source
        count = min(len(dataset), len(source), self.settings.max_images)
        rng = run.generator("fidelity/images")
        (synthetic, labels), (authentic, people) = (
            _drawn(faces, rng, count, lambda faces, which: unit_embeddings(judge, faces, run, which))
            for faces in (dataset, source)
        )
        note = f"{count} images of each side, unit embeddings of {embedding_name(judge)}"
        try:
            frechet, kernel = frechet_distance(synthetic, authentic), kernel_distance(synthetic, authentic, run.device)
        except ValueError as error:
            raise StageError(f"fidelity: {error}") from error
        biased = Uncertainty(note=_biased(count, judge.width))
        sure = self._kernel_uncertainty(kernel, labels, people, run)
        shown: dict[str, Any] = {"better": "lower", "headline": True, "note": note}
        metrics = [
            Metric("fidelity/frechet_distance", frechet, count, biased, title="Frechet distance", **shown),
            Metric("fidelity/kernel_distance", kernel.value, count, sure, title="kernel distance", **shown),
        ]
        return Report(metrics, rule={"images": count, "embedding": "unit, no flip"})

    def _kernel_uncertainty(self, found: KernelDistance, labels: Ints, people: Ints, run: Run) -> Uncertainty:
        """The kernel distance's interval over the identities of both sides."""
        if few := few_identities(min(int(labels.max()), int(people.max())) + 1):
            return Uncertainty(note=few)
        rng, replicates = run.generator("fidelity/bootstrap"), np.zeros(self.settings.replicates)
        for gains, whose in ((found.first, labels), (found.second, people)):
            gain = sums(gains, whose)
            replicates += (multiplicities(len(gain), len(replicates), rng) - 1) @ gain
        return bootstrapped(found.value + replicates, method="bootstrap, linear")


def _drawn(faces: FaceSet, rng: np.random.Generator, count: int, embed: Callable[..., Floats]) -> tuple[Floats, Ints]:
    """Embeddings of so many images, drawn uniformly, and their identities from 0."""
    which = np.sort(rng.choice(len(faces), count, replace=False))
    return embed(faces, which), np.unique(faces.labels[which], return_inverse=True)[1].reshape(-1)


def _biased(count: int, width: int) -> str:
    """Why the Frechet distance has no interval, and when it rests on covariances without full rank."""
    text = "no interval: it falls with the sample size, so compare equal sizes alone"
    return text if count > width else f"{text}; {count} images cannot fill {width} dimensions"
