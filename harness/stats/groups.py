"""Which of many rows differ, and their groups as a compact letter display: rows that share a letter do not differ.

Every two rows are tested as two methods are (``harness.stats.comparison``). Holm's correction is over the rows that
one row is compared with, as in ``harness compare --against``, and two rows differ where both comparisons say so. A
correction over all pairs at once would find next to nothing with three seeds, whose t quantiles have two degrees of
freedom. So the level holds for the comparisons with one row together, not for those of all rows.

The letters are a clique cover of the graph of rows that do not differ: Piepho, Journal of Computational and Graphical
Statistics 13, 2004; found by growing cliques, whose cost stays polynomial where insertion and absorption doubles its
columns: Gramm, Guo, Hüffner, Niedermeier, Piepho and Schmid, Computational Statistics and Data Analysis 52, 2007.

Letters: N rows, S seeds, I identities.
"""

from __future__ import annotations

from dataclasses import dataclass
from string import ascii_letters

import numpy as np
from scipy.special import stdtrit

from harness.arrays import Bools, Doubles, Ints
from harness.stats.comparison import MIN_SEEDS, SIGNIFICANCE


@dataclass(frozen=True)
class Differences:
    """Every row against every other, [N, N]: entry (i, j) is row j measured by row i, NaN where there is no test.

    Attributes:
        mean: mean difference over the seeds that both have.
        people: variance of that mean when identities are resampled; 0 where every seed draws its own.
        seeds: variance of the mean over the seeds.
        count: S of the two rows.
    """

    mean: Doubles
    people: Doubles
    seeds: Doubles
    count: Ints

    @classmethod
    def none(cls, rows: int) -> Differences:
        """No test yet."""
        empty = np.full((rows, rows), np.nan)
        return cls(empty, empty.copy(), empty.copy(), np.full((rows, rows), MIN_SEEDS, dtype=np.int64))

    def fill(self, chosen: Ints, shared: Bools, per_seed: Doubles, people: Doubles, relative: bool) -> None:
        """Enter the tests of rows that have S seeds in common.

        Args:
            chosen: numbers of the rows, [n].
            shared: which two of them have these seeds in common and no more, [n, n].
            per_seed: their values, [n, S].
            people: variances of their mean differences when identities are resampled, [n, n].
            relative: whether a difference is a share of the value it is measured by.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            each = per_seed[None, :, :] - per_seed[:, None, :]
            each = each / per_seed[:, None, :] if relative else each
            seeds = each.var(axis=2, ddof=1) / per_seed.shape[1]
        where = np.ix_(chosen, chosen)
        for entries, found in ((self.mean, each.mean(axis=2)), (self.people, people), (self.seeds, seeds)):
            entries[where] = np.where(shared, found, entries[where])
        self.count[where] = np.where(shared, per_seed.shape[1], self.count[where])


def differing(differences: Differences, identities: int) -> Bools:
    """Which two rows differ by more than chance, bool [N, N], symmetric.

    Holm's step-down without p-values: k hypotheses of a family of m are rejected at alpha / (m - k), until no more are.

    Args:
        differences: the tests.
        identities: I, how many people were resampled; ignored where they were not.
    """
    tested = np.isfinite(differences.mean) & np.isfinite(differences.seeds) & ~np.eye(len(differences.mean), dtype=bool)
    rejected = np.zeros_like(tested)
    while True:
        left = np.maximum(tested.sum(axis=1) - rejected.sum(axis=1), 1)
        half = _half_widths(differences, identities, SIGNIFICANCE / left)
        now = tested & (np.abs(differences.mean) > half)
        if (now == rejected).all():
            return now & now.T
        rejected = now


def _half_widths(found: Differences, identities: int, levels: Doubles) -> Doubles:
    """:func:`harness.stats.comparison.cochran_cox` of every entry, at the level of its line, [N, N]."""
    of_seeds = np.zeros_like(found.mean)
    for count in np.unique(found.count):
        quantiles = -stdtrit(count - 1.0, levels / 2)
        of_seeds = np.where(found.count == count, quantiles[:, None], of_seeds)
    of_people = -stdtrit(max(identities - 1.0, 1.0), levels / 2)[:, None]
    total = found.people + found.seeds
    weighted = found.people * of_people + found.seeds * of_seeds
    half: Doubles = np.divide(weighted, np.sqrt(total), out=np.zeros_like(total), where=total > 0)
    return half


def letters(differ: Bools) -> list[str]:
    """The letters of rows in their order, the best first: two rows share one exactly where they do not differ.

    Args:
        differ: symmetric, [N, N].
    """
    alike = [sum(1 << j for j in np.flatnonzero(~line).tolist()) | 1 << i for i, line in enumerate(differ)]
    groups = _cliques(alike)
    groups.sort(key=lambda group: [i for i in range(len(alike)) if group >> i & 1])
    return ["".join(_letter(k) for k, group in enumerate(groups) if group >> i & 1) for i in range(len(alike))]


def _cliques(alike: list[int]) -> list[int]:
    """Sets of rows as bits, no two of a set different, that hold every two rows which do not differ."""
    open_ = alike.copy()  # bit j of i: no set holds both yet
    groups = []
    for i in range(len(alike)):
        while open_[i] >> i:
            group, candidates = 1 << i, alike[i] & ~(1 << i)
            first = (open_[i] >> i & ~1 or 1) << i  # the nearest row that shares no set with i yet
            for j in [(first & -first).bit_length() - 1, *range(len(alike))]:
                if candidates >> j & 1:
                    group, candidates = group | 1 << j, candidates & alike[j] & ~(1 << j)
            groups.append(group)
            for j in range(len(alike)):
                if group >> j & 1:
                    open_[j] &= ~group
    return groups


def _letter(number: int) -> str:
    """``a`` to ``z``, ``A`` to ``Z``, then the same with a dot before it, and so on."""
    return "." * (number // len(ascii_letters)) + ascii_letters[number % len(ascii_letters)]
