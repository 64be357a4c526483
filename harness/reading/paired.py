"""Two rows that decided the same pairs: tests of methods with three seeds, of trained models below that.

Letters: S seeds, P pairs of a benchmark, I identities, R bootstrap replicates.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from harness.arrays import Bools, Doubles, Ints
from harness.errors import DataError
from harness.reading.fields import table_path
from harness.reading.metrics import About
from harness.reading.tested import Bounds, Tested, tested_difference
from harness.stats.comparison import Difference, holm, mcnemar
from harness.stats.intervals import PairIdentities, mean_replicates, multiplicities

REPLICATES = 1000
# What a pair is, and what a table of pairs must hold; equal in both rows.
_PAIR = ("a", "b", "identity_a", "identity_b", "same", "fold")


@dataclass(frozen=True)
class Pairs:
    """What was decided: the pairs of a benchmark.

    Attributes:
        same: genuine or not, bool [P].
        units: what is resampled: the identities, or the folds where identities are not known.
        people: the identities' numbers in the protocol, ascending, int64 [I]; None where they are not known.
    """

    same: Bools
    units: PairIdentities
    people: Ints | None

    @classmethod
    def of(cls, table: pa.Table) -> Pairs:
        """The pairs of a table of decisions."""
        people_a, people_b, same, fold = (table[name].to_numpy(zero_copy_only=False) for name in _PAIR[2:])
        identities = PairIdentities.known(people_a, people_b, same)
        if identities is None:
            return cls(same, PairIdentities.of(fold, fold), None)
        return cls(same, identities, np.unique(np.concatenate([people_a, people_b])))

    def mean_variance(self, replicates: Doubles) -> float:
        """Variance of a mean over the pairs, from its bootstrap replicates [R].

        Of few units, such as ten folds, a bootstrap's variance is too small by (n - 1) / n.
        """
        return float(np.nanvar(replicates)) * self.units.count / (self.units.count - 1)


@dataclass(frozen=True)
class Paired(Pairs):
    """Decisions of both rows on the same pairs.

    Attributes:
        about: the metric that the decisions belong to.
        a, b: whether each pair was decided correctly in each seed, bool [P, S].
    """

    about: About
    a: Bools
    b: Bools

    @property
    def differences(self) -> Doubles:
        """1 where only A is right, -1 where only B is, float64 [P, S]."""
        return self.a.astype(np.float64) - self.b


def read_paired(about: About, a: Sequence[Path], b: Sequence[Path]) -> Paired:
    """The decisions of two rows.

    Args:
        about: a metric with ``pairs``.
        a, b: the result folders of both rows, in the order of the common seeds.

    Raises:
        DataError: a table is damaged or of an earlier version, or the pairs differ.
    """
    tables = [[read_table(table_path(folder, about)) for folder in folders] for folders in (a, b)]
    first = tables[0][0]
    for folders, several in zip((a, b), tables, strict=True):
        for folder, table in zip(folders, several, strict=True):
            if not same_pairs(table, first):
                raise DataError(f"{folder}: its pairs of {about.family} are not those of {a[0]}; run the suite again")
    right_a, right_b = (np.stack([decisions(table) for table in several], axis=1) for several in tables)
    pairs = Pairs.of(first)
    return Paired(pairs.same, pairs.units, pairs.people, about, right_a, right_b)


def same_pairs(one: pa.Table, other: pa.Table) -> bool:
    """Whether two tables of decisions are of the same pairs."""
    return bool(one.select(_PAIR).equals(other.select(_PAIR)))


def decisions(table: pa.Table) -> Bools:
    """Which pairs were decided correctly, bool [P]."""
    right: Bools = table["correct"].to_numpy(zero_copy_only=False)
    return right


def read_table(path: Path) -> pa.Table:
    """A table of decisions.

    Raises:
        DataError: it is damaged or of an earlier version.
    """
    try:
        table = pq.ParquetFile(path).read()
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be read as a table of pairs ({error}); run the suite again") from error
    missing = [name for name in (*_PAIR, "correct") if name not in table.column_names]
    if missing:
        raise DataError(
            f"{path}: a table of pairs without {', '.join(missing)}, of an earlier version; run the suite again"
        )
    return table


def compare_models(benchmarks: Sequence[Paired], seeds: Sequence[int]) -> Iterator[Tested]:
    """Exact McNemar in every seed; Holm over all of them."""
    found = [[mcnemar(x.a[:, s], x.b[:, s]) for s in range(len(seeds))] for x in benchmarks]
    corrected = np.reshape(holm([test.p for row in found for test in row]), (len(benchmarks), len(seeds)))
    for x, row, p_values in zip(benchmarks, found, corrected.tolist(), strict=True):
        models = tuple(zip(seeds, row, p_values, strict=True))
        yield Tested(x.about, float(x.a.mean()), float(x.b.mean()), len(x.same), models=models)


def compare_methods(
    benchmarks: Sequence[Paired], averages: Sequence[About] = (), replicates: int = REPLICATES
) -> Iterator[Tested]:
    """The test of methods on every benchmark, with Holm over them, and on the averages."""
    drawn = _replicates(benchmarks, replicates)
    found = [_test(x.differences.mean(axis=0), r, x) for x, r in zip(benchmarks, drawn, strict=True)]
    corrected = holm([difference.p for difference, _ in found])
    for x, (difference, bounds), p in zip(benchmarks, found, corrected, strict=True):
        means = float(x.a.mean()), float(x.b.mean())
        yield Tested(x.about, *means, len(x.same), _people(x), difference, p, bounds)
    for about in averages:
        yield _average(about, [(x, r) for x, r in zip(benchmarks, drawn, strict=True) if x.about.name in about.members])


def _average(about: About, members: Sequence[tuple[Paired, Doubles]]) -> Tested:
    benchmarks = [x for x, _ in members]
    per_seed = np.mean([x.differences.mean(axis=0) for x in benchmarks], axis=0)
    replicates = np.mean([drawn for _, drawn in members], axis=0)
    a, b = (float(np.mean([getattr(x, side).mean() for x in benchmarks])) for side in ("a", "b"))
    difference, bounds = _test(per_seed, replicates, fewest(benchmarks))
    pairs, people = sum(len(x.same) for x in benchmarks), min(map(_people, benchmarks))
    return Tested(about, a, b, pairs, people, difference, bounds=bounds)


def fewest(benchmarks: Sequence[Pairs]) -> Pairs:
    """The benchmark with the fewest units, on which the test of an average rests."""
    return min(benchmarks, key=lambda x: x.units.count)


def _test(per_seed: Doubles, replicates: Doubles, pairs: Pairs) -> tuple[Difference, Bounds]:
    return tested_difference(per_seed, pairs.mean_variance(replicates), pairs.units.count)


def _people(x: Paired) -> int:
    """How many people were resampled; 0 where folds were."""
    return 0 if x.people is None else len(x.people)


def _replicates(benchmarks: Sequence[Paired], count: int) -> list[Doubles]:
    """Mean difference over the seeds in bootstrap replicates, [R] per benchmark."""
    return [
        mean_replicates(x.differences.mean(axis=1, keepdims=True), x.same, x.units, own)[:, 0]
        for x, own in zip(benchmarks, draws(benchmarks, count), strict=True)
    ]


def draws(benchmarks: Sequence[Pairs], count: int = REPLICATES) -> Iterator[Ints]:
    """How often each unit of a benchmark is drawn in each replicate, int64 [R, I] per benchmark.

    A person who occurs in several benchmarks is drawn equally often in all of them. Should two benchmarks give one
    number to two people, that adds noise to the variance of the average, and no bias.
    """
    rng = np.random.default_rng(0)
    known = [x.people for x in benchmarks if x.people is not None]
    people = np.unique(np.concatenate(known)) if known else np.zeros(0, dtype=np.int64)
    drawn = multiplicities(len(people), count, rng) if known else np.zeros((count, 0), dtype=np.int64)
    for x in benchmarks:
        if x.people is None:
            yield multiplicities(x.units.count, count, rng)
        else:
            yield drawn[:, np.searchsorted(people, x.people)]
