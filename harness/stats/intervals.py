"""95 percent intervals: bootstrap over identities; over folds where identities are not known.

Pairs of one person are not independent, so whole identities are resampled (two-sample "subsets" bootstrap; Bolle,
Ratha and Pankanti, CVIU 93(1), 2004): I identities are drawn with replacement from I. With m_i the number of times that
identity i was drawn, a genuine pair of i counts m_i times and an impostor pair of i and j counts m_i m_j times. Two
copies of one identity make no impostor pair, and no genuine pair beyond those of each copy.

The products count what is peculiar to a single impostor pair up to three times (Owen, Annals of Applied Statistics
1(2), 2007), so the intervals are rather too wide than too narrow: ``benchmarks/studies/intervals`` says how often they
cover the truth. These are percentile intervals. They hold the trained models and, for an accuracy, the chosen
thresholds fixed.

A file that does not say who is shown can still have folds of different people, as LFW's protocol and its descendants
do: a metric is computed without each fold in turn, and the spread gives a t interval (delete-a-group jackknife; Shao
and Tu, *The Jackknife and Bootstrap*, 1995, section 2.3).

An interval is withheld, with the reason, where that study found it to fail.

Letters: I identities, P pairs, K quantities or folds, R replicates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.arrays import AnyInts, Bools, Doubles, Ints
from harness.stats.uncertainty import LEVEL, Interval, Uncertainty
from harness.stats.verification import tar_at_far

# Where the bootstrap fails (benchmarks/studies/intervals): with fewer of these, coverage falls below 92 percent.
MIN_IDENTITIES = 30  # people to resample
MIN_BEYOND = 30  # impostor scores beyond the threshold of a rate
MIN_ERRORS = 10  # pairs decided wrongly (or rightly)
MIN_FOLDS = 10  # of the field's protocols, and of the study
_BLOCK = 4_000_000  # weights held at once
_FEW = 8  # quantities, up to which sparse sums are the faster way
_LACKING = "genuine or impostor pairs"


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
    def of(cls, a: AnyInts, b: AnyInts) -> PairIdentities:
        """Number the identities that occur."""
        unique, index = np.unique(np.concatenate([a, b]), return_inverse=True)
        index = index.reshape(-1).astype(np.int64)
        return cls(index[: len(a)], index[len(a) :], len(unique))

    @classmethod
    def known(cls, a: AnyInts, b: AnyInts, same: Bools) -> PairIdentities | None:
        """Number the identities; None where they are not known.

        That is where they contradict the labels, and where none occurs in two pairs: files without identities number
        them by pair, and resampling those as people would widen the interval.
        """
        once = np.concatenate([a[same], a[~same], b[~same]])
        agree = bool(((a == b) == same).all())
        return cls.of(a, b) if agree and len(np.unique(once)) < len(once) else None

    def weights(self, multiplicity: AnyInts) -> Ints:
        """Weight of each pair in replicates with multiplicities [R, I]; int64 [R, P]."""
        first = multiplicity[:, self.a].astype(np.int64)
        return np.where(self.a == self.b, first, first * multiplicity[:, self.b])


def few_identities(count: int) -> str:
    """Why so few people give no interval; empty if there are enough."""
    if count >= MIN_IDENTITIES:
        return ""
    return f"no interval: {count} identities are too few to resample, expected {MIN_IDENTITIES}"


def few_beyond(rate: float, impostors: int) -> str:
    """Why the threshold at a false accept rate is too uncertain for an interval; empty if it is not."""
    beyond = int(np.floor(rate * impostors + 1e-9))
    if beyond >= MIN_BEYOND:
        return ""
    return f"no interval: {beyond} of {impostors} impostor pairs lie beyond the threshold, expected {MIN_BEYOND}"


def few_events(right: int, count: int, what: str, sides: tuple[str, str]) -> str:
    """Why a proportion near 1 (or 0) has no interval; empty if it has one. ``sides`` name its two outcomes.

    A bootstrap of a few events says little, and Wilson's interval, which takes pairs as independent, is too sure.
    """
    fewer = min(right, count - right)
    if fewer >= MIN_ERRORS:
        return ""
    return f"no interval: {fewer} of {count} {what} {sides[fewer < right]}, expected {MIN_ERRORS}"


def few_genuine(hits: int, genuine: int) -> str:
    """:func:`few_events` of a true accept rate."""
    return few_events(hits, genuine, "genuine pairs lie", ("above the threshold", "below the threshold"))


def multiplicities(identities: int, replicates: int, rng: np.random.Generator) -> Ints:
    """How often each identity is drawn in each replicate, int64 [R, I]; rows sum to I."""
    drawn = rng.integers(0, identities, (replicates, identities)) + identities * np.arange(replicates)[:, None]
    return np.bincount(drawn.ravel(), minlength=replicates * identities).reshape(replicates, identities)


def percentile_interval(values: Doubles) -> Interval | None:
    """Central 95 percent of the replicates; None when more than a tenth of them are undefined (NaN)."""
    defined = values[np.isfinite(values)]
    if len(defined) < 0.9 * len(values) or len(defined) == 0:
        return None
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return float(low), float(high)


def bootstrapped(replicates: Doubles, lacking: str = "", method: str = "bootstrap") -> Uncertainty:
    """What bootstrap replicates over identities, [R], say; undefined ones (NaN) are left out.

    Args:
        lacking: what an undefined replicate lacks, such as ``impostor pairs``: the reason where there are too many.
        method: how the replicates were made.
    """
    interval = percentile_interval(replicates)
    if interval is not None:
        return Uncertainty(interval, "identities", method)
    return Uncertainty(note=f"no interval: a tenth of the replicates or more lack {lacking}" if lacking else "")


def wilson(successes: int, count: int, over: str) -> Uncertainty:
    """Wilson's score interval of a proportion (JASA 22, 1927), for independent trials.

    Args:
        over: what the trials are, such as ``identities``.

    Raises:
        ValueError: there is no trial.
    """
    from scipy.stats import binomtest  # late: it takes a second

    low, high = binomtest(successes, count).proportion_ci(LEVEL, method="wilson")
    return Uncertainty((float(low), float(high)), over, "wilson")


def mean_uncertainty(values: Doubles, rng: np.random.Generator, replicates: int = 1000) -> Uncertainty:
    """Interval of the mean of one value per identity, [I]; withheld where there are few."""
    if few := few_identities(len(values)):
        return Uncertainty(note=few)
    return bootstrapped(multiplicities(len(values), replicates, rng) @ values / len(values))


def accuracy_uncertainty(
    correct: Bools,
    same: Bools,
    fold: Ints,
    identities: PairIdentities | None,
    rng: np.random.Generator,
    replicates: int = 1000,
) -> Uncertainty:
    """Interval of an accuracy: over identities; where they are not known, over folds.

    It is withheld where few pairs are decided wrongly (or rightly), and where there are few people or folds.

    Args:
        correct: which pairs were decided correctly, [P].
        same: genuine or not, [P].
        fold: number of each pair's fold, [P].
        identities: whom the pairs show; None if that is not known.
    """
    if few := few_events(int(correct.sum()), len(correct), "pairs are decided", ("rightly", "wrongly")):
        return Uncertainty(note=few)
    if identities is None:
        return over_folds(lambda kept: float(correct[kept].mean()), fold)
    if few := few_identities(identities.count):
        return Uncertainty(note=few)
    drawn = multiplicities(identities.count, replicates, rng)
    # the protocol fixes how many pairs of each kind there are: each kind's accuracy is resampled, and the two are mixed
    return bootstrapped(mean_replicates(correct[:, None], same, identities, drawn)[:, 0], _LACKING)


def tar_uncertainty(
    scores: Doubles,
    same: Bools,
    far: float,
    fold: Ints,
    identities: PairIdentities | None,
    rng: np.random.Generator,
    replicates: int = 1000,
) -> Uncertainty:
    """Interval of a true accept rate at a false accept rate: over identities; where they are not known, over folds.

    It is withheld where few impostor pairs lie above the threshold or few genuine ones on one side of it.

    Args:
        scores: similarity of each pair, [P].
        same: genuine or not, [P].
        far: false accept rate.
        fold: number of each pair's fold, [P].
        identities: whom the pairs show; None if that is not known.
    """
    genuine = int(same.sum())
    if few := few_beyond(far, len(same) - genuine):
        return Uncertainty(note=few)
    if few := few_genuine(round(tar_at_far(scores, same, far) * genuine), genuine):
        return Uncertainty(note=few)
    if identities is None:
        return over_folds(lambda kept: tar_at_far(scores[kept], same[kept], far), fold)
    if few := few_identities(identities.count):
        return Uncertainty(note=few)
    drawn = multiplicities(identities.count, replicates, rng)
    return bootstrapped(tar_replicates(scores, same, far, identities, drawn), _LACKING)


def over_folds(rate: Callable[[Bools], float], fold: Ints) -> Uncertainty:
    """Interval of a rate, for want of identities, from its values without each fold in turn.

    Args:
        rate: computed from the pairs that a mask [P] keeps.
        fold: number of each pair's fold, [P]; folds are taken to show different people.
    """
    unknown, names = "identities of the pairs are not known", np.unique(fold)
    count = len(names)
    if count < MIN_FOLDS:
        return Uncertainty(note=f"no interval: {unknown}, and {count} folds are too few, expected {MIN_FOLDS}")
    without = [rate(fold != name) for name in names]
    note = f"{unknown}, so folds are resampled, which are taken to show different people"
    return jackknifed(rate(np.ones(len(fold), bool)), without, "folds", note)


def jackknifed(value: float, without: Sequence[float], over: str, note: str = "") -> Uncertainty:
    """The t interval of a rate from its values without each of several parts in turn.

    Source: delete-a-group jackknife; Shao and Tu, The Jackknife and Bootstrap, 1995, section 2.3.

    Args:
        over: what the parts consist of.
    """
    from scipy.special import stdtrit  # late: evaluators are imported to list them

    count = len(without)
    half = float(stdtrit(count - 1, (1 + LEVEL) / 2)) * sqrt((count - 1) * np.var(without))
    return Uncertainty((max(0.0, value - half), min(1.0, value + half)), over, "jackknife", note)


def mean_replicates(values: NDArray[Any], same: Bools, pairs: PairIdentities, drawn: Ints) -> Doubles:
    """Means over pairs in bootstrap replicates, of K quantities at once.

    The means of genuine and of impostor pairs are mixed in the protocol's proportion.

    Args:
        values: one number per pair and quantity, [P, K].
        same: genuine or not, [P].
        pairs: the identities of the pairs.
        drawn: multiplicities of the identities, [R, I].

    Returns:
        float64 [R, K]; NaN in a replicate without pairs of a kind.
    """
    out = np.zeros((len(drawn), values.shape[1]))
    for kind in (same, ~same):
        if kind.any():
            counted = np.column_stack([values[kind], np.ones(kind.sum())])
            sums = _weighted_sums(counted, pairs.a[kind], pairs.b[kind], drawn.astype(np.float64))
            out += kind.mean() * _ratio(sums[:, :-1], sums[:, -1:])
    return out


def _weighted_sums(values: Doubles, a: Ints, b: Ints, m: Doubles) -> Doubles:
    """Sums over pairs of weight times value [R, K], with the weights of :meth:`PairIdentities.weights`.

    Of few quantities, values are added up per identity, or per two identities, before they are weighted: m' v, or
    m' X m with X sparse. Of many, the weights of the pairs are worked out once.
    """
    from scipy.sparse import csr_array

    identities, within = m.shape[1], a == b
    out = np.empty((len(m), values.shape[1]))
    if values.shape[1] > _FEW:
        step = max(1, _BLOCK // max(1, len(a)))
        for start in range(0, len(m), step):
            drawn = m[start : start + step]
            out[start : start + step] = (drawn[:, a] * np.where(within, 1.0, drawn[:, b])) @ values
        return out
    for k, column in enumerate(values.T):
        own = np.bincount(a[within], weights=column[within], minlength=identities)
        cross = csr_array((column[~within], (a[~within], b[~within])), shape=(identities, identities))
        out[:, k] = m @ own + np.einsum("ir,ri->r", cross @ m.T, m)
    return out


def tar_replicates(scores: Doubles, same: Bools, far: float, pairs: PairIdentities, drawn: Ints) -> Doubles:
    """:func:`harness.stats.verification.tar_at_far` in bootstrap replicates; the threshold is chosen anew in each.

    Args:
        scores: similarity of each pair, [P].
        same: genuine or not, [P].
        far: false accept rate.
        pairs: the identities of the pairs.
        drawn: multiplicities of the identities, [R, I].

    Returns:
        float64 [R]; NaN in a replicate without genuine pairs.
    """
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

    step = max(1, _BLOCK // max(1, len(pairs.a)))
    return np.concatenate([tar(pairs.weights(drawn[start : start + step])) for start in range(0, len(drawn), step)])


def _ratio(numerator: NDArray[Any], denominator: NDArray[Any]) -> Doubles:
    """Quotient, NaN where the denominator is 0: a replicate without such pairs."""
    out = np.full(numerator.shape, np.nan)
    np.divide(numerator, denominator, out=out, where=denominator > 0)
    return out
