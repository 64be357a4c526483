"""Template verification, as in IJB-B and IJB-C: image features to templates, pair scores, TAR at fixed FARs.

A template is a set of images and video frames of one person. Frames of one video, and parts of one still, share a
*medium*: they are averaged first, so that a long video counts no more than a single photograph.

Letters: N images, B images of a batch, T templates, D embedding width, P pairs, F false accept rates, G genuine pairs,
I subjects, R replicates.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.arrays import AnyFloats, AnyInts, Bools, Doubles, Ints
from harness.stats.intervals import bootstrapped, few_beyond, few_genuine, few_identities, multiplicities
from harness.stats.uncertainty import Uncertainty
from harness.stats.verification import unit

# The rates at which IJB-B and IJB-C report. Source: Whitelam et al., CVPRW 2017; Maze et al., ICB 2018.
FARS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
_TAIL = 1.5  # impostor pairs a bootstrap keeps, over those that the highest rate accepts in the sample
_REPLICATES_AT_ONCE = 50


def image_features(plain: AnyFloats, mirrored: AnyFloats | None, keep_norm: bool = True) -> Doubles:
    """The feature of each image, float64 [B, D]: the sum of the raw embeddings of the image and its mirror image.

    Args:
        plain: raw embeddings [B, D].
        mirrored: those of the mirror images; None: the plain ones stand alone.
        keep_norm: the length of the feature counts, as in the reference; else every image's is 1.
    """
    out = np.asarray(plain, dtype=np.float64)
    if mirrored is not None:
        out = out + mirrored
    return out if keep_norm else unit(out)


def image_weights(template: AnyInts, media: AnyInts, score: AnyFloats | None = None) -> Doubles:
    """The weight of each image in the sum of its template, float64 [N].

    The mean over a medium of score times feature, summed over the media of a template, is a sum over images with the
    weight score / (images of the same medium in the same template). So no mean has to be kept anywhere.

    Args:
        template: template of each image, [N].
        media: medium of each image, [N]; a number may recur in another template and is another medium there.
        score: detector score of each image, [N]; None: all count alike.
    """
    _, kind = np.unique(media, return_inverse=True)
    key = template.astype(np.int64) * (int(kind.max(initial=0)) + 1) + kind
    _, place, counts = np.unique(key, return_inverse=True, return_counts=True)
    ones = np.ones(len(template)) if score is None else np.asarray(score, dtype=np.float64)
    return np.asarray(ones / counts[place], dtype=np.float64)


class TemplateSums:
    """Weighted sums of features per template, fed batch by batch: memory grows with templates and not with images.

    Args:
        count: T.
        width: D.
    """

    def __init__(self, count: int, width: int) -> None:
        self._sums: Doubles = np.zeros((count, width))

    def add(self, template: AnyInts, weight: AnyFloats, features: AnyFloats) -> None:
        """Add a batch: template [B] from 0, weight [B], features [B, D]."""
        from scipy.sparse import csr_array  # late: listing components must not load scipy

        rows, place = np.unique(template, return_inverse=True)
        weights = csr_array((weight, (place, np.arange(len(place)))), shape=(len(rows), len(place)))
        self._sums[rows] += weights @ np.asarray(features, dtype=np.float64)

    def vectors(self) -> Doubles:
        """Unit vectors, float64 [T, D]: normalized once, here. A template without any weight stays zero."""
        return unit(self._sums)


def pair_scores(vectors: Doubles, a: AnyInts, b: AnyInts) -> Doubles:
    """Cosine similarity of each pair of templates, float64 [P].

    Pairs are taken by their first template, whose vector then stays in the cache: it is half the memory traffic of
    chunks of pairs, and never holds more than one copy of the vectors.

    Args:
        vectors: unit vectors [T, D].
        a, b: templates of each pair, [P].
    """
    order = np.argsort(a, kind="stable").astype(np.uint32 if len(a) < 2**32 else np.int64)
    first, second = a[order], b[order]
    bounds = [*np.flatnonzero(np.diff(first, prepend=-1)).tolist(), len(a)]
    ordered = np.empty(len(a))
    for start, stop in pairwise(bounds):
        ordered[start:stop] = vectors[second[start:stop]] @ vectors[first[start]]
    out = np.empty(len(a))
    out[order] = ordered
    return out


@dataclass(frozen=True)
class OperatingPoint:
    """One point of the receiver operating characteristic.

    Attributes:
        far: the false accept rate that was asked for.
        measured: the false accept rate there.
        tar: the true accept rate there.
    """

    far: float
    measured: float
    tar: float


def points_at_most(genuine: Doubles, impostor: Doubles, fars: Sequence[float] = FARS) -> list[OperatingPoint]:
    """Ours: the point with the largest false accept rate that is at most the target.

    Exact order statistics as in :func:`harness.stats.verification.tar_at_far`, sorted once for all rates.

    Args:
        genuine, impostor: similarities, at least one of each.
    """
    accepted, rejected = np.sort(genuine), np.sort(impostor)
    out = []
    for far in fars:
        allowed = int(np.floor(far * len(rejected) + 1e-9))
        if allowed >= len(rejected):
            out.append(OperatingPoint(far, 1.0, 1.0))
            continue
        threshold = rejected[len(rejected) - 1 - allowed]  # pairs above it are accepted
        over = [len(x) - np.searchsorted(x, threshold, side="right") for x in (rejected, accepted)]
        out.append(OperatingPoint(far, float(over[0] / len(rejected)), float(over[1] / len(accepted))))
    return out


def points_table(points: Sequence[OperatingPoint]) -> dict[str, NDArray[Any]]:
    """Operating points as columns: the rates asked for, the rates reached, and the true accept rates there."""
    return {
        "far": np.array([point.far for point in points]),
        "measured_far": np.array([point.measured for point in points]),
        "tar": np.array([point.tar for point in points]),
    }


def points_nearest(genuine: Doubles, impostor: Doubles, fars: Sequence[float] = FARS) -> list[OperatingPoint]:
    """The reference's: the point whose false accept rate is nearest to the target, of several the one of largest TAR.

    It may lie above the target. Source: the IJB evaluation of the ArcFace reference, which takes its points from
    scikit-learn's ``roc_curve``; see :func:`roc`.
    """
    far, tar = roc(genuine, impostor)
    out = []
    for target in fars:
        apart = np.abs(far - target)
        nearest = np.flatnonzero(apart == apart.min())[-1]  # rates rise along the curve
        out.append(OperatingPoint(target, float(far[nearest]), float(tar[nearest])))
    return out


def roc(genuine: Doubles, impostor: Doubles) -> tuple[Doubles, Doubles]:
    """False and true accept rates at every distinct score, as scikit-learn's ``roc_curve`` gives them by default.

    Points between two equal steps are dropped (``drop_intermediate``); the curve starts at (0, 0).
    """
    scores = np.concatenate([genuine, impostor])
    order: Ints = np.argsort(scores)[::-1]
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)  # of each distinct score
    kind = np.int32 if len(order) < 2**31 else np.int64
    tps = np.cumsum(order < len(genuine), dtype=kind)[last]
    fps = (last + 1 - tps).astype(kind)
    if len(last) > 2:
        bends = (np.diff(fps, 2) != 0) | (np.diff(tps, 2) != 0)
        kept = np.concatenate([[True], bends, [True]])
        tps, fps = tps[kept], fps[kept]
    return np.append(0, fps) / len(impostor), np.append(0, tps) / len(genuine)


@dataclass(frozen=True)
class PairSubjects:
    """Whom the templates of each pair show, numbered from 0 to I - 1: int32 [P] each."""

    a: NDArray[np.int32]
    b: NDArray[np.int32]
    count: int

    @classmethod
    def known(cls, subject: AnyInts, a: AnyInts, b: AnyInts, same: Bools) -> PairSubjects | None:
        """Look the subjects of pairs up; None where they contradict the labels.

        Args:
            subject: of each template, [T].
            a, b: templates of each pair, [P].
            same: genuine or not, [P].
        """
        people, number = np.unique(subject, return_inverse=True)
        first, second = (number.astype(np.int32)[side] for side in (a, b))
        return cls(first, second, len(people)) if bool(((first == second) == same).all()) else None


def tar_uncertainties(
    points: Sequence[OperatingPoint],
    scores: Doubles,
    same: Bools,
    subjects: PairSubjects | None,
    rng: np.random.Generator,
    replicates: int = 1000,
) -> list[Uncertainty]:
    """Intervals of the true accept rates of :func:`points_at_most`, by bootstrap over subjects.

    The bootstrap is that of :mod:`harness.stats.intervals`, the threshold chosen anew in each replicate. An interval is
    withheld where few impostor pairs lie beyond the threshold, few genuine ones on one side of it, or there are too few
    subjects.

    Args:
        points: what the rates are in the sample.
        scores: similarity of each pair, [P].
        same: genuine or not, [P].
        subjects: whom the pairs show; None if that is not known.
        replicates: R; the time is about R P (highest rate) * 10 ns on one CPU thread.
    """
    genuine = int(same.sum())
    out = [_plain_uncertainty(point, genuine, len(same) - genuine, subjects) for point in points]
    wanted = [place for place, found in enumerate(out) if found is None]
    if wanted:
        assert subjects is not None
        fars = [points[place].far for place in wanted]
        made = _tar_replicates(scores, same, fars, subjects, multiplicities(subjects.count, replicates, rng))
        for place, rates in zip(wanted, made.T, strict=True):
            out[place] = bootstrapped(rates, "impostor pairs")
    return [found for found in out if found is not None]


def _plain_uncertainty(
    point: OperatingPoint, genuine: int, impostor: int, subjects: PairSubjects | None
) -> Uncertainty | None:
    """What can be said without a bootstrap; None where it is needed."""
    if few := few_beyond(point.far, impostor):
        return Uncertainty(note=few)
    hits = round(point.tar * genuine)
    if few := few_genuine(hits, genuine):
        return Uncertainty(note=few)
    if subjects is None:
        return Uncertainty(note="no interval: subjects of the templates are not known")
    few = few_identities(subjects.count)
    return Uncertainty(note=few) if few else None


def _tar_replicates(
    scores: Doubles, same: Bools, fars: Sequence[float], subjects: PairSubjects, drawn: Ints
) -> Doubles:
    """The rates in each replicate, [R, F]. Of the impostor pairs only the highest are held: no threshold lies below."""
    genuine = np.flatnonzero(same)
    genuine = genuine[np.argsort(-scores[genuine], kind="stable")]
    impostor = np.flatnonzero(~same)
    kept = min(len(impostor), int(_TAIL * max(fars) * len(impostor)) + 10_000)
    if kept < len(impostor):
        impostor = impostor[np.argpartition(-scores[impostor], kept)[:kept]]
    tail = impostor[np.argsort(-scores[impostor], kind="stable")]
    # above[k]: how many genuine pairs score above the impostor pair at place k of the tail; behind its end, all
    above = np.append(np.searchsorted(-scores[genuine], -scores[tail], side="left"), len(genuine))
    whose, first, second = subjects.a[genuine], subjects.a[tail], subjects.b[tail]
    whole = kept == len(same) - len(genuine)
    rates = np.full((len(drawn), len(fars)), np.nan)
    for row, (m, total) in enumerate(
        zip(drawn.astype(np.float32), _impostor_totals(same, subjects, drawn), strict=True)
    ):
        negative = np.cumsum(m[first] * m[second], dtype=np.float64)  # whole numbers: sums are exact
        positive = np.append(0.0, np.cumsum(m[whose], dtype=np.float64))
        place = np.searchsorted(negative, np.asarray(fars) * total + 1e-9, side="right")
        if total > 0 and positive[-1] > 0:
            reached = whole | (place < kept)  # else the threshold lies below the tail
            rates[row] = np.where(reached, positive[above[place]] / positive[-1], np.nan)
    return rates


def _impostor_totals(same: Bools, subjects: PairSubjects, drawn: Ints) -> Iterator[float]:
    """Total weight of the impostor pairs in each replicate: m' C m, with C the number of pairs of two subjects."""
    from scipy.sparse import coo_array

    sides = subjects.a[~same], subjects.b[~same]
    shape = (subjects.count, subjects.count)
    pairs = coo_array((np.ones(len(sides[0]), dtype=np.int64), sides), shape=shape).tocsr()
    for start in range(0, len(drawn), _REPLICATES_AT_ONCE):
        m = drawn[start : start + _REPLICATES_AT_ONCE].T  # [I, R']
        yield from (m * (pairs @ m)).sum(axis=0).astype(float).tolist()
