"""``diversity``: how much a dataset varies, and how much of the authentic variety it covers.

Letters: N synthetic and M authentic images, I identities.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from harness.components.base import APACHE, Settings
from harness.components.data import Floats, Ints, Metric, Report, Subject
from harness.components.evaluator import Evaluator, Need
from harness.errors import StageError
from harness.faces.embedding import embedding_name, unit_embeddings
from harness.stats.diversity import (
    COVERAGE_K,
    RECALL_K,
    angles_to_center,
    covered,
    nearest_other,
    recalled,
    spreads,
)
from harness.stats.intervals import few_identities, mean_interval
from harness.stats.leakage import reached_by
from harness.stats.neighbors import means

if TYPE_CHECKING:
    from harness.components.run import Run
    from harness.faces.faceset import FaceSet

Doubles = NDArray[np.float64]

ATTRIBUTES = {"yaw": "deg", "pitch": "deg", "roll": "deg", "age": "years"}  # with their units


class DiversitySettings(Settings):
    """Settings of ``diversity``."""

    max_images: int = Field(
        10_000, ge=100, description="images of each side for coverage and recall, which depend on it; drawn, seeded"
    )
    duplicate_far: float = Field(
        0.001, gt=0, lt=1, description="share of authentic images that count as near-duplicates, which sets the cosine"
    )


class Diversity(Evaluator):
    """Spread within identities, coverage and recall of the source, and near-duplicates."""

    Settings: ClassVar[type[Settings]] = DiversitySettings
    license = APACHE
    code = (
        "harness.builtin.diversity",
        "harness.faces.embedding",
        "harness.stats.diversity",
        "harness.stats.leakage",
        "harness.stats.neighbors",
        "harness.stats.intervals",
        "harness.stats.allpairs",
        "harness.stats.verification",
    )
    needs: ClassVar[frozenset[Need]] = frozenset({"dataset", "judge", "source"})

    def evaluate(self, subject: Subject, run: Run) -> Report:
        """Measure the dataset, and compare it with the source."""
        dataset, judge, source = subject.dataset, subject.judge, subject.source
        if dataset is None or judge is None or source is None:
            raise StageError("diversity needs a dataset, a recognizer that judges it and an authentic source")
        synthetic, authentic = (unit_embeddings(judge, faces, run) for faces in (dataset, source))
        rng = run.generator("diversity/bootstrap")
        angles = angles_to_center(synthetic, dataset.labels)
        metrics = [_over_identities("spread_deg", angles, len(dataset), rng), *_attribute_spreads(dataset, rng)]
        try:
            metrics += self._against(synthetic, authentic, source, embedding_name(judge), run)
            metrics.append(self._duplicates(synthetic, authentic, dataset.labels, rng, run.device))
        except ValueError as error:
            raise StageError(f"diversity: {error}") from error
        rule = {"max_images": self.settings.max_images, "duplicate_far": self.settings.duplicate_far}
        rule |= {"coverage_k": COVERAGE_K, "recall_k": RECALL_K}
        return Report(metrics, rule=rule)

    def _against(self, synthetic: Floats, authentic: Floats, source: FaceSet, embedding: str, run: Run) -> list[Metric]:
        """Coverage and recall of equally many images of both sides."""
        count = min(len(synthetic), len(authentic), self.settings.max_images)
        rng = run.generator("diversity/images")
        a, s = (np.sort(rng.choice(len(x), count, replace=False)) for x in (authentic, synthetic))
        people = np.unique(source.labels[a], return_inverse=True)[1].reshape(-1)
        note = f"{count} images of each side, embedding {embedding}; the interval is over authentic identities"
        measures: dict[str, Callable[..., NDArray[np.bool_]]] = {"coverage": covered, "recall": recalled}
        metrics = []
        for name, measure in measures.items():
            hits = measure(authentic[a], synthetic[s], device=run.device)
            metrics.append(_over_identities(name, means(hits, people), count, rng, float(hits.mean()), note))
        return metrics

    def _duplicates(
        self, synthetic: Floats, authentic: Floats, labels: Ints, rng: np.random.Generator, device: str
    ) -> Metric:
        """Share of images with another image of the dataset as near as hardly any two authentic images are."""
        threshold = reached_by(nearest_other(authentic, device), self.settings.duplicate_far)
        shares = means(nearest_other(synthetic, device) >= threshold, labels)
        note = f"another image at a cosine of {threshold:.4f} or more"
        return _over_identities("near_duplicates", shares, len(labels), rng, note=note)


def _attribute_spreads(dataset: FaceSet, rng: np.random.Generator) -> list[Metric]:
    """Standard deviation within identities of the attributes that every image has."""
    known = {name: values for name, values in dataset.attributes.items() if name in ATTRIBUTES}
    return [
        _over_identities(f"{name}_spread_{ATTRIBUTES[name]}", spreads(values, dataset.labels), len(dataset), rng)
        for name, values in known.items()
        if np.isfinite(values).all()
    ]


def _over_identities(
    name: str, values: Doubles, n: int, rng: np.random.Generator, value: float | None = None, note: str = ""
) -> Metric:
    """A mean over identities (or over their images, given as ``value``) with its interval."""
    interval = mean_interval(values, rng)
    text = "; ".join(filter(None, [few_identities(len(values)), note]))
    at = float(values.mean()) if value is None else value
    if interval is None:
        return Metric(f"diversity/{name}", at, n, note=text)
    return Metric(f"diversity/{name}", at, n, interval, "identities", "bootstrap", note=text)
