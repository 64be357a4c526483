"""Many rows -> how far each is from one of them, in every quantity, with Holm's correction over the rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import InputError
from harness.reading.comparison import Comparison, common_seeds, compare_rows, find_row, label
from harness.reading.leaderboard import Board, Row, load
from harness.reading.metrics import About
from harness.reading.tested import Tested
from harness.stats.comparison import MIN_SEEDS, holm

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class Quantity:
    """One metric, or average, of every row that has it: the tests and their p-values after Holm's correction."""

    about: About
    tests: dict[str, Tested]
    corrected: dict[str, float]

    @property
    def heading(self) -> str:
        """The title with the unit of the differences."""
        return next(iter(self.tests.values())).heading


@dataclass(frozen=True)
class Against:
    """Rows, each compared with ``reference``; ``notes`` hold for the rows that they name, or for all."""

    reference: str
    comparisons: tuple[Comparison, ...]
    quantities: tuple[Quantity, ...]
    notes: tuple[str, ...] = ()

    @property
    def rows(self) -> tuple[str, ...]:
        """The names of the rows."""
        return tuple(comparison.a for comparison in self.comparisons)

    def to_frame(self) -> DataFrame:
        """One line per row and quantity: :func:`harness.reading.frames.against_frame`."""
        from harness.reading.frames import against_frame

        return against_frame(self)


def compare_against(workdir: Path, reference: str, rows: Sequence[str] = ()) -> Against:
    """Compare rows with one.

    Args:
        workdir: the folder that ``harness run`` wrote to.
        reference: ``SUITE/ROW``, or the name of a row that only one suite has.
        rows: the others, in the order they are shown; a name that several suites have is that of the reference's suite.
            Default: all rows of that suite. What has not three seeds in common with the reference is left out.

    Raises:
        InputError: a row is not there, or none is left; else as :func:`harness.reading.comparison.compare`.
    """
    board = load(workdir)
    base = find_row(board.rows, reference, board.damaged)
    own = [row for row in board.rows if row.suite == base.suite]
    chosen = [_find(board, own, name) for name in rows] or [row for row in own if row is not base]
    whole = [row for row in chosen if len(common_seeds(row, base)) >= MIN_SEEDS]
    if not whole:
        names = ", ".join(map(label, chosen)) or f"no other row of {base.suite}"
        raise InputError(f"{label(base)} has {MIN_SEEDS} seeds in common with none of: {names}; run more seeds")
    comparisons = tuple(compare_rows(workdir, row, base) for row in whole)
    left = [f"damaged, left out: {text}" for text in board.damaged]
    left += [f"left out, fewer than {MIN_SEEDS} seeds in common: {label(row)}" for row in chosen if row not in whole]
    name = base.name if all(row.suite == base.suite for row in whole) else label(base)
    return Against(name, comparisons, tuple(_quantities(comparisons)), (*_notes(comparisons), *left))


def _find(board: Board, own: Sequence[Row], name: str) -> Row:
    return next((row for row in own if row.name == name), None) or find_row(board.rows, name, board.damaged)


def _quantities(comparisons: Sequence[Comparison]) -> Iterator[Quantity]:
    """Per metric, in order of appearance: benchmarks, averages, dataset metrics."""
    found: dict[str, dict[str, Tested]] = {}
    for comparison in comparisons:
        for test in comparison.tests:
            found.setdefault(test.about.name, {})[comparison.a] = test
    for tests in found.values():
        p_values = [test.difference.p for test in tests.values() if test.difference]
        yield Quantity(next(iter(tests.values())).about, tests, dict(zip(tests, holm(p_values), strict=True)))


def _notes(comparisons: Sequence[Comparison]) -> Iterator[str]:
    notes: dict[str, list[str]] = {}
    for comparison in comparisons:
        for note in comparison.notes:
            notes.setdefault(note, []).append(comparison.a)
    for note, rows in notes.items():
        yield note if len(rows) == len(comparisons) else f"{', '.join(rows)}: {note}"
