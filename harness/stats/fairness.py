"""How rates differ between groups of people at one threshold for all.

The threshold is that of a false accept rate over the impostor pairs of all groups together; no group has its own.
Measures of the differences are those of NISTIR 8429 (Grother, *Demographic differentials in face recognition*, FRVT
part 8, 2022): the distance of the extremes, and the largest false match rate over the geometric mean of all groups'.

Whole identities are resampled, as in :mod:`harness.stats.intervals`, and the threshold is chosen anew in each
replicate. Percentiles of a replicate's extremes would not do: the distance of the best from the worst group is never
negative, so of groups that are alike no percentile interval would hold the 0. Instead, the intervals are simultaneous:
the deviations d_g of all groups in a replicate give the largest error that a difference of any two can have, max d -
min d; its 95th percentile, added to both sides, bounds the difference of the extremes whichever groups they are
(the bootstrap of Tukey's range; Beran, JRSS B 50(1), 1988). It is rather too wide than too narrow.

Letters: P pairs, G groups, I identities, R replicates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.arrays import AnyInts, Bools, Doubles, Ints
from harness.stats.intervals import PairIdentities, percentile_interval
from harness.stats.uncertainty import LEVEL, Interval

_BLOCK = 4_000_000  # weights held at once


@dataclass(frozen=True)
class GroupRates:
    """Rates of each group at one threshold, float64 [R, G] each; R is 1 for the pairs as they are.

    Attributes:
        tar: share of genuine pairs accepted.
        fmr: share of impostor pairs accepted.
        accuracy: share of pairs decided rightly; both kinds count as in the protocol.
    """

    tar: Doubles
    fmr: Doubles
    accuracy: Doubles


def group_rates(
    scores: Doubles, same: Bools, group: AnyInts, far: float, weights: NDArray[Any] | None = None
) -> GroupRates:
    """Rates of each group, where a share ``far`` of all impostor pairs is accepted at most.

    The threshold is that of :func:`harness.stats.verification.tar_at_far`: exact order statistics, over all groups.

    Args:
        scores: similarity of each pair, [P].
        same: genuine or not, [P]; every group has both kinds.
        group: number of each pair's group, from 0, [P].
        far: false accept rate.
        weights: how often each pair counts, int [R, P]; default: once.

    Returns:
        rates; NaN where a group has no pair of a kind in a replicate.
    """
    weights = np.ones((1, len(scores)), np.int64) if weights is None else weights
    kinds = [(group == g) & (same == kind) for kind in (True, False) for g in range(int(group.max()) + 1)]
    members = np.stack(kinds, axis=1).astype(np.float64)  # [P, 2 G]
    impostors = np.flatnonzero(~same)
    impostors = impostors[np.argsort(-scores[impostors], kind="stable")]
    beyond = weights[:, impostors].cumsum(axis=1)
    # the first impostor that may not be accepted: the weight up to and including it exceeds far * total
    place = (beyond <= far * beyond[:, -1:] + 1e-9).sum(axis=1)
    threshold = np.append(scores[impostors], -np.inf)[place]
    accepted = scores > threshold[:, None]
    total = weights @ members
    with np.errstate(invalid="ignore"):
        tar, fmr = np.split((weights * accepted) @ members / total, 2, axis=1)
    share = members.sum(axis=0)  # the protocol fixes how many pairs of each kind a group has
    genuine, impostor = np.split(share, 2)
    return GroupRates(tar, fmr, (genuine * tar + impostor * (1 - fmr)) / (genuine + impostor))


def rate_replicates(
    scores: Doubles, same: Bools, group: AnyInts, far: float, pairs: PairIdentities, drawn: Ints
) -> GroupRates:
    """:func:`group_rates` in bootstrap replicates with multiplicities ``drawn`` [R, I] of the identities."""
    step = max(1, _BLOCK // max(1, len(scores)))
    parts = [
        group_rates(scores, same, group, far, pairs.weights(drawn[start : start + step]))
        for start in range(0, len(drawn), step)
    ]
    columns = ([getattr(part, name) for part in parts] for name in ("tar", "fmr", "accuracy"))
    return GroupRates(*map(np.concatenate, columns))


def spread_interval(values: Doubles, replicates: Doubles) -> Interval | None:
    """Simultaneous interval of the distance of the largest of several rates, [G], from the smallest, in [0, 1]."""
    reach = _reach(np.ptp(replicates - values, axis=1))
    at = float(np.ptp(values))
    return None if reach is None else (max(0.0, at - reach), min(1.0, at + reach))


def worst_interval(values: Doubles, replicates: Doubles) -> Interval | None:
    """Simultaneous interval of the smallest of several rates, [G], in [0, 1]."""
    reach = _reach(np.abs(replicates - values).max(axis=1))
    at = float(values.min())
    return None if reach is None else (max(0.0, at - reach), min(1.0, at + reach))


def excess(rates: Doubles) -> Doubles:
    """The largest of several rates, [..., G], over their geometric mean; NaN where one is 0. Source: NISTIR 8429."""
    out: Doubles = np.exp(_above_mean(rates).max(axis=-1))
    return out


def excess_interval(values: Doubles, replicates: Doubles) -> Interval | None:
    """Simultaneous interval of :func:`excess`, at least 1."""
    reach = _reach(np.abs(_above_mean(replicates) - _above_mean(values)).max(axis=1))
    at = float(np.log(excess(values)))
    return None if reach is None else (float(np.exp(max(0.0, at - reach))), float(np.exp(at + reach)))


def own_intervals(replicates: Doubles) -> list[Interval | None]:
    """Percentile interval of each group's rate; they say nothing of differences."""
    return [percentile_interval(column) for column in replicates.T]


def _above_mean(rates: Doubles) -> Doubles:
    """Logarithms of rates [..., G] less their mean; NaN where a rate is 0."""
    logs = np.log(rates, out=np.full(rates.shape, np.nan), where=rates > 0)
    out: Doubles = logs - logs.mean(axis=-1, keepdims=True)
    return out


def _reach(deviations: Doubles) -> float | None:
    """How far most replicates deviate; None where more than a tenth of them are undefined."""
    defined = deviations[np.isfinite(deviations)]
    return float(np.quantile(defined, LEVEL)) if len(defined) >= max(1, 0.9 * len(deviations)) else None
