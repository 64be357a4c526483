"""95 percent intervals: bootstrap over identities, and Wilson's for plain proportions.

Pairs of one person are not independent, so whole identities are resampled (two-sample "subsets" bootstrap; Bolle,
Ratha and Pankanti, CVIU 93(1), 2004): I identities are drawn with replacement from I. With m_i the number of times that
identity i was drawn, a genuine pair of i counts m_i times and an impostor pair of i and j counts m_i m_j times. Two
copies of one identity make no impostor pair, and no genuine pair beyond those of each copy.

Intervals are percentile intervals. They hold the trained models and chosen thresholds fixed.

Letters: I identities, P pairs, R replicates, T thresholds, G genuine and N impostor scores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.stats.separability import equal_error_rate, fnmr_at_fmr

Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Interval = tuple[float, float]

LEVEL = 0.95
Z_95 = 1.959963984540054  # 97.5 percent quantile of the standard normal law
MIN_IDENTITIES = 10  # with fewer, resampling says little: no interval
_BLOCK = 4_000_000  # weights held at once
_DENSE_IDENTITIES = 1024  # up to so many, products m_i m_j are looked up in a table
_GRID = 4096  # thresholds of a bootstrap replicate, per score set; all of them where there are fewer


@dataclass(frozen=True)
class PairIdentities:
    """Which two identities each pair shows, numbered from 0 to I - 1.

    Attributes:
        a, b: int64 [P]; equal for genuine pairs.
        count: I.
    """

    a: Ints
    b: Ints
    count: int

    @classmethod
    def of(cls, a: NDArray[np.integer[Any]], b: NDArray[np.integer[Any]]) -> PairIdentities:
        """Number the identities that occur."""
        unique, index = np.unique(np.concatenate([a, b]), return_inverse=True)
        index = index.reshape(-1).astype(np.int64)
        return cls(index[: len(a)], index[len(a) :], len(unique))

    def weights(self, multiplicity: NDArray[np.integer[Any]]) -> Ints:
        """Weight of each pair in replicates with multiplicities [R, I]; int64 [R, P]."""
        first = multiplicity[:, self.a].astype(np.int64)
        return np.where(self.a == self.b, first, first * multiplicity[:, self.b])


def multiplicities(identities: int, replicates: int, rng: np.random.Generator) -> Ints:
    """How often each identity is drawn in each replicate, int64 [R, I]; rows sum to I."""
    return rng.multinomial(identities, np.full(identities, 1 / identities), size=replicates)


def percentile_interval(values: Doubles, level: float = LEVEL) -> Interval | None:
    """Central ``level`` of the replicates; None when more than a tenth of them are undefined (NaN)."""
    defined = values[np.isfinite(values)]
    if len(defined) < 0.9 * len(values) or len(defined) == 0:
        return None
    tail = (1 - level) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return float(low), float(high)


def wilson(successes: int, count: int) -> Interval:
    """Wilson's 95 percent score interval of a proportion (JASA 22, 1927), for independent trials."""
    if count < 1:
        raise ValueError(f"{count} trials; expected at least 1")
    p, z2 = successes / count, Z_95**2
    center = (p + z2 / (2 * count)) / (1 + z2 / count)
    half = Z_95 / (1 + z2 / count) * sqrt(p * (1 - p) / count + z2 / (4 * count**2))
    return max(0.0, center - half), min(1.0, center + half)


def mean_interval(values: Doubles, rng: np.random.Generator, replicates: int = 1000) -> Interval | None:
    """Interval of the mean of one value per identity, [I]."""
    if len(values) < MIN_IDENTITIES:
        return None
    return percentile_interval(multiplicities(len(values), replicates, rng) @ values / len(values))


def accuracy_interval(
    correct: Bools, same: Bools, pairs: PairIdentities, rng: np.random.Generator, replicates: int = 1000
) -> Interval | None:
    """Interval of a verification accuracy, given which pairs were decided correctly.

    The protocol fixes how many genuine and impostor pairs there are, so each kind's accuracy is resampled and the two
    are mixed in the protocol's proportion.

    Args:
        correct: [P].
        same: genuine or not, [P].
        pairs: the identities of the pairs.
    """

    def accuracy(weights: Ints) -> Doubles:
        out = np.zeros(len(weights))
        for kind in (same, ~same):
            if kind.any():
                out += kind.mean() * _ratio((weights[:, kind] * correct[kind]).sum(axis=1), weights[:, kind].sum(axis=1))
        return out

    return _pair_bootstrap(accuracy, pairs, rng, replicates)


def tar_interval(
    scores: Doubles, same: Bools, far: float, pairs: PairIdentities, rng: np.random.Generator, replicates: int = 1000
) -> Interval | None:
    """Interval of :func:`harness.stats.verification.tar_at_far`; the threshold is chosen anew in each replicate."""
    order = np.argsort(-scores[~same], kind="stable")
    impostor, genuine = scores[~same][order], scores[same]
    by_genuine = np.argsort(-genuine, kind="stable")
    # accepted[k]: how many genuine pairs score above the impostor at place k; place N means all of them
    accepted = np.append(np.searchsorted(-genuine[by_genuine], -impostor, side="left"), len(genuine))

    def tar(weights: Ints) -> Doubles:
        negative = weights[:, ~same][:, order].cumsum(axis=1)
        positive = np.pad(weights[:, same][:, by_genuine].cumsum(axis=1), ((0, 0), (1, 0)))
        # the first impostor that may not be accepted: the weight up to and including it exceeds far * total
        place = (negative <= far * negative[:, -1:] + 1e-9).sum(axis=1)
        return _ratio(np.take_along_axis(positive, accepted[place][:, None], axis=1)[:, 0], positive[:, -1])

    return _pair_bootstrap(tar, pairs, rng, replicates)


def _pair_bootstrap(
    statistic: Callable[[Ints], Doubles], pairs: PairIdentities, rng: np.random.Generator, replicates: int
) -> Interval | None:
    """Interval of a statistic of weights [R, P]; None with too few identities."""
    if pairs.count < MIN_IDENTITIES:
        return None
    drawn = multiplicities(pairs.count, replicates, rng)
    step = max(1, _BLOCK // max(1, len(pairs.a)))
    parts = [statistic(pairs.weights(drawn[start : start + step])) for start in range(0, replicates, step)]
    return percentile_interval(np.concatenate(parts))


def _ratio(numerator: NDArray[Any], denominator: NDArray[Any]) -> Doubles:
    """Quotient, NaN where the denominator is 0: a replicate without such pairs."""
    out = np.full(len(numerator), np.nan)
    return np.divide(numerator, denominator, out=out, where=denominator > 0)


@dataclass(frozen=True)
class ScoreIntervals:
    """Intervals of :class:`harness.stats.separability.ScoreStatistics`; None where withheld."""

    eer: Interval | None
    fmr100: Interval | None
    fmr1000: Interval | None
    fdr: Interval | None
    genuine_mean: Interval | None
    genuine_std: Interval | None
    impostor_mean: Interval | None
    impostor_std: Interval | None


def score_intervals(
    genuine: Doubles,
    genuine_identity: Ints,
    impostor: Doubles,
    impostor_a: Ints,
    impostor_b: Ints,
    identities: int,
    rng: np.random.Generator,
    replicates: int = 1000,
) -> ScoreIntervals | None:
    """Intervals of separability statistics.

    Rates are evaluated on up to 4,096 genuine and 4,096 impostor scores as thresholds (evenly by rank, and the highest
    half of the impostor ones densely, where FMR100 and FMR1000 lie); with fewer scores that is all of them.

    Args:
        genuine: scores [G]; ``genuine_identity`` [G] says whose.
        impostor: scores [N]; ``impostor_a`` and ``impostor_b`` [N] say whose. Identities count from 0.
        identities: I.
        replicates: R; the time is about R (N + G) * 5 ns.

    Returns:
        None when there are fewer than ten identities.
    """
    if identities < MIN_IDENTITIES:
        return None
    grid = _thresholds(np.sort(genuine), np.sort(impostor))
    drawn = multiplicities(identities, replicates, rng)
    own = _Binned.of(genuine, genuine_identity, genuine_identity, grid, identities)
    cross = _Binned.of(impostor, impostor_a, impostor_b, grid, identities)
    rows = np.full((replicates, 8), np.nan)
    for index, (g, i) in enumerate(zip(own.replicates(drawn), cross.replicates(drawn), strict=True)):
        if g.total > 0 and i.total > 0:
            fnmr = g.below / g.total
            fmr = (i.total - i.below) / i.total
            spread = g.variance + i.variance
            fdr = (g.mean - i.mean) ** 2 / spread if spread > 0 else np.nan
            rates = (equal_error_rate(fmr, fnmr)[0], fnmr_at_fmr(fmr, fnmr, 0.01), fnmr_at_fmr(fmr, fnmr, 0.001))
            rows[index] = (*rates, fdr, g.mean, sqrt(g.variance), i.mean, sqrt(i.variance))
    return ScoreIntervals(*(percentile_interval(column) for column in rows.T))


def _thresholds(genuine: Doubles, impostor: Doubles) -> Doubles:
    """Ascending thresholds [T], taken from sorted scores."""
    parts = [genuine[_evenly(len(genuine), _GRID)], impostor[_evenly(len(impostor), _GRID // 2)]]
    return np.unique(np.concatenate([*parts, impostor[-_GRID // 2 :]]))


def _evenly(count: int, wanted: int) -> Ints:
    return np.unique(np.linspace(0, count - 1, min(count, wanted)).round().astype(np.int64))


@dataclass(frozen=True)
class _Replicate:
    """Weighted summary of one score set: weight below each threshold [T], total weight, mean and variance."""

    below: Ints
    total: int
    mean: float
    variance: float


@dataclass(frozen=True)
class _Binned:
    """Scores in ascending order, with where each threshold falls and whose they are."""

    scores: Doubles
    a: Ints
    b: Ints
    starts: Ints  # first score of each bin between thresholds, [T + 1]
    identities: int

    @classmethod
    def of(cls, scores: Doubles, a: Ints, b: Ints, grid: Doubles, identities: int) -> _Binned:
        order = np.argsort(scores, kind="stable")
        starts = np.searchsorted(scores[order], grid, side="left")
        return cls(scores[order], a[order], b[order], starts, identities)

    def replicates(self, drawn: Ints) -> Iterator[_Replicate]:
        """One summary per row of multiplicities [R, I]."""
        genuine = bool((self.a == self.b).all())
        dense = self.identities <= _DENSE_IDENTITIES
        flat = self.a * self.identities + self.b if dense and not genuine else None
        centered = self.scores - self.scores.mean()  # keeps the variance exact
        squares = centered**2
        for m in drawn:
            if genuine:
                weights = m[self.a]
            elif flat is not None:
                weights = np.outer(m, m).ravel()[flat]
            else:
                weights = m[self.a] * m[self.b]
            yield self._summary(weights, centered, squares)

    def _summary(self, weights: Ints, centered: Doubles, squares: Doubles) -> _Replicate:
        cumulative = np.concatenate([[0], weights.cumsum()])
        total = int(cumulative[-1])
        if total == 0:
            return _Replicate(cumulative[self.starts], 0, float("nan"), float("nan"))
        w = weights.astype(np.float64)
        shift = float(w @ centered) / total
        variance = max(0.0, float(w @ squares) / total - shift**2)
        return _Replicate(cumulative[self.starts], total, float(self.scores.mean()) + shift, variance)
