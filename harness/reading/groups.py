"""Which rows of a board share a rank: every two are tested as ``harness compare`` tests them.

The decisions of all rows are read once, and a bootstrap replicate of a difference is the difference of two rows'
replicates, so that 20,000 pairs of rows cost little more than 200 rows. Reading the tables is what takes time; what
came out is kept beside the results (``harness.reading.kept``).

Letters: N rows, S seeds, P pairs of a benchmark, I identities, R bootstrap replicates.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.arrays import Bools, Doubles, Ints
from harness.errors import DataError
from harness.reading.fields import Fields, Ranks, key, table_paths
from harness.reading.paired import Pairs, decisions, draws, fewest, read_table, same_pairs
from harness.stats.comparison import MIN_SEEDS
from harness.stats.groups import Differences, differing, letters
from harness.stats.intervals import mean_replicates

if TYPE_CHECKING:
    from harness.reading.leaderboard import Row
    from harness.reading.metrics import About


@dataclass
class _Decided:
    """Decisions of rows on the pairs of one benchmark.

    Attributes:
        first: a table that holds the pairs.
        right: by row and seed whether each pair was decided correctly, bool [P].
        drawn: multiplicities of the identities in the replicates, [R, I].
    """

    first: Any = None
    right: dict[str, dict[int, Bools]] = field(default_factory=dict)
    drawn: Ints | None = None
    made: dict[object, Doubles] = field(default_factory=dict)

    @cached_property
    def pairs(self) -> Pairs:
        """What was decided."""
        return Pairs.of(self.first)

    def per_seed(self, names: Sequence[str], seeds: Sequence[int]) -> Doubles:
        """Share of the pairs that a row decided correctly in a seed, [N, S]."""
        return np.array([[self.right[name][seed].mean() for seed in seeds] for name in names])

    def replicates(self, names: tuple[str, ...], seeds: Sequence[int]) -> Doubles:
        """The same over all seeds when people are resampled, [R, N]; kept for the average that it enters."""
        wanted = (names, tuple(seeds))
        if wanted not in self.made:
            assert self.drawn is not None
            means = np.stack([np.mean([self.right[n][s] for s in seeds], axis=0) for n in names], axis=1)
            self.made[wanted] = mean_replicates(means, self.pairs.same, self.pairs.units, self.drawn)
        return self.made[wanted]


def shared_ranks(fields: Fields, workdir: Path | None) -> Ranks:
    """The letters of the rows of every metric.

    Args:
        fields: comparable rows with three seeds.
        workdir: where the tables of decisions lie; None: nowhere.
    """
    benchmarks = {name: found for name, found in _benchmarks(fields, workdir).items() if found.first is not None}
    for found, drawn in zip(benchmarks.values(), draws([x.pairs for x in benchmarks.values()]), strict=True):
        found.drawn = drawn
    ranks: Ranks = {}
    for name, (about, rows) in fields.items():
        members = [member for member in about.members if member in rows[0].cells] or [name]
        paired = [fields[member][0].paired for member in members if member in fields]
        differences, units = Differences.none(len(rows)), 0
        if not any(paired):
            differences = _over_seeds(about, rows)
        elif benchmarks.keys() >= set(members):
            differences, units = _over_people(rows, [benchmarks[member] for member in members])
        ranks[name] = _letters(rows, differences, units)
    return ranks


def _letters(rows: Sequence[Row], differences: Differences, units: int) -> dict[str, str]:
    """Letters of the rows that were tested against any other."""
    tested = np.flatnonzero(np.isfinite(differences.mean).sum(axis=1) > 1)  # beside itself
    differ = differing(differences, units)[np.ix_(tested, tested)]
    given = dict(zip(tested.tolist(), letters(differ), strict=True))
    return {key(row): given.get(index, "") for index, row in enumerate(rows)}


# --- over seeds -------------------------------------------------------------------------------------------------------


def _over_seeds(about: About, rows: Sequence[Row]) -> Differences:
    """Paired t tests over the common seeds (``harness.reading.over_seeds``)."""
    values = [row.cells[about.name].values for row in rows]
    differences = Differences.none(len(rows))
    for seeds, chosen, shared in _common(values):
        per_seed = np.array([[values[i][seed] for seed in seeds] for i in chosen])
        differences.fill(chosen, shared, per_seed, np.zeros(shared.shape), about.relative)
    return differences


def _common(seeds: Sequence[Iterable[int]]) -> Iterator[tuple[list[int], Ints, Bools]]:
    """Seeds that rows have in common, the rows that have them, and which two of these have just them in common."""
    sets = [frozenset(each) for each in seeds]
    pairs = {(i, j): sets[i] & sets[j] for i, j in combinations(range(len(sets)), 2)}
    for common in dict.fromkeys(pairs.values()):
        if len(common) >= MIN_SEEDS:
            chosen = np.array([i for i, each in enumerate(sets) if common <= each], dtype=np.int64)
            shared = np.array([[i == j or pairs[min(i, j), max(i, j)] == common for j in chosen] for i in chosen])
            yield sorted(common), chosen, shared


# --- over people and seeds --------------------------------------------------------------------------------------------


def _benchmarks(fields: Fields, workdir: Path | None) -> dict[str, _Decided]:
    """The decisions of every metric that has them pair by pair."""
    found = {name: _Decided() for name, (about, _) in fields.items() if about.paired}
    if workdir is not None:
        for name, benchmark in found.items():
            about, rows = fields[name]
            for row in rows:
                _read(benchmark, about, row, workdir)
    return found


def _read(benchmark: _Decided, about: About, row: Row, workdir: Path) -> None:
    """Add a row's decisions; nothing of a row that lacks some, or that decided other pairs than the first."""
    try:
        tables = {seed: read_table(path) for seed, path in table_paths(about, row, workdir).items()}
    except DataError:
        return
    if benchmark.first is None:
        benchmark.first = next(iter(tables.values()))
    if all(same_pairs(table, benchmark.first) for table in tables.values()):
        benchmark.right[key(row)] = {seed: decisions(table) for seed, table in tables.items()}


def _over_people(rows: Sequence[Row], members: Sequence[_Decided]) -> tuple[Differences, int]:
    """The test of methods (``harness.reading.paired``) on a benchmark, or on the mean over several; and I."""
    differences = Differences.none(len(rows))
    there = [i for i, row in enumerate(rows) if all(key(row) in x.right for x in members)]
    if len(there) < 2:
        return differences, 0
    names = [key(rows[i]) for i in there]
    for seeds, local, shared in _common([set.intersection(*(set(x.right[n]) for x in members)) for n in names]):
        chosen = tuple(names[i] for i in local)
        per_seed = np.mean([x.per_seed(chosen, seeds) for x in members], axis=0)
        replicates = np.mean([x.replicates(chosen, seeds) for x in members], axis=0)
        pairs = fewest([x.pairs for x in members])
        differences.fill(np.array(there)[local], shared, per_seed, _variances(replicates, pairs), relative=False)
    return differences, pairs.units.count


def _variances(replicates: Doubles, pairs: Pairs) -> Doubles:
    """Variance of every two rows' mean difference when people are resampled, [N, N], from replicates [R, N]."""
    whole = replicates[np.isfinite(replicates).all(axis=1)]
    together = np.cov(whole, rowvar=False, ddof=0) * pairs.units.count / (pairs.units.count - 1)
    own = np.diag(together)
    return np.maximum(own[:, None] + own[None, :] - 2 * together, 0.0)
