"""1:N identification: probes are searched in a gallery, some of them of people who are not in it.

A search of a mated probe finds its mate at a rank; that of a non-mated probe should find nobody. Rank-k is the share of
mated probes whose mate is among the k best (closed set). TPIR at an FPIR (open set): a threshold lets at most that
share of the non-mated probes have a candidate; TPIR is the share of mated probes whose mate is the best candidate and
above it. Source: ISO/IEC 19795-1; Grother, Ngan and Hanaoka, NISTIR 8271, 2019. Both are exact order statistics, and a
mate that ties with others ranks behind them.

Intervals are over the probes' subjects, by bootstrap; galleries are held fixed, thresholds are chosen anew in each
replicate.

Letters: Q probes, G gallery templates, D width, S subjects, R replicates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.arrays import AnyInts, Bools, Doubles, Ints

_BLOCK = 16_000_000  # scores held at once


@dataclass(frozen=True)
class Searches:
    """What searches in one gallery found, one entry per probe.

    Attributes:
        subject: whom the probe shows, int64 [Q].
        rank: of the mate, from 1; 0 for a probe without a mate, int64 [Q].
        top: score of the best candidate, float64 [Q]; of a mated probe with rank 1 its mate's.
    """

    subject: Ints
    rank: Ints
    top: Doubles

    @property
    def mated(self) -> Bools:
        """Which probes have a mate in the gallery, bool [Q]."""
        return self.rank > 0


def search(probes: Doubles, who: AnyInts, gallery: Doubles, enrolled: AnyInts) -> Searches:
    """Search probes [Q, D] in a gallery [G, D] by dot products.

    Args:
        who: subject of each probe, [Q].
        enrolled: subject of each gallery template, [G]; each occurs once.

    Raises:
        ValueError: a subject is enrolled twice.
    """
    order = np.argsort(enrolled, kind="stable")
    names = np.asarray(enrolled)[order]
    if (names[1:] == names[:-1]).any():
        raise ValueError(f"subject {names[1:][names[1:] == names[:-1]][0]} is enrolled twice; expected one template")
    place = np.searchsorted(names, who).clip(max=len(names) - 1)
    mate = np.where(names[place] == who, order[place], -1)
    rank, top = np.zeros(len(probes), np.int64), np.empty(len(probes))
    step = max(1, _BLOCK // max(1, len(gallery)))
    for start in range(0, len(probes), step):
        part = slice(start, start + step)
        scores = probes[part] @ gallery.T
        top[part] = scores.max(axis=1)
        has = np.flatnonzero(mate[part] >= 0)
        of_mate = scores[has, mate[part][has]]
        rank[start + has] = (scores[has] >= of_mate[:, None]).sum(axis=1)  # the mate itself makes it 1 or more
    return Searches(np.asarray(who, np.int64), rank, top)


def rank_rates(galleries: Sequence[Searches], k: int, drawn: NDArray[Any] | None = None) -> Doubles:
    """Share of mated probes whose mate is among the ``k`` best, mean over the galleries, float64 [R].

    Args:
        drawn: how often each subject counts, [R, S], indexed by the probes' subjects; default: once (R is 1).
    """
    return _mean([_rank_rate(searches, k, _weights(searches, drawn)) for searches in galleries])


def _rank_rate(found: Searches, k: int, weights: Ints) -> Doubles:
    mated = weights[:, found.mated]
    return _share(mated @ (found.rank[found.mated] <= k).astype(np.int64), mated.sum(axis=1))


def tpir_at_fpir(galleries: Sequence[Searches], fpir: float, drawn: NDArray[Any] | None = None) -> Doubles:
    """TPIR where at most a share ``fpir`` of non-mated probes has a candidate, mean over the galleries, float64 [R].

    Each gallery has its own threshold: with n non-mated probes, floor(fpir n) may have a candidate, so the threshold is
    the next highest of their best scores. ``drawn`` is as for :func:`rank_rates`.
    """
    return _mean([_tpir(searches, fpir, _weights(searches, drawn)) for searches in galleries])


def _tpir(found: Searches, fpir: float, weights: Ints) -> Doubles:
    others = np.flatnonzero(~found.mated)
    others = others[np.argsort(-found.top[others], kind="stable")]
    beyond = weights[:, others].cumsum(axis=1)
    # the first that may have no candidate: the weight up to and including it exceeds fpir * total
    place = (beyond <= fpir * beyond[:, -1:] + 1e-9).sum(axis=1)
    threshold = np.append(found.top[others], -np.inf)[place]
    right = found.rank == 1
    hits = weights[:, right] * (found.top[right] > threshold[:, None])
    return _share(hits.sum(axis=1), weights[:, found.mated].sum(axis=1))


def _weights(found: Searches, drawn: NDArray[Any] | None) -> Ints:
    if drawn is None:
        return np.ones((1, len(found.subject)), np.int64)
    return drawn[:, found.subject].astype(np.int64)


def _mean(rates: list[Doubles]) -> Doubles:
    out: Doubles = np.mean(rates, axis=0)
    return out


def _share(part: NDArray[Any], whole: NDArray[Any]) -> Doubles:
    """Quotient, NaN where the denominator is 0: a replicate without mated probes."""
    out = np.full(part.shape, np.nan)
    np.divide(part, whole, out=out, where=whole > 0)
    return out
