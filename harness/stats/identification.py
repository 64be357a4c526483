"""1:N identification: probes are searched in a gallery, some of them of people who are not in it.

A search of a mated probe finds its mate at a rank; that of a non-mated probe should find nobody. Rank-k is the share of
mated probes whose mate is among the k best (closed set). TPIR at an FPIR (open set): a threshold lets at most that
share of the non-mated probes have a candidate; TPIR is the share of mated probes whose mate is the best candidate and
above it. Source: ISO/IEC 19795-1; Grother, Ngan and Hanaoka, NISTIR 8271, 2019. Both are exact order statistics, and a
mate that ties with others ranks behind them.

Intervals are over subjects, by a delete-a-group jackknife (Shao and Tu, The Jackknife and Bootstrap, 1995, section
2.3): subjects are cut into 30 parts at random, and rates are computed without the probes and the enrolled templates of
each part in turn. A bootstrap of subjects would leave a third of them out of the gallery, which makes searches easier;
one of the probes alone forgets that others could have been enrolled, and covers rank-1 in 89 percent (300 simulated
studies).

Letters: Q probes, G gallery templates, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from harness.arrays import AnyInts, Bools, Doubles, Ints

PARTS = 30  # of the subjects, for intervals
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


def rank_rate(galleries: Sequence[Searches], k: int) -> float:
    """Share of mated probes whose mate is among the ``k`` best, mean over the galleries."""
    return fmean(float((one.rank[one.mated] <= k).mean()) for one in galleries)


def tpir_at_fpir(galleries: Sequence[Searches], fpir: float) -> float:
    """TPIR where at most a share ``fpir`` of non-mated probes has a candidate, mean over the galleries.

    Each gallery has its own threshold: with n non-mated probes, floor(fpir n) may have a candidate, so the threshold is
    the next highest of their best scores.
    """
    return fmean(_tpir(one, fpir) for one in galleries)


def _tpir(found: Searches, fpir: float) -> float:
    others = -np.sort(-found.top[~found.mated])
    threshold = np.append(others, -np.inf)[int(np.floor(fpir * len(others) + 1e-9))]
    right = found.rank == 1
    return float((found.top[right] > threshold).sum() / found.mated.sum())


def parts(subject: AnyInts, rng: np.random.Generator) -> Ints:
    """The part of each template's subject, from 0, int64 [T]: ``PARTS`` of them, of as many subjects each."""
    people, place = np.unique(subject, return_inverse=True)
    return np.asarray(rng.permutation(len(people))[place] % PARTS, dtype=np.int64)
