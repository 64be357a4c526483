"""The gap to real: how far a row's average accuracy lies from that of authentic faces, as many of as many people."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from harness.reading.leaderboard import Board, Cell, Interval, Row, t_interval

REAL = "authentic"  # the generator whose rows are the yardstick


@dataclass(frozen=True)
class Gap:
    """A row's difference to an authentic one: the mean over their common seeds, a fraction.

    ``interval`` is the t interval of the differences seed by seed, from three seeds on.
    """

    real: Row
    value: float
    interval: Interval | None


def gaps(board: Board) -> dict[tuple[str, str], Gap]:
    """The gap of every row, by suite and name, that has an authentic row beside it.

    That row has the same benchmarks, recipe, choice of the epoch and dataset size, and a seed in common. One of the
    row's own suite goes before those of others. Authentic rows have no gap themselves.
    """
    averages = [about.name for about in board.metrics if about.members and about.ranks]
    found: dict[tuple[str, str], Gap] = {}
    for name in averages[:1]:
        rows = [row for row in board.rows if name in row.cells and row.dataset is not None]
        real = [row for row in rows if row.generator == REAL]
        for row in rows:
            alike = [other for other in real if _comparable(row, other, name)]
            if row.generator != REAL and alike:
                nearest = min(alike, key=lambda other: (other.suite != row.suite, other.suite, other.name))
                found[row.suite, row.name] = _gap(row.cells[name], nearest.cells[name], nearest)
    return found


def _comparable(row: Row, other: Row, name: str) -> bool:
    def same(each: Row) -> object:
        return each.cells[name].protocol, each.recipe, each.chosen_on, each.size

    return same(row) == same(other) and bool(row.cells[name].values.keys() & other.cells[name].values.keys())


def _gap(ours: Cell, theirs: Cell, real: Row) -> Gap:
    differences = [
        ours.values[seed] - theirs.values[seed] for seed in sorted(ours.values.keys() & theirs.values.keys())
    ]
    return Gap(real, statistics.fmean(differences), t_interval(differences))
