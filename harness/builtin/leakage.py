"""``leakage``: do synthetic faces show people of the authentic source?

Letters: N synthetic images, I synthetic identities.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from harness.components.base import APACHE, Settings
from harness.components.data import Ints, Metric, Report, Subject
from harness.components.evaluator import Evaluator, Need
from harness.errors import StageError
from harness.faces.embedding import unit_embeddings
from harness.stats.intervals import few_identities, mean_interval, wilson
from harness.stats.leakage import Search, search, search_centers
from harness.stats.neighbors import means

if TYPE_CHECKING:
    from harness.components.run import Run
    from harness.faces.faceset import FaceSet

MIN_EVENTS = 10  # identities with a share other than 0 (or 1); a bootstrap of fewer is no interval


class LeakageSettings(Settings):
    """Settings of ``leakage``."""

    far: float = Field(
        0.001, gt=0, lt=1, description="share of authentic searches among other people that may reach the threshold"
    )
    shown: int = Field(8, ge=1, le=32, description="worst pairs in the picture")


class Leakage(Evaluator):
    """Searches every synthetic image and every center of an identity among authentic people."""

    Settings: ClassVar[type[Settings]] = LeakageSettings
    license = APACHE
    code = (
        "harness.builtin.leakage",
        "harness.faces.embedding",
        "harness.stats.leakage",
        "harness.stats.neighbors",
        "harness.stats.intervals",
        "harness.stats.allpairs",
        "harness.stats.verification",
        "harness.figures",
    )
    needs: ClassVar[frozenset[Need]] = frozenset({"dataset", "judge", "source"})

    def evaluate(self, subject: Subject, run: Run) -> Report:
        """Search the dataset among the source's people."""
        dataset, judge, source = subject.dataset, subject.judge, subject.source
        if dataset is None or judge is None or source is None:
            raise StageError("leakage needs a dataset, a recognizer that judges it and an authentic source")
        synthetic, authentic = (unit_embeddings(judge, faces, run) for faces in (dataset, source))
        labels, people = dataset.labels, source.labels
        try:
            images = search(synthetic, authentic, people, self.settings.far, run.device)
            identities = search_centers(synthetic, labels, authentic, people, self.settings.far)
        except ValueError as error:
            raise StageError(f"leakage: {error}") from error
        metrics = [
            _image_share(images, labels, run.generator("leakage/bootstrap")),
            _identity_share(identities),
            _reproduced(identities, int(people.max()) + 1),
            *_levels("image", images),
            *_levels("identity", identities),
        ]
        rule = {"far": self.settings.far, "searches": "images among images, centers among centers; far per search"}
        tables = {"leakage-images": _image_table(images, dataset, source)}
        tables["leakage-identities"] = _identity_table(identities, dataset, source)
        return Report(metrics, self._figures(images, dataset, source), tables, rule)

    def _figures(self, found: Search, dataset: FaceSet, source: FaceSet) -> dict[str, bytes]:
        from harness.figures import picture_pairs, score_histogram

        # the worst image of each identity, or the picture shows one person only
        order = np.argsort(-found.cosine, kind="stable")
        first = np.sort(np.unique(dataset.labels[order], return_index=True)[1])
        worst = order[first][: self.settings.shown]
        titles = [f"{found.cosine[i]:.3f}{' *' if found.above[i] else ''}" for i in worst]
        left, right = dataset.images(worst), source.images(found.place[worst])
        pairs = picture_pairs(left, right, titles, f"nearest (* above {found.threshold:.3f})", "synthetic", "authentic")
        names = {"genuine_name": "synthetic", "impostor_name": "authentic, other people"}
        scores = score_histogram(found.cosine, found.authentic, "cosine with the nearest authentic image", **names)
        return {"leakage-pairs": pairs, "leakage-scores": scores}


def _image_share(found: Search, labels: Ints, rng: np.random.Generator) -> Metric:
    """Mean over identities of the share of images above the threshold."""
    shares = means(found.above, labels)
    note, interval = few_identities(len(shares)), None
    if not note:
        touched = int(min((shares > 0).sum(), (shares < 1).sum()))
        if touched < MIN_EVENTS:
            note = f"no interval: {touched} identities differ from the others, expected {MIN_EVENTS}"
        else:
            interval = mean_interval(shares, rng)
    return _metric("images_above", float(shares.mean()), len(labels), interval, "bootstrap", note or _calibrated(found))


def _identity_share(found: Search) -> Metric:
    """Share of identities whose center is above the threshold: independent draws, so Wilson's interval."""
    hits, count = int(found.above.sum()), len(found.above)
    return _metric("identities_above", hits / count, count, wilson(hits, count), "wilson", _calibrated(found))


def _reproduced(found: Search, people: int) -> Metric:
    """Share of authentic identities that some synthetic identity reproduces."""
    hits = len(np.unique(found.identity[found.above]))
    return Metric("leakage/authentic_reproduced", hits / people, people, note="no interval: it grows with the dataset")


def _levels(kind: str, found: Search) -> list[Metric]:
    """What the share above is read against: the threshold, and what authentic people reach by chance."""
    note, n = "no interval: a calibration", len(found.authentic)
    return [
        Metric(f"leakage/{kind}_threshold", found.threshold, n, note=note),
        Metric(f"leakage/{kind}_authentic_above", found.authentic_share, n, note=note),
    ]


def _calibrated(found: Search) -> str:
    """A note where the stated rate is finer than the authentic searches resolve."""
    reached = round(found.authentic_share * len(found.authentic))
    return f"the threshold is above all {len(found.authentic)} authentic searches" if reached == 0 else ""


def _metric(name: str, value: float, n: int, interval: tuple[float, float] | None, method: str, note: str) -> Metric:
    if interval is None:
        return Metric(f"leakage/{name}", value, n, note=note)
    return Metric(f"leakage/{name}", value, n, interval, "identities", method, note=note)


def _image_table(found: Search, dataset: FaceSet, source: FaceSet) -> dict[str, Any]:
    return {
        "identity": dataset.identities,
        "sample": dataset.samples,
        "authentic_identity": source.identities[found.place],
        "authentic_sample": source.samples[found.place],
        "cosine": found.cosine,
        "above": found.above,
    }


def _identity_table(found: Search, dataset: FaceSet, source: FaceSet) -> dict[str, Any]:
    return {
        "identity": np.unique(dataset.identities),
        "authentic_identity": np.unique(source.identities)[found.identity],
        "cosine": found.cosine,
        "above": found.above,
    }
