"""Bootstrap over identities for separability statistics of listed scores: EER, FMR100, FMR1000, FDR and moments.

The bootstrap of :mod:`harness.stats.intervals`, with genuine and impostor scores as pairs. Where a dataset has too many
pairs for lists, :mod:`harness.stats.allpairs_intervals` does it from sums.

Letters: I identities, R replicates, T thresholds, G genuine and N impostor scores.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import sqrt

import numpy as np

from harness.arrays import Doubles, Ints
from harness.stats.intervals import MIN_ERRORS, bootstrapped, few_beyond, few_identities, multiplicities
from harness.stats.separability import error_rates, fisher_ratio
from harness.stats.uncertainty import Uncertainty

NAMES = ("eer", "fmr100", "fmr1000", "fdr", "genuine_mean", "genuine_std", "impostor_mean", "impostor_std")
_TABLE_IDENTITIES = 1024  # up to so many, products m_i m_j are looked up in a table
_GRID = 4096  # thresholds of a bootstrap replicate, per score set; all of them where there are fewer


def score_uncertainties(
    genuine: Doubles,
    genuine_identity: Ints,
    impostor: Doubles,
    impostor_a: Ints,
    impostor_b: Ints,
    identities: int,
    rng: np.random.Generator,
    replicates: int = 1000,
) -> dict[str, Uncertainty]:
    """Intervals of separability statistics, by ``NAMES``.

    Rates are evaluated on up to 4,096 genuine and 4,096 impostor scores as thresholds (evenly by rank, and the highest
    half of the impostor ones densely, where FMR100 and FMR1000 lie); with fewer scores that is all of them.

    Args:
        genuine: scores [G]; ``genuine_identity`` [G] says whose.
        impostor: scores [N]; ``impostor_a`` and ``impostor_b`` [N] say whose. Identities count from 0.
        identities: I.
        replicates: R; the time is about R (N + G) * 5 ns on one CPU thread.
    """
    if few := few_identities(identities):
        return dict.fromkeys(NAMES, Uncertainty(note=few))
    grid = _thresholds(np.sort(genuine), np.sort(impostor))
    everyone = np.ones((1, identities), dtype=np.int64)  # the first replicate is the sample itself
    drawn = np.concatenate([everyone, multiplicities(identities, replicates, rng)])
    own = _Binned(genuine, genuine_identity, genuine_identity, grid, identities)
    cross = _Binned(impostor, impostor_a, impostor_b, grid, identities)
    rows = np.full((len(drawn), len(NAMES)), np.nan)
    for index, (g, i) in enumerate(zip(own.replicates(drawn), cross.replicates(drawn), strict=True)):
        if g.total > 0 and i.total > 0:
            fnmr = g.below / g.total
            fmr = (i.total - i.below) / i.total
            fdr = fisher_ratio(g.mean, g.variance, i.mean, i.variance)
            moments = g.mean, sqrt(g.variance), i.mean, sqrt(i.variance)
            rows[index] = (*error_rates(fmr, fnmr), fdr, *moments)
    eer, fmr100, fmr1000 = rows[0, :3].tolist()
    return by_name(rows[1:], few_missed(eer, fmr100, fmr1000, len(genuine), len(impostor)))


def by_name(rows: Doubles, withheld: Mapping[str, str]) -> dict[str, Uncertainty]:
    """Intervals from replicates of ``NAMES``, [R, 8], but for those that are withheld, with the reason."""
    reasons = {name: Uncertainty(note=reason) for name, reason in withheld.items()}
    return {name: reasons.get(name) or bootstrapped(rows[:, place]) for place, name in enumerate(NAMES)}


def few_missed(eer: float, fmr100: float, fmr1000: float, genuine: int, impostor: int) -> dict[str, str]:
    """Why the rates that rest on too few errors have no interval, by name.

    Args:
        eer, fmr100, fmr1000: as in :class:`harness.stats.separability.ScoreStatistics`.
        genuine, impostor: G and N.
    """
    reasons = {}
    for name, fmr, fnmr in (("eer", eer, eer), ("fmr100", 0.01, fmr100), ("fmr1000", 0.001, fmr1000)):
        missed = round(fnmr * genuine)
        if few := few_beyond(fmr, impostor):
            reasons[name] = few
        elif missed < MIN_ERRORS:
            text = f"{missed} of {genuine} genuine pairs lie beyond the threshold, expected {MIN_ERRORS}"
            reasons[name] = f"no interval: {text}"
    return reasons


def _thresholds(genuine: Doubles, impostor: Doubles) -> Doubles:
    """Ascending thresholds [T], taken from sorted scores."""
    parts = [genuine[_evenly(len(genuine), _GRID)], impostor[_evenly(len(impostor), _GRID // 2)]]
    return np.unique(np.concatenate([*parts, impostor[-_GRID // 2 :]]))


def _evenly(count: int, wanted: int) -> Ints:
    return np.unique(np.linspace(0, count - 1, min(count, wanted)).round().astype(np.int64))


@dataclass(frozen=True)
class _Replicate:
    """Weighted summary of one score set: weight below each threshold [T], total weight, mean and variance."""

    below: Doubles
    total: float
    mean: float
    variance: float


class _Binned:
    """Scores in ascending order, cut into bins by thresholds.

    Args:
        scores: [N].
        a, b: whose they are, identities from 0, [N]; equal for genuine scores.
        grid: ascending thresholds, [T].
        identities: I.
    """

    def __init__(self, scores: Doubles, a: Ints, b: Ints, grid: Doubles, identities: int) -> None:
        order = np.argsort(scores, kind="stable")
        ordered, self.a, self.b = scores[order], a[order], b[order]
        starts = np.searchsorted(ordered, grid, side="left")
        bounds = np.unique(np.append(starts, 0))
        self.bounds = bounds[bounds < len(scores)]
        self.place = np.searchsorted(self.bounds, starts)  # of each threshold among the bounds, [T]
        self.genuine = bool((a == b).all())
        self.center = float(ordered.mean())  # taken off before squaring, which keeps the variance exact
        self.moments = np.stack([ordered - self.center, (ordered - self.center) ** 2])  # [2, N]
        self.table = not self.genuine and identities <= _TABLE_IDENTITIES
        if self.table:
            self.flat = self.a * identities + self.b
            sums = [np.bincount(self.flat, weights=row, minlength=identities**2) for row in self.moments]
            self.sums = np.reshape(sums, (2, identities, identities))

    def replicates(self, drawn: Ints) -> Iterator[_Replicate]:
        """One summary per row of multiplicities [R, I]."""
        for m in drawn.astype(np.float32):  # whole numbers: sums within a bin stay exact
            if self.table:
                weights = np.outer(m, m).ravel()[self.flat]
                first, second = (float(m @ table @ m) for table in self.sums)
            else:
                weights = m[self.a] if self.genuine else m[self.a] * m[self.b]
                first, second = (float(value) for value in self.moments @ weights)
            below = np.append(0.0, np.add.reduceat(weights, self.bounds).cumsum(dtype=np.float64))
            total = float(below[-1])
            shift = first / total if total else float("nan")
            variance = max(0.0, second / total - shift**2) if total else float("nan")
            yield _Replicate(below[self.place], total, self.center + shift, variance)
