"""``consistency``: do the images of an identity show one person, and do two identities show two?

Letters: N images, I identities.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from harness.arrays import Bools, Ints
from harness.components.base import APACHE
from harness.components.evaluator import Evaluator
from harness.components.metric import Metric, Report
from harness.errors import StageError
from harness.faces.embedding import unit_embeddings
from harness.figures import score_histogram
from harness.stats.consistency import Assignment, assign, doubles
from harness.stats.intervals import mean_uncertainty
from harness.stats.neighbors import means
from harness.stats.uncertainty import Uncertainty

if TYPE_CHECKING:
    from harness.components.given import Given
    from harness.components.run import Run
    from harness.faces.faceset import FaceSet


class Consistency(Evaluator):
    """Share of images that a judge assigns to another identity, and identities that show one person twice."""

    license = APACHE
    needs = frozenset({"dataset", "judge"})

    def evaluate(self, given: Given, run: Run) -> Report:
        """Assign every image of the dataset to a center."""
        dataset = given.dataset
        embeddings, labels = unit_embeddings(given.judge, dataset, run), dataset.labels
        try:
            found = assign(embeddings, labels, run.device)
        except ValueError as error:
            raise StageError(f"consistency: {error}") from error
        judged = np.isfinite(found.own)
        if not judged.any():
            raise StageError(f"consistency: no identity of {labels.max() + 1} has 2 images; expected some that have")
        metrics = [
            _wrong(found, labels, judged, run.generator("consistency/bootstrap")),
            _doubled(doubles(found, labels), int(labels.max()) + 1),
        ]
        names = {"genuine_name": "its own center, without it", "impostor_name": "nearest other center"}
        figure = score_histogram(found.own[judged], found.other[judged], "cosine of an image with a center", **names)
        tables = {"consistency-images": _table(found, dataset)}
        rule = {"center": "unit mean of the identity's unit embeddings, its own without the image", "flip": False}
        return Report(metrics, {"consistency-scores": figure}, tables, rule)


def _wrong(found: Assignment, labels: Ints, judged: Bools, rng: np.random.Generator) -> Metric:
    """Mean over identities of the share of images assigned to another one."""
    shares = means(found.wrong[judged], np.unique(labels[judged], return_inverse=True)[1].reshape(-1))
    n = int(judged.sum())
    single = len(labels) - n
    note = f"{single} images are alone in their identity and left out" if single else ""
    return _share("wrong_images", float(shares.mean()), n, mean_uncertainty(shares, rng), note)


def _doubled(pairs: list[tuple[int, int]], identities: int) -> Metric:
    """Share of identities that show the same person as another one."""
    share = len({identity for pair in pairs for identity in pair}) / identities
    sure = Uncertainty(note="no interval: whether an identity has a double depends on all others")
    return _share("doubled_identities", share, identities, sure)


def _share(name: str, value: float, n: int, sure: Uncertainty, note: str = "") -> Metric:
    """A share that should be small."""
    shown: dict[str, Any] = {"title": name.replace("_", " "), "unit": "fraction", "better": "lower", "headline": True}
    return Metric(f"consistency/{name}", value, n, sure, note=note, **shown)


def _table(found: Assignment, dataset: FaceSet) -> dict[str, Any]:
    people = np.unique(dataset.identities)
    columns = {"identity": dataset.identities, "sample": dataset.samples, "rival": people[found.rival]}
    return columns | {"own": found.own, "other": found.other, "wrong": found.wrong}
