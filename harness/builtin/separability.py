"""``separability``: how well a judge tells the identities of a dataset apart, and how much their images vary.

All pairs count, whatever the size: as lists that pyeer reports on where they fit, else as exact moments and histograms
(:mod:`harness.stats.allpairs`), whose rates are pyeer's to the bin.

Letters: N faces, I identities, S side of the crop in pixels, D embedding width, G genuine and M impostor pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from harness.arrays import Doubles, Floats, Ints
from harness.components.base import APACHE, Settings
from harness.components.evaluator import Evaluator
from harness.components.metric import Metric, Report
from harness.errors import StageError
from harness.figures import binned_histogram, score_histogram
from harness.stats.allpairs import BINS, EDGES, count_pairs, pair_moments
from harness.stats.allpairs_intervals import all_pairs_uncertainties
from harness.stats.intervals import mean_uncertainty
from harness.stats.pairing import cosines, within
from harness.stats.score_intervals import score_uncertainties
from harness.stats.separability import (
    ScoreStatistics,
    from_pyeer,
    histogram_statistics,
    pyeer_report,
    pyeer_stats,
    score_statistics,
)
from harness.stats.verification import unit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.components.given import Given
    from harness.components.recognizer import Recognizer
    from harness.components.run import Run
    from harness.faces.faceset import FaceSet
    from harness.stats.uncertainty import Uncertainty

# pyeer sorts Python tuples (3 s and 250 MB per million scores); more pairs than this are counted in histograms.
LIST_PAIRS = 2_500_000
LARGE_SCORES = 200_000  # above this, a fifth of the bootstrap replicates is drawn from lists
REFERENCE_SHARE = 0.05  # of the later identities, drawn for each; source: IDiff-Face and NegFaceDiff's evaluation
_READ_FACES = 512  # images read at once
DRAWN_BINS = 400  # of the table that pictures of several rows are drawn from
DRAWN_EDGES = EDGES[:: BINS // DRAWN_BINS]
# How each statistic is to be read.
_SHOWN: dict[str, dict[str, Any]] = {
    "fdr": {"title": "FDR", "better": "higher", "headline": True, "relative": True, "margin": 0.10},
    "eer": {"title": "EER", "unit": "fraction", "better": "lower", "headline": True},
    "fmr100": {"title": "FMR100", "unit": "fraction", "better": "lower", "headline": True},
    "fmr1000": {"title": "FMR1000", "unit": "fraction", "better": "lower"},
    "genuine_mean": {"title": "genuine mean"},
    "genuine_std": {"title": "genuine std"},
    "impostor_mean": {"title": "impostor mean"},
    "impostor_std": {"title": "impostor std"},
}


class SeparabilitySettings(Settings):
    """Settings of ``separability``; the subset is that of NegFaceDiff's evaluation (1,000 identities x 20 images)."""

    max_identities: int = Field(1000, ge=2, description="identities judged, the first ones by number")
    max_per_identity: int = Field(20, ge=2, description="images judged per identity, the first ones by number")
    impostors: Literal["all", "reference"] = Field(
        "all",
        description="cross pairs: all, or those of 5 percent of the later identities, as published evaluations draw",
    )
    replicates: int = Field(
        1000, ge=100, le=100_000, description="bootstrap replicates; a fifth for lists above 200,000 scores"
    )


@dataclass(frozen=True)
class Scores:
    """Cosine similarities with the identities (from 0) that they belong to."""

    genuine: Doubles
    genuine_identity: Ints
    impostor: Doubles
    impostor_a: Ints
    impostor_b: Ints


@dataclass(frozen=True)
class _Found:
    """What the pairs gave: statistics, how sure they are, how many pairs of each kind, and a picture of the scores."""

    statistics: ScoreStatistics
    sure: Mapping[str, Uncertainty]
    genuine: int
    impostor: int
    figure: bytes
    histogram: dict[str, NDArray[Any]]
    report: str = ""


class Separability(Evaluator):
    """Fisher discriminant ratio, error rates by pyeer, and pixel diversity of a dataset."""

    Settings: ClassVar[type[Settings]] = SeparabilitySettings
    license = APACHE
    needs = frozenset({"dataset", "judge"})

    def evaluate(self, given: Given, run: Run) -> Report:
        """Judge the subset of the dataset."""
        dataset = given.dataset
        chosen, labels = judged(dataset, self.settings, "separability: the dataset")
        embeddings, spreads = _read(dataset, given.judge, chosen, labels, run)
        if not np.isfinite(embeddings).all():
            bad = int((~np.isfinite(embeddings).all(axis=1)).sum())
            raise StageError(f"separability: {bad} of {len(embeddings)} embeddings by the judge are not finite")
        try:
            found = self._pairs(embeddings, labels, run)
        except ValueError as error:
            raise StageError(f"separability: {error}") from error
        metrics = [_metric(name, found) for name in _SHOWN]
        metrics.append(_diversity(spreads, len(chosen), run.generator("separability/diversity")))
        texts = {"separability-pyeer.csv": found.report} if found.report else {}
        tables = {"separability-histogram": found.histogram}
        return Report(metrics, {"separability-scores": found.figure}, tables, self._rule(dataset), texts)

    def _pairs(self, embeddings: Floats, labels: Ints, run: Run) -> _Found:
        """Statistics of the pairs, from lists where they fit."""
        if self.settings.impostors == "reference":
            drawn = reference_identities(int(labels.max()) + 1, run.generator("separability/pairs"))
            return self._from_lists(pair_scores(embeddings, labels, drawn), int(labels.max()) + 1, run)
        if len(labels) * (len(labels) - 1) // 2 <= LIST_PAIRS:
            return self._from_lists(pair_scores(embeddings, labels), int(labels.max()) + 1, run)
        return self._from_histograms(embeddings, labels, run)

    def _from_lists(self, scores: Scores, identities: int, run: Run) -> _Found:
        total = len(scores.genuine) + len(scores.impostor)
        if total <= LIST_PAIRS:
            theirs = pyeer_stats(scores.genuine, scores.impostor)
            statistics, report = from_pyeer(theirs), pyeer_report({"separability": theirs})
        else:
            statistics, report = score_statistics(scores.genuine, scores.impostor), ""
        replicates = affordable(self.settings.replicates, total)
        sure = score_uncertainties(
            scores.genuine,
            scores.genuine_identity,
            scores.impostor,
            scores.impostor_a,
            scores.impostor_b,
            identities,
            run.generator("separability/bootstrap"),
            replicates,
        )
        figure = score_histogram(scores.genuine, scores.impostor, "separability")
        counts = [np.histogram(each.clip(-1, 1), DRAWN_EDGES)[0] for each in (scores.genuine, scores.impostor)]
        return _Found(statistics, sure, len(scores.genuine), len(scores.impostor), figure, _histogram(*counts), report)

    def _from_histograms(self, embeddings: Floats, labels: Ints, run: Run) -> _Found:
        progress = run.progress(len(labels) * (len(labels) - 1) // 2, "pairs")
        histogram = count_pairs(embeddings, labels, run.device, progress.advance)
        moments = pair_moments(embeddings, labels)
        statistics = histogram_statistics(histogram, moments.moments())
        rng = run.generator("separability/bootstrap")
        sure = all_pairs_uncertainties(
            embeddings, labels, histogram, moments, rng, self.settings.replicates, run.device
        )
        figure = binned_histogram(histogram.genuine, histogram.impostor, EDGES, "separability")
        counts = [each.reshape(DRAWN_BINS, -1).sum(axis=1) for each in (histogram.genuine, histogram.impostor)]
        n = int(histogram.genuine.sum()), int(histogram.impostor.sum())
        return _Found(statistics, sure, *n, figure, _histogram(*counts))

    def _rule(self, dataset: FaceSet) -> dict[str, Any]:
        """What numbers depend on beside the judge, which the engine adds: equal rules make rows comparable."""
        settings = self.settings
        reference = f"{REFERENCE_SHARE:.0%} of the later identities with replacement, merged, seeded"
        return {
            "subset": f"first {settings.max_identities} identities, first {settings.max_per_identity} images of each",
            "genuine": "all pairs within an identity",
            "impostor": "all" if settings.impostors == "all" else reference,
            "flip": False,
            "crop": {"view": dataset.crop.view, "size_px": dataset.crop.size_px, "color": dataset.crop.color},
        }


def judged(faces: FaceSet, settings: Any, who: str) -> tuple[Ints, Ints]:
    """The faces that are judged: positions [N] of the first images of the first identities, and labels from 0 [N].

    Args:
        settings: with ``max_identities`` and ``max_per_identity``.
        who: has these faces, for errors.

    Raises:
        StageError: there is no genuine or no impostor pair among them.
    """
    chosen = subset(faces.identities, faces.samples, settings.max_identities, settings.max_per_identity)
    labels = np.unique(faces.identities[chosen], return_inverse=True)[1].reshape(-1).astype(np.int64)
    sizes = np.bincount(labels) if len(labels) else np.zeros(0, int)
    if len(sizes) < 2 or sizes.max() < 2:
        raise StageError(
            f"{who} has {len(labels)} images of {len(sizes)} identities; "
            "expected at least 2 identities, one of them with 2 images"
        )
    return chosen, labels


def affordable(replicates: int, scores: int) -> int:
    """How many bootstrap replicates of so many scores are drawn."""
    return replicates // 5 if scores > LARGE_SCORES else replicates


def subset(identities: Ints, samples: Ints, max_identities: int, max_per_identity: int) -> Ints:
    """Positions of the first images of the first identities, both in numeric order."""
    order = np.lexsort((samples, identities))
    kept: Ints = np.unique(identities)[:max_identities]
    order = order[np.isin(identities[order], kept)]
    sorted_ids = identities[order]
    rank = np.arange(len(order)) - np.searchsorted(sorted_ids, sorted_ids, side="left")  # of the image in its identity
    return order[rank < max_per_identity].astype(np.int64)


def pair_scores(embeddings: Floats, labels: Ints, drawn: tuple[Ints, Ints] | None = None) -> Scores:
    """Cosines of all pairs within an identity, and of all cross pairs.

    Args:
        embeddings: unit vectors [N, D].
        labels: identity of each, from 0, in ascending order, [N].
        drawn: the pairs of identities whose cross pairs count; all of them by default.
    """
    sizes = np.bincount(labels)
    starts = np.cumsum(sizes) - sizes
    a, b = within(labels)
    if drawn is None:
        p, q = np.triu_indices(len(labels), 1)
        apart = labels[p] != labels[q]
        p, q = p[apart], q[apart]
    else:
        p, q = _cross_pairs(starts, sizes, *drawn)
    genuine, impostor = (cosines(embeddings, embeddings, *pairs) for pairs in ((a, b), (p, q)))
    return Scores(genuine, labels[a], impostor, labels[p], labels[q])


def reference_identities(identities: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Pairs of identities as the published evaluations draw them, first number below second.

    For every identity in order, a number of later identities, ``REFERENCE_SHARE`` of them rounded down, is drawn with
    replacement; duplicates are merged. The last 20 identities draw none. Ours is seeded; scores keep full precision.

    Source: separability evaluation of IDiff-Face and NegFaceDiff (arXiv 2508.09661), as their code has it.
    """
    drawn = [
        np.unique(rng.integers(identity + 1, identities, int(REFERENCE_SHARE * (identities - 1 - identity))))
        for identity in range(identities - 1)
    ]
    first = np.repeat(np.arange(identities - 1), [len(others) for others in drawn])
    return first.astype(np.int64), np.concatenate(drawn)


def _cross_pairs(starts: Ints, sizes: Ints, first: Ints, second: Ints) -> tuple[Ints, Ints]:
    """All image pairs of pairs of identities."""
    if len(first) == 0:
        raise ValueError(f"{len(sizes)} identities draw no impostor pair; expected at least 21, or impostors: all")
    p, q = [], []
    for i, j in zip(first, second, strict=True):
        p.append(np.repeat(starts[i] + np.arange(sizes[i]), sizes[j]))
        q.append(np.tile(starts[j] + np.arange(sizes[j]), sizes[i]))
    return np.concatenate(p), np.concatenate(q)


def _histogram(genuine: Ints, impostor: Ints) -> dict[str, NDArray[Any]]:
    """A table of the scores, for pictures of several rows."""
    return {"low": DRAWN_EDGES[:-1], "high": DRAWN_EDGES[1:], "genuine": genuine, "impostor": impostor}


def _read(dataset: FaceSet, judge: Recognizer, chosen: Ints, labels: Ints, run: Run) -> tuple[Floats, Doubles]:
    """Unit embeddings [N, D] of the chosen faces, and the pixel spread of every identity with two images or more."""
    progress = run.progress(len(chosen), "images")
    sizes = np.bincount(labels)
    ends = np.cumsum(sizes)
    embeddings, spreads = np.empty((len(chosen), judge.width), np.float32), []
    first = 0
    while first < len(sizes):
        begin = ends[first] - sizes[first]
        last = max(first + 1, int(np.searchsorted(ends, begin + _READ_FACES, side="right")))
        images = dataset.images(chosen[begin : ends[last - 1]])
        embeddings[begin : ends[last - 1]] = unit(judge.embed(images))
        for identity in range(first, last):
            own = images[ends[identity] - sizes[identity] - begin : ends[identity] - begin]
            if len(own) > 1:
                spreads.append(float((own / 255.0).std(axis=0).mean()))
        progress.advance(len(images))
        first = last
    return embeddings, np.array(spreads)


def _metric(name: str, found: _Found) -> Metric:
    kind = name.partition("_")[0]
    n = {"genuine": found.genuine, "impostor": found.impostor}.get(kind, found.genuine + found.impostor)
    return Metric(f"separability/{name}", getattr(found.statistics, name), n, found.sure[name], **_SHOWN[name])


def _diversity(spreads: Doubles, images: int, rng: np.random.Generator) -> Metric:
    """Standard deviation of each pixel (in [0, 1]) over an identity's images, mean over pixels and identities."""
    return Metric(
        "separability/pixel_diversity",
        float(spreads.mean()),
        images,
        mean_uncertainty(spreads, rng),
        title="pixel diversity",
        headline=True,
        relative=True,
        margin=0.05,
    )
