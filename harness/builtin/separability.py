"""``separability``: how well a judge tells the identities of a dataset apart, and how much their images vary.

Letters: N faces, I identities, S side of the crop in pixels, D embedding width, G genuine and M impostor pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from harness.components.base import APACHE, Settings
from harness.components.data import Metric, Report, Subject
from harness.components.evaluator import Evaluator, Need
from harness.errors import StageError
from harness.stats.intervals import ScoreIntervals, mean_interval, score_intervals
from harness.stats.separability import ScoreStatistics, pyeer_statistics, score_statistics
from harness.stats.verification import unit

if TYPE_CHECKING:
    from harness.components.recognizer import Recognizer
    from harness.components.run import Run
    from harness.faces.faceset import FaceSet

Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]

# pyeer sorts Python tuples (3 s and 250 MB per million scores); above this, our own equal statistics are used.
PYEER_SCORES = 2_500_000
LARGE_SCORES = 200_000  # above this, a fifth of the bootstrap replicates is drawn
_READ_FACES = 512  # images read at once
_SCORE_PAIRS = 1 << 18  # pairs scored at once


class SeparabilitySettings(Settings):
    """Settings of ``separability``; the subset is that of NegFaceDiff's evaluation (1,000 identities x 20 images)."""

    max_identities: int = Field(1000, ge=2, description="identities judged, the first ones by number")
    max_per_identity: int = Field(20, ge=2, description="images judged per identity, the first ones by number")
    max_impostor_pairs: int = Field(
        2_000_000, ge=1000, le=50_000_000, description="more cross pairs than this are sampled uniformly (seeded)"
    )
    replicates: int = Field(1000, ge=100, le=100_000, description="bootstrap replicates; a fifth above 200,000 scores")


@dataclass(frozen=True)
class Scores:
    """Cosine similarities with the identities (from 0) that they belong to."""

    genuine: Doubles
    genuine_identity: Ints
    impostor: Doubles
    impostor_a: Ints
    impostor_b: Ints
    exhaustive: bool


class Separability(Evaluator):
    """Fisher discriminant ratio, error rates by pyeer, and pixel diversity of a dataset."""

    Settings: ClassVar[type[Settings]] = SeparabilitySettings
    license = APACHE
    code = (
        "harness.builtin.separability",
        "harness.stats.separability",
        "harness.stats.verification",
        "harness.stats.intervals",
        "harness.figures",
    )
    needs: ClassVar[frozenset[Need]] = frozenset({"dataset", "judge"})

    def evaluate(self, subject: Subject, run: Run) -> Report:
        """Judge the subset of the dataset."""
        dataset, judge = subject.dataset, subject.judge
        if dataset is None or judge is None:
            raise StageError("separability needs a dataset and a recognizer that judges it")
        limits = self.settings.max_identities, self.settings.max_per_identity
        chosen = subset(dataset.identities, dataset.samples, *limits)
        labels = np.unique(dataset.identities[chosen], return_inverse=True)[1].reshape(-1).astype(np.int64)
        _check_counts(labels)
        embeddings, spreads = _read(dataset, judge, chosen, labels, run)
        if not np.isfinite(embeddings).all():
            bad = int((~np.isfinite(embeddings).all(axis=1)).sum())
            raise StageError(f"separability: {bad} of {len(embeddings)} embeddings by the judge are not finite")
        scores = pair_scores(embeddings, labels, self.settings.max_impostor_pairs, run.generator("separability/pairs"))
        metrics = self._metrics(scores, int(labels.max()) + 1, run)
        metrics.append(_diversity(spreads, len(chosen), run.generator("separability/diversity")))
        return Report(metrics, _figures(scores), rule=self._rule(dataset, scores))

    def _metrics(self, scores: Scores, identities: int, run: Run) -> list[Metric]:
        total = len(scores.genuine) + len(scores.impostor)
        try:
            compute = pyeer_statistics if total <= PYEER_SCORES else score_statistics
            found = compute(scores.genuine, scores.impostor)
        except ValueError as error:
            raise StageError(f"separability: {error}") from error
        replicates = self.settings.replicates // 5 if total > LARGE_SCORES else self.settings.replicates
        intervals = score_intervals(
            scores.genuine,
            scores.genuine_identity,
            scores.impostor,
            scores.impostor_a,
            scores.impostor_b,
            identities,
            run.generator("separability/bootstrap"),
            replicates,
        )
        return _score_metrics(found, intervals, len(scores.genuine), len(scores.impostor), identities)

    def _rule(self, dataset: FaceSet, scores: Scores) -> dict[str, Any]:
        """What numbers depend on beside the judge, which the engine adds: equal rules make rows comparable."""
        settings = self.settings
        impostors = "all" if scores.exhaustive else f"{settings.max_impostor_pairs} uniform without replacement, seeded"
        return {
            "subset": f"first {settings.max_identities} identities, first {settings.max_per_identity} images of each",
            "genuine": "all pairs within an identity",
            "impostor": impostors,
            "flip": False,
            "crop": {"view": dataset.crop.view, "size_px": dataset.crop.size_px, "color": dataset.crop.color},
        }


def subset(identities: Ints, samples: Ints, max_identities: int, max_per_identity: int) -> Ints:
    """Positions of the first images of the first identities, both in numeric order."""
    order = np.lexsort((samples, identities))
    kept: Ints = np.unique(identities)[:max_identities]
    order = order[np.isin(identities[order], kept)]
    sorted_ids = identities[order]
    rank = np.arange(len(order)) - np.searchsorted(sorted_ids, sorted_ids, side="left")  # of the image in its identity
    return order[rank < max_per_identity].astype(np.int64)


def pair_scores(embeddings: Doubles, labels: Ints, max_impostor: int, rng: np.random.Generator) -> Scores:
    """Cosines of all pairs within an identity, and of all cross pairs or a uniform sample of them.

    Args:
        embeddings: unit vectors [N, D].
        labels: identity of each, from 0, in ascending order, [N].
        max_impostor: sample (without replacement) if there are more cross pairs than this.
    """
    count = len(labels)
    sizes = np.bincount(labels)
    cross = (count**2 - int((sizes**2).sum())) // 2
    starts = np.cumsum(sizes) - sizes
    within = [np.stack(np.triu_indices(size, 1)) + start for start, size in zip(starts, sizes, strict=True)]
    a, b = np.concatenate(within, axis=1)
    if cross <= max_impostor:
        p, q = np.triu_indices(count, 1)
        apart = labels[p] != labels[q]
        p, q = p[apart], q[apart]
    else:
        p, q = _sample_cross(labels, max_impostor, rng)
    return Scores(
        _cosines(embeddings, a, b), labels[a], _cosines(embeddings, p, q), labels[p], labels[q], cross <= max_impostor
    )


def _sample_cross(labels: Ints, wanted: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Distinct cross pairs, uniform, in ascending order."""
    count, keys = len(labels), np.zeros(0, dtype=np.int64)
    while len(keys) < wanted:
        first, second = np.sort(rng.integers(0, count, size=(wanted // 2 + 1000, 2)), axis=1).T
        apart = labels[first] != labels[second]
        keys = np.unique(np.concatenate([keys, first[apart] * count + second[apart]]))
    if len(keys) > wanted:
        keys = np.sort(rng.choice(keys, wanted, replace=False, shuffle=False))
    return keys // count, keys % count


def _cosines(embeddings: Doubles, a: Ints, b: Ints) -> Doubles:
    out = np.empty(len(a))
    for start in range(0, len(a), _SCORE_PAIRS):
        part = slice(start, start + _SCORE_PAIRS)
        out[part] = np.einsum("pd,pd->p", embeddings[a[part]], embeddings[b[part]])
    return out


def _check_counts(labels: Ints) -> None:
    sizes = np.bincount(labels) if len(labels) else np.zeros(0, int)
    if len(sizes) < 2 or sizes.max() < 2:
        raise StageError(
            f"separability: the dataset has {len(labels)} images of {len(sizes)} identities; "
            "expected at least 2 identities, one of them with 2 images"
        )


def _read(dataset: FaceSet, judge: Recognizer, chosen: Ints, labels: Ints, run: Run) -> tuple[Doubles, Doubles]:
    """Unit embeddings [N, D] of the chosen faces, and the pixel spread of every identity with two images or more."""
    progress = run.progress(len(chosen), "images")
    sizes = np.bincount(labels)
    ends = np.cumsum(sizes)
    embeddings, spreads = [], []
    first = 0
    while first < len(sizes):
        begin = ends[first] - sizes[first]
        last = max(first + 1, int(np.searchsorted(ends, begin + _READ_FACES, side="right")))
        images = dataset.images(chosen[begin : ends[last - 1]])
        embeddings.append(unit(judge.embed(images)))
        for identity in range(first, last):
            own = images[ends[identity] - sizes[identity] - begin : ends[identity] - begin]
            if len(own) > 1:
                spreads.append(float((own / 255.0).std(axis=0).mean()))
        progress.advance(len(images))
        first = last
    return np.concatenate(embeddings), np.array(spreads)


def _score_metrics(
    found: ScoreStatistics, intervals: ScoreIntervals | None, genuine: int, impostor: int, identities: int
) -> list[Metric]:
    counts = {"genuine_mean": genuine, "genuine_std": genuine, "impostor_mean": impostor, "impostor_std": impostor}
    names = ("fdr", "eer", "fmr100", "fmr1000", *counts)
    metrics = []
    for name in names:
        interval = None if intervals is None else getattr(intervals, name)
        metrics.append(_metric(name, getattr(found, name), counts.get(name, genuine + impostor), interval, identities))
    return metrics


def _diversity(spreads: Doubles, images: int, rng: np.random.Generator) -> Metric:
    """Standard deviation of each pixel (in [0, 1]) over an identity's images, mean over pixels and identities."""
    return _metric("pixel_diversity", float(spreads.mean()), images, mean_interval(spreads, rng), len(spreads))


def _metric(name: str, value: float, n: int, interval: tuple[float, float] | None, identities: int) -> Metric:
    if interval is None:
        note = f"no interval: {identities} identities are too few to resample"
        return Metric(f"separability/{name}", value, n, note=note)
    return Metric(f"separability/{name}", value, n, interval, "identities", "bootstrap")


def _figures(scores: Scores) -> dict[str, bytes]:
    from harness.figures import score_histogram

    return {"separability-scores": score_histogram(scores.genuine, scores.impostor, "separability")}
