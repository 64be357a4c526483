"""``leakage``: do synthetic faces show people of the authentic source?

Letters: N synthetic images, I synthetic identities.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from harness.arrays import Doubles, Ints
from harness.components.base import APACHE, Settings
from harness.components.evaluator import Evaluator
from harness.components.metric import Metric, Report
from harness.errors import StageError
from harness.faces.embedding import unit_embeddings
from harness.figures import picture_pairs, score_histogram
from harness.stats.intervals import few_identities, mean_uncertainty, wilson
from harness.stats.leakage import Search, search, search_centers
from harness.stats.neighbors import means
from harness.stats.uncertainty import Uncertainty

if TYPE_CHECKING:
    from harness.components.given import Given
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
    needs = frozenset({"dataset", "judge", "source"})

    def evaluate(self, given: Given, run: Run) -> Report:
        """Search the dataset among the source's people."""
        dataset, source = given.dataset, given.source
        synthetic, authentic = (unit_embeddings(given.judge, faces, run) for faces in (dataset, source))
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
    sure = _share_uncertainty(shares, rng)
    note = "" if sure.note else _calibrated(found)
    shown = {"title": "leaked images", "headline": True, "note": note}
    return _share("images_above", float(shares.mean()), len(labels), sure, **shown)


def _share_uncertainty(shares: Doubles, rng: np.random.Generator) -> Uncertainty:
    """Interval of the mean share of identities [I], withheld where few of them differ from the others."""
    touched = int(min((shares > 0).sum(), (shares < 1).sum()))
    if few_identities(len(shares)) or touched >= MIN_EVENTS:
        return mean_uncertainty(shares, rng)
    return Uncertainty(note=f"no interval: {touched} identities differ from the others, expected {MIN_EVENTS}")


def _identity_share(found: Search) -> Metric:
    """Share of identities whose center is above the threshold: independent draws, so Wilson's interval."""
    hits, count = int(found.above.sum()), len(found.above)
    shown = {"title": "leaked identities", "headline": True, "note": _calibrated(found)}
    return _share("identities_above", hits / count, count, wilson(hits, count, "identities"), **shown)


def _reproduced(found: Search, people: int) -> Metric:
    """Share of authentic identities that some synthetic identity reproduces."""
    share = len(np.unique(found.identity[found.above])) / people
    sure = Uncertainty(note="no interval: it grows with the dataset")
    return _share("authentic_reproduced", share, people, sure, title="reproduced people")


def _share(name: str, value: float, n: int, sure: Uncertainty, **shown: Any) -> Metric:
    """A share of faces that should be small."""
    return Metric(f"leakage/{name}", value, n, sure, unit="fraction", better="lower", **shown)


def _levels(kind: str, found: Search) -> list[Metric]:
    """What the share above is read against: the threshold, and what authentic people reach by chance."""
    sure, n = Uncertainty(note="no interval: a calibration"), len(found.authentic)
    chance: dict[str, Any] = {"title": f"{kind} chance", "unit": "fraction"}
    return [
        Metric(f"leakage/{kind}_threshold", found.threshold, n, sure, title=f"{kind} threshold"),
        Metric(f"leakage/{kind}_authentic_above", found.authentic_share, n, sure, **chance),
    ]


def _calibrated(found: Search) -> str:
    """A note where the stated rate is finer than the authentic searches resolve."""
    reached = round(found.authentic_share * len(found.authentic))
    return f"the threshold is above all {len(found.authentic)} authentic searches" if reached == 0 else ""


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
