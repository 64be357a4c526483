"""The table of a report: rows that can be compared stand together, and a column's intervals share one scale."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from harness.reading.durations import duration
from harness.reading.leaderboard import Board, Cell, Row
from harness.reading.metrics import About
from harness.reading.ranks import order, rank
from harness.reading.recipes import short
from harness.reading.tables import headlines
from harness.report.charts import Scale, interval_bar
from harness.report.numbers import Style, unit
from harness.results import Result

MOST_NAMED = 6  # rows that a finding names
ARROWS = {"higher": "↑", "lower": "↓", "neither": ""}


@dataclass(frozen=True)
class Column:
    """One metric: how its numbers are printed, its scale, and the ends of the scale as text."""

    about: About
    style: Style
    scale: Scale

    @property
    def key(self) -> str:
        """What the page's script calls it."""
        return self.about.name

    @property
    def unit(self) -> str:
        """The unit in the heading."""
        return unit(self.about)

    @property
    def arrow(self) -> str:
        """Which direction is better."""
        return ARROWS[self.about.better]

    @property
    def ends(self) -> tuple[str, str]:
        """The numbers at both ends of the scale."""
        return self.style.number(self.scale.low), self.style.number(self.scale.high)


@dataclass(frozen=True)
class Shown:
    """One cell: the number, the letters of its rank, the bar, and what sorts it."""

    number: str
    rank: str
    best: bool
    bar: Markup
    sort: float


@dataclass(frozen=True)
class Line:
    """One row of the table; ``cells`` are None where the metric was not measured."""

    row: Row
    label: str
    sheet: str
    cells: tuple[Shown | None, ...]
    hours: str
    rate: str
    images_per_second: float | None
    marks: tuple[str, ...]


@dataclass(frozen=True)
class Section:
    """Rows under the same protocols, recipe and dataset size, ranked among themselves."""

    title: str
    facts: tuple[str, ...]
    findings: tuple[str, ...]
    protocols: tuple[tuple[str, str], ...]
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]


def columns(board: Board) -> list[Column]:
    """The headline metrics: what rows are ordered by, its means, the others."""
    shown = sorted(headlines(board), key=lambda about: (not about.ranks, about.ranks and bool(about.members)))
    return [_column(about, [row.cells[about.name] for row in board.rows if about.name in row.cells]) for about in shown]


def _column(about: About, cells: Sequence[Cell]) -> Column:
    bounds = [bound for cell in cells for each in _intervals(cell) for bound in (each[1], each[2])]
    return Column(about, Style.of(about, cells), Scale.of([*bounds, *(cell.value for cell in cells)]))


def sections(board: Board, results: Sequence[Result], workdir: Path) -> list[Section]:
    """The rows by what they can be compared with, the largest set first; rows without a result last."""
    shown, names = columns(board), sheet_names(board)
    latest = {(result.suite, result.row): result for result in results if result.status == "done"}
    found = []
    for rows in _comparable(board.rows):
        ranked = sorted(rank(rows, board.metrics, workdir), key=order)
        own = tuple(column for column in shown if any(column.key in row.cells for row in ranked))
        told = {column.key for column in own if len({_rank(row, column.key) for row in ranked} - {""}) > 1}
        lines = []
        for row in ranked:
            key = row.suite, row.name
            lines.append(_line(board, row, own, told, names[key], latest.get(key)))
        findings = tuple(_findings(board, ranked, own))
        found.append(Section(_title(ranked), _facts(ranked), findings, _protocols(ranked), own, tuple(lines)))
    return found


def sheet_names(board: Board) -> dict[tuple[str, str], str]:
    """The fragment of every row's sheet."""
    return {(row.suite, row.name): f"row-{number}" for number, row in enumerate(board.rows, start=1)}


def _comparable(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows with one recipe and dataset size, and no metric under two protocols; the largest set first."""
    found: list[tuple[tuple[str, str, bool], dict[str, str], list[Row]]] = []
    for row in rows:
        kind = (row.recipe, row.size, bool(row.seeds))
        protocols = {name: cell.protocol for name, cell in row.cells.items() if not cell.about.members}
        for known, theirs, members in found:
            if known == kind and all(theirs.get(name, own) == own for name, own in protocols.items()):
                theirs.update(protocols)
                members.append(row)
                break
        else:
            found.append((kind, protocols, [row]))
    return [members for kind, _, members in sorted(found, key=lambda each: (not each[0][2], -len(each[2])))]


# --- one section ------------------------------------------------------------------------------------------------------


def _title(rows: Sequence[Row]) -> str:
    return ", ".join(dict.fromkeys(row.suite for row in rows))


def _facts(rows: Sequence[Row]) -> tuple[str, ...]:
    """What the rows have in common."""
    first = rows[0]
    if not any(row.seeds for row in rows):
        return ("no seed finished",)
    seeds = {row.seeds for row in rows}
    of_seeds = f"seeds {', '.join(map(str, first.seeds))}" if len(seeds) == 1 else f"up to {max(map(len, seeds))} seeds"
    recipe = f"training recipe {short(first.recipe)}" if first.recipe else "recognizers that are evaluated only"
    return f"{len(rows)} row{'s' * (len(rows) > 1)}", of_seeds, first.size, recipe


def _protocols(rows: Sequence[Row]) -> tuple[tuple[str, str], ...]:
    """Digest by benchmark or rule."""
    cells = {cell.about.family: cell.protocol for row in rows for cell in row.cells.values() if not cell.about.members}
    return tuple((family, short(protocol)) for family, protocol in cells.items())


def _findings(board: Board, rows: Sequence[Row], shown: Sequence[Column]) -> Iterator[str]:
    """What the ranks say, in words: metrics without a difference together, the others one by one."""
    if len(rows) < 2:
        return
    equal = []
    for column in shown:
        ranked = [row for row in rows if column.key in row.cells and row.cells[column.key].rank]
        ranked.sort(key=lambda row: row.cells[column.key].place or 0)
        letters = {board.label(row): row.cells[column.key].rank for row in ranked}
        if len(letters) < 2:
            continue
        if set(letters.values()) == {"a"}:
            equal.append(column.about.title)
        elif all(len(each) == 1 for each in letters.values()):
            groups = dict.fromkeys(letters.values())
            names = [_named([name for name, own in letters.items() if own == each]) for each in groups]
            yield f"{column.about.title}: {' > '.join(names)}"
        else:
            best = _named([name for name, own in letters.items() if "a" in own])
            yield f"{column.about.title}: none is shown to be better than {best}"
    if equal:
        yield f"No difference beyond chance: {', '.join(equal)}"


def _named(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMED
    return ", ".join(names) if more <= 1 else f"{', '.join(names[:MOST_NAMED])} and {more} more"


def _rank(row: Row, metric: str) -> str:
    return row.cells[metric].rank if metric in row.cells else ""


def _line(board: Board, row: Row, shown: Sequence[Column], told: set[str], sheet: str, latest: Result | None) -> Line:
    cells = tuple(
        _shown(row.cells[column.key], column, column.key in told) if column.key in row.cells else None
        for column in shown
    )
    rate = images_per_second(latest) if latest is not None else None
    marks = [f"{len(row.failures)} seed{'s' * (len(row.failures) > 1)} failed"] if row.failures else []
    if row.warnings:
        marks.append(f"{sum(map(len, row.warnings.values()))} warnings")
    if row.mixed or row.left_out:
        marks.append("seeds differ")
    rated = "" if rate is None else f"{rate:,.1f}" if rate < 100 else f"{rate:,.0f}"
    return Line(row, board.label(row), sheet, cells, duration(row.seconds), rated, rate, tuple(marks))


def images_per_second(result: Result) -> float | None:
    """Images made in a second of a worker; None where none were made."""
    made = [stage for stage in result.stages if stage.kind == "generate" and stage.seconds > 0 and stage.images]
    return statistics.fmean(stage.images / stage.seconds for stage in made) if made else None


def _shown(cell: Cell, column: Column, told: bool) -> Shown:
    number, found = column.style.number, _intervals(cell)
    words = "; ".join(f"{name} {number(low)} to {number(high)}" for name, low, high in found) or "no interval"
    bands = [("s" if name.endswith("seeds") else "p", low, high) for name, low, high in found]
    bar = interval_bar(column.scale, cell.value, bands, words)
    sort = cell.value if math.isfinite(cell.value) else 0.0
    return Shown(number(cell.value), cell.rank, told and "a" in cell.rank, bar, sort)


def _intervals(cell: Cell) -> list[tuple[str, float, float]]:
    """What the intervals of a cell range over, and their bounds; that over seeds first, since it is drawn below."""
    found = [each for each in (cell.over_seeds, cell.interval) if each is not None]
    return [(f"over {each.over}", each.low, each.high) for each in found]
