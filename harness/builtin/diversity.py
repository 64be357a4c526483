"""``diversity``: how much a dataset varies, and how much of the authentic variety it covers.

Letters: N synthetic and M authentic images, I identities.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from harness.arrays import Bools, Doubles, Floats, Ints
from harness.components.base import APACHE, Settings
from harness.components.evaluator import Evaluator
from harness.components.metric import Metric, Report
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
from harness.stats.intervals import mean_uncertainty
from harness.stats.leakage import reached_by
from harness.stats.neighbors import means

if TYPE_CHECKING:
    from harness.components.given import Given
    from harness.components.run import Run
    from harness.faces.faceset import FaceSet

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
    needs = frozenset({"dataset", "judge", "source"})

    def evaluate(self, given: Given, run: Run) -> Report:
        """Measure the dataset, and compare it with the source."""
        dataset, judge, source = given.dataset, given.judge, given.source
        synthetic, authentic = (unit_embeddings(judge, faces, run) for faces in (dataset, source))
        rng = run.generator("diversity/bootstrap")
        angles = angles_to_center(synthetic, dataset.labels)
        metrics = [
            _over_identities("spread_deg", angles, len(dataset), rng, title="spread (deg)", headline=True),
            *_attribute_spreads(dataset, rng),
        ]
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
        measures: dict[str, Callable[..., Bools]] = {"coverage": covered, "recall": recalled}
        metrics = []
        for name, measure in measures.items():
            hits = measure(authentic[a], synthetic[s], device=run.device)
            shown: dict[str, Any] = {"title": name, "headline": name == "coverage", "note": note}
            shown |= {"unit": "fraction", "better": "higher"}
            metrics.append(_over_identities(name, means(hits, people), count, rng, float(hits.mean()), **shown))
        return metrics

    def _duplicates(
        self, synthetic: Floats, authentic: Floats, labels: Ints, rng: np.random.Generator, device: str
    ) -> Metric:
        """Share of images with another image of the dataset as near as hardly any two authentic images are."""
        threshold = reached_by(nearest_other(authentic, device), self.settings.duplicate_far)
        shares = means(nearest_other(synthetic, device) >= threshold, labels)
        note = f"another image at a cosine of {threshold:.4f} or more"
        shown: dict[str, Any] = {"title": "near-duplicates", "headline": True, "note": note}
        shown |= {"unit": "fraction", "better": "lower"}
        return _over_identities("near_duplicates", shares, len(labels), rng, **shown)


def _attribute_spreads(dataset: FaceSet, rng: np.random.Generator) -> list[Metric]:
    """Standard deviation within identities of the attributes that every image has."""
    known = {name: values for name, values in dataset.attributes.items() if name in ATTRIBUTES}
    metrics = []
    for name, values in known.items():
        if np.isfinite(values).all():
            unit, within = ATTRIBUTES[name], spreads(values, dataset.labels)
            title = f"{name} spread ({unit})"
            metrics.append(_over_identities(f"{name}_spread_{unit}", within, len(dataset), rng, title=title))
    return metrics


def _over_identities(
    name: str, values: Doubles, n: int, rng: np.random.Generator, value: float | None = None, **shown: Any
) -> Metric:
    """A mean over identities (or over their images, given as ``value``) with its interval."""
    at = float(values.mean()) if value is None else value
    return Metric(f"diversity/{name}", at, n, mean_uncertainty(values, rng), **shown)
