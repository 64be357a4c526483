"""Two rows -> what differs in their recipes, and whether their metrics differ by more than chance.

With three seeds in common the rows stand for their methods: metrics with decisions pair by pair are tested over people
and seeds (``harness.reading.paired``), those of datasets over the seeds (``harness.reading.over_seeds``). With fewer,
only the trained models are compared (exact McNemar). ``harness.reading.comparison_tables`` prints a comparison,
``harness.reading.against`` compares many rows with one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.errors import InputError, unknown
from harness.reading.fields import table_path
from harness.reading.leaderboard import Row, load
from harness.reading.metrics import About, describe
from harness.reading.over_seeds import Values, compare_over_seeds, untestable
from harness.reading.paired import compare_methods, compare_models, read_paired
from harness.reading.recipes import recipe_difference, short
from harness.reading.tested import Tested
from harness.results import CHOSEN, FILE_NAME, MetricRecord, Result, read_result, result_folder
from harness.stats.comparison import MIN_SEEDS
from harness.stats.intervals import MIN_IDENTITIES

if TYPE_CHECKING:
    from pandas import DataFrame


_Records = dict[str, list[MetricRecord]]  # by metric, seed by seed


@dataclass(frozen=True)
class Comparison:
    """Row ``a`` against row ``b``.

    ``recipe`` maps a setting to its two values where they differ; ``untested`` names quantities with a margin that both
    rows have and that could not be tested.
    """

    a: str
    b: str
    seeds: tuple[int, ...]
    recipe: Mapping[str, tuple[Any, Any]]
    tests: tuple[Tested, ...]
    notes: tuple[str, ...] = ()
    untested: tuple[str, ...] = ()

    @property
    def of_methods(self) -> bool:
        """Whether there are seeds enough for a claim about methods."""
        return len(self.seeds) >= MIN_SEEDS

    @property
    def margins(self) -> tuple[Tested, ...]:
        """The tests that equality rests on: those with a margin, but an average in place of its members."""
        covered = {name for test in self.tests for name in test.about.members}
        return tuple(test for test in self.tests if test.equal is not None and test.about.name not in covered)

    @property
    def equal(self) -> bool | None:
        """Whether equality is shown in every quantity that has a margin; None where none has."""
        if not self.margins and not self.untested:
            return None
        return not self.untested and all(test.equal for test in self.margins)

    def to_frame(self) -> DataFrame:
        """One line per tested quantity: :func:`harness.reading.frames.comparison_frame`."""
        from harness.reading.frames import comparison_frame

        return comparison_frame(self)


@dataclass(frozen=True)
class _Side:
    """One row with the results of the common seeds."""

    row: Row
    folders: list[Path]
    results: list[Result]

    @property
    def label(self) -> str:
        return label(self.row)

    def records(self) -> _Records:
        """The metrics that every common seed has, seed by seed."""
        found = {m.name: [r.metric(m.name) for r in self.results] for m in self.results[0].metrics}
        return {name: [m for m in several if m] for name, several in found.items() if None not in several}


def compare(workdir: Path, a: str, b: str) -> Comparison:
    """Compare two rows.

    Args:
        workdir: the folder that ``harness run`` wrote to.
        a, b: ``SUITE/ROW``, or the name of a row that only one suite has.

    Raises:
        InputError: a row is not there, the two share no metric that can be compared or no seed, or decided pairs of
            different protocols.
        DataError: a table of pairs is damaged or of an earlier version.
    """
    board = load(workdir)
    found = compare_rows(workdir, find_row(board.rows, a, board.damaged), find_row(board.rows, b, board.damaged))
    return replace(found, notes=(*found.notes, *(f"damaged, left out: {text}" for text in board.damaged)))


def compare_rows(workdir: Path, a: Row, b: Row) -> Comparison:
    """:func:`compare` for rows of a board."""
    if (a.suite, a.name) == (b.suite, b.name):
        raise InputError(f"{label(a)} and {label(b)} are one row; give two")
    seeds = common_seeds(a, b)
    if not seeds:
        have = " and ".join(f"{row.name} has {', '.join(map(str, row.seeds)) or 'none'}" for row in (a, b))
        raise InputError(f"{label(a)} and {label(b)} have no seed in common ({have}); run both with the same seeds")
    sides = [_side(workdir, row, seeds) for row in (a, b)]
    found = _Shared.of(*sides)
    tests = tuple(found.tests(seeds))
    label_a, label_b = (row.name if a.suite == b.suite else label(row) for row in (a, b))
    return Comparison(
        label_a,
        label_b,
        seeds,
        recipe_difference(workdir, *(side.results[0] for side in sides)),
        tests,
        (*found.notes(seeds), *_caveats((a, b), seeds), *_few(tests)),
        tuple(about.title for about in found.untested(seeds) if about.margin is not None),
    )


def common_seeds(a: Row, b: Row) -> tuple[int, ...]:
    """The seeds that both rows have; one of them where a row is one trained model whatever the seed."""
    seeds = tuple(seed for seed in a.seeds if seed in b.seeds)
    return seeds[:1] if _fixed(a) or _fixed(b) else seeds


def find_row(rows: Sequence[Row], name: str, damaged: Sequence[str] = ()) -> Row:
    """The row called ``SUITE/ROW``, or ``ROW`` where one suite has it.

    Args:
        damaged: the result files that could not be read, for the error.

    Raises:
        InputError: there is none, or several.
    """
    names = {label(row): row for row in rows}
    found = [row for full, row in names.items() if name in (full, row.name)]
    if len(found) > 1:
        raise InputError(f"{name}: several suites have this row; give SUITE/ROW: {', '.join(map(label, found))}")
    if not found:
        short_names = "/" not in name and len({row.suite for row in rows}) == 1
        text = unknown("row", name, [row.name for row in rows] if short_names else names)
        raise InputError("; ".join([text, *(f"damaged: {each}" for each in damaged[:1])]))
    return found[0]


def label(row: Row) -> str:
    """``SUITE/ROW``."""
    return f"{row.suite}/{row.name}"


def _fixed(row: Row) -> bool:
    """Whether a row is one trained model whatever the seed: a recognizer that is evaluated only."""
    return row.generator == "recognizer"


def _side(workdir: Path, row: Row, seeds: tuple[int, ...]) -> _Side:
    folders = [result_folder(workdir, row.suite, row.name, seed) for seed in seeds]
    return _Side(row, folders, [read_result(folder / FILE_NAME) for folder in folders])


# --- what is compared -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Shared:
    """What two rows have in common.

    Attributes:
        paired: metrics whose decisions both rows have pair by pair.
        values: dataset metrics with the values of both rows.
        averages: means over either kind, with the members that both rows have.
        lost: metrics with pairs whose tables are not there.
        left: titles of metrics that are not compared, by reason.
    """

    sides: tuple[_Side, _Side]
    paired: list[About]
    values: dict[str, tuple[About, Values]]
    averages: list[About]
    lost: list[About]
    left: dict[str, list[str]]

    @classmethod
    def of(cls, a: _Side, b: _Side) -> _Shared:
        """Sort the metrics that both rows have by how they can be compared."""
        metrics = describe([*a.results, *b.results])
        ours, theirs = a.records(), b.records()
        compared = [x for x in metrics.values() if x.paired or (x.headline and not x.members)]
        shared = [x for x in compared if x.name in ours and x.name in theirs]
        paired = [x for x in shared if x.paired]
        for about in paired:
            _check_protocols(about, (a, b), ours, theirs)
        values, left = _values([x for x in shared if not x.paired], ours, theirs)
        if not paired and not values:
            raise InputError(_nothing_shared(a, b, compared, ours, theirs, left))
        if alone := [x.title for x in compared if (x.name in ours) != (x.name in theirs)]:
            left["only one row has it"] = alone
        there = [x for x in paired if all(table_path(folder, x).is_file() for folder in (*a.folders, *b.folders))]
        members = {x: tuple(n for n in x.members if n in ours and n in theirs) for x in metrics.values()}
        averages = [replace(about, members=names) for about, names in members.items() if len(names) > 1]
        return cls((a, b), there, values, averages, [x for x in paired if x not in there], left)

    def tests(self, seeds: tuple[int, ...]) -> Iterator[Tested]:
        """Of the benchmarks, their averages, and the dataset metrics with theirs."""
        a, b = self.sides
        found = [read_paired(about, a.folders, b.folders) for about in self.paired]
        if len(seeds) < MIN_SEEDS:
            yield from compare_models(found, seeds)
            return
        yield from compare_methods(found, self._averages_of({about.name for about in self.paired}))
        yield from compare_over_seeds(self.values, self._averages_of(set(self.values)))

    def _averages_of(self, tested: set[str]) -> list[About]:
        return [about for about in self.averages if tested.issuperset(about.members)]

    def untested(self, seeds: tuple[int, ...]) -> list[About]:
        """Quantities that both rows have and that no test is made of."""
        if len(seeds) < MIN_SEEDS:
            return [*self.lost, *(about for about, _ in self.values.values())]
        kinds = {about.name for about in self.paired}, set(self.values)
        return [*self.lost, *(x for x in self.averages if not any(kind.issuperset(x.members) for kind in kinds))]

    def notes(self, seeds: tuple[int, ...]) -> Iterator[str]:
        """What is not compared, and why."""
        for reason, titles in self.left.items():
            yield f"not compared, {reason}: {', '.join(titles)}"
        if self.lost:
            lost = ", ".join(about.title for about in self.lost)
            yield f"not tested, the tables of decisions pair by pair are not beside the results: {lost}"
        if averages := [x.title for x in self.untested(seeds) if x.members]:
            yield f"not tested, as members of it are not: {', '.join(averages)}"
        if len(seeds) < MIN_SEEDS and self.values:
            few = ", ".join(about.title for about, _ in self.values.values())
            yield f"not tested below {MIN_SEEDS} seeds: {few}"


def _values(
    metrics: list[About], ours: _Records, theirs: _Records
) -> tuple[dict[str, tuple[About, Values]], dict[str, list[str]]]:
    """The values of both rows where their differences mean something; else the titles by reason."""
    values: dict[str, tuple[About, Values]] = {}
    left: dict[str, list[str]] = {}
    for about in metrics:
        first, second = ours[about.name], theirs[about.name]
        numbers = np.array([record.value for record in first]), np.array([record.value for record in second])
        if reason := _differ(first[0].protocol, second[0].protocol) or untestable(about, numbers):
            left.setdefault(reason, []).append(about.title)
        else:
            values[about.name] = (about, numbers)
    return values, left


def _check_protocols(about: About, sides: tuple[_Side, _Side], ours: _Records, theirs: _Records) -> None:
    """Accuracies on different pairs say nothing about one another."""
    first, second = (side[about.name][0].protocol for side in (ours, theirs))
    if first != second:
        raise InputError(
            f"{about.title}: {sides[0].label} was measured under protocol {short(first)}, {sides[1].label} under "
            f"{short(second)}; "
            "accuracies on different pairs are not compared, so evaluate both on the same"
        )


def _differ(ours: str, theirs: str) -> str:
    return "" if ours == theirs else f"measured under different rules ({short(ours)} and {short(theirs)})"


def _nothing_shared(
    a: _Side, b: _Side, compared: list[About], ours: _Records, theirs: _Records, left: Mapping[str, list[str]]
) -> str:
    have = (", ".join(x.title for x in compared if x.name in found) or "none" for found in (ours, theirs))
    why = "".join(f"; {reason}: {', '.join(titles)}" for reason, titles in left.items())
    return (
        f"{a.label} and {b.label} share no metric that can be compared ({' against '.join(have)}){why}; "
        "evaluate both on the same protocols"
    )


def _few(tests: tuple[Tested, ...]) -> Iterator[str]:
    for test in tests:
        if test.difference and 0 < test.people < MIN_IDENTITIES:
            yield f"{test.title}: {test.people} identities are too few to say how other people would score"


def _caveats(rows: tuple[Row, Row], seeds: tuple[int, ...]) -> Iterator[str]:
    if rows[0].recipe != rows[1].recipe:
        yield "the recipes of training differ, so a difference is of recipe and method together"
    for row in rows:
        if row.chosen_on:
            yield f"{row.name} was {CHOSEN} ({', '.join(row.chosen_on)}), so its accuracies are selected ones"
    if rows[0].size != rows[1].size:
        yield f"the datasets differ in size ({rows[0].size} against {rows[1].size})"
    for row in rows:
        if _fixed(row):
            yield f"a recognizer that is evaluated only is one trained model, whatever the seeds: {row.name}"
        left = [seed for seed in row.seeds if seed not in seeds]
        if left:
            yield f"left out: {row.name}, seed {', '.join(map(str, left))}"
        if row.mixed:
            yield f"the seeds of {row.name} differ in {row.mixed}"
        if row.left_out:
            yield f"left out of {row.name}: {row.left_out}"
    if any(row.generator_fits == 1 for row in rows) and len(seeds) >= MIN_SEEDS:
        yield "with one generator fit, nothing here holds the variance of fitting a generator again"
