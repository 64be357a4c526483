"""A leaderboard as tables: which columns and footers a board has, and how a terminal shows them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness.reading.escape import visible
from harness.reading.gap import gaps
from harness.reading.leaderboard import Board, Cell, Row
from harness.reading.metrics import About
from harness.reading.published_tables import print_published
from harness.results import CHOSEN

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

MISSING = "-"
MAX_NAMED = 4  # metrics that a footer names
PADDING = 3  # characters that rich puts around a column: a space on both sides and a rule

RANKED, OTHERS, COST = "ranked metrics", "other metrics", "cost and terms"


@dataclass(frozen=True)
class Column:
    """One column of the table: its title, its group and the text of a row's cell."""

    title: str
    group: str
    text: Callable[[Row], str]

    def width(self, rows: Sequence[Row]) -> int:
        """Characters of the widest line."""
        lines = [line for row in rows for line in self.text(row).split("\n")] + self.title.split("\n")
        return max(map(len, lines), default=0)


# --- what is shown ----------------------------------------------------------------------------------------------------


def columns(board: Board) -> list[Column]:
    """The columns of a board: what rows rank by, averages after it, other headline metrics, cost and terms."""
    shown = sorted(headlines(board), key=lambda about: (not about.ranks, about.ranks and bool(about.members)))
    cost = [
        Column("seconds", COST, lambda row: f"{row.seconds:,.0f}"),
        Column("commercial\nuse", COST, lambda row: row.commercial_use),
    ]
    return [*map(_metric_column, shown), *_gap_column(board), *cost]


def _gap_column(board: Board) -> list[Column]:
    """Points of average accuracy to the authentic row of the same size, where there is one."""
    found = gaps(board)

    def text(row: Row) -> str:
        gap = found.get((row.suite, row.name))
        if gap is None:
            return MISSING
        seeds = gap.interval and f"\nseeds [{100 * gap.interval.low:+.1f}, {100 * gap.interval.high:+.1f}]"
        return f"{100 * gap.value:+.1f}{seeds or ''}"

    return [Column("gap to\nreal, points", RANKED, text)] if found else []


def headlines(board: Board) -> list[About]:
    """The metrics that have a column, in order of appearance; the others are in the JSON and CSV formats."""
    return [about for about in board.metrics if about.headline]


def _metric_column(about: About) -> Column:
    def text(row: Row) -> str:
        return cell_text(row.cells[about.name]) if about.name in row.cells else MISSING

    return Column(_heading(about), RANKED if about.ranks else OTHERS, text)


def _heading(about: About) -> str:
    """The title on two lines, with the unit where the column is not one of the ranked ones."""
    split = "/" if about.title == about.name else " "
    percent = " %" if about.unit == "fraction" and not about.ranks else ""
    return visible(about.title).replace(split, "\n", 1) + percent


def cell_text(cell: Cell) -> str:
    """``a 86.9 ± 1.2 [85.1, 88.4]*``, and on a second line the interval over seeds where there is one."""
    number = cell.about.number
    parts = [cell.rank, number(cell.value)] if cell.rank else [number(cell.value)]
    if cell.std_folds is not None:
        parts.append(f"± {number(cell.std_folds)}")
    if cell.interval is not None:
        parts.append(f"[{number(cell.interval.low)}, {number(cell.interval.high)}]")
    text = " ".join(parts) + ("*" if cell.notes else "")
    if cell.over_seeds is not None:
        text += f"\nseeds [{number(cell.over_seeds.low)}, {number(cell.over_seeds.high)}]"
    return text


def footers(board: Board, *, legend: bool = True) -> list[str]:
    """What a reader must know beside the numbers; one line each.

    Args:
        legend: say first what the parts of a cell are.
    """
    rows = [row for row in board.rows if row.seeds]
    lines = _legend(rows, headlines(board)) if legend else []
    lines += _grouped("seeds", rows, board, lambda row: ", ".join(map(str, row.seeds)))
    lines += _grouped("dataset", rows, board, lambda row: row.size)
    lines += [f"mixed in {board.label(row)}: {row.parts}" for row in rows if row.parts]
    lines += _grouped("generator fits", rows, board, lambda row: str(row.generator_fits))
    if any(row.generator_fits == 1 and len(row.seeds) > 1 for row in rows):
        lines.append("with one generator fit, an interval over seeds holds no variance of the generator's training")
    shipped = {name: [board.label(r) for r in rows if name in r.shipped] for row in rows for name in row.shipped}
    lines += [f"shipped weights, not fitted here: {name} ({_names(who, rows)})" for name, who in shipped.items()]
    lines += [
        f"{CHOSEN} ({', '.join(row.chosen_on)}), so higher than it would be on others: {board.label(row)}"
        for row in rows
        if row.chosen_on
    ]
    lines += _unranked(rows, board) + _differing_rules(rows, board) + _notes(rows, board)
    lines += [f"left out of {board.label(row)}: {row.left_out}; run the suite again" for row in rows if row.left_out]
    lines += [
        f"warning, {board.label(row)}, seed {seed}: {text}"
        for row in board.rows
        for seed, texts in sorted(row.warnings.items())
        for text in texts
    ]
    lines += [
        f"FAILED {board.label(row)}, seed {seed}: {error.splitlines()[0] if error else 'no reason given'}"
        for row in board.rows
        for seed, error in sorted(row.failures.items())
    ]
    return lines + [f"DAMAGED, left out: {text}" for text in board.damaged]


def _legend(rows: list[Row], shown: list[About]) -> list[str]:
    cells = [cell for row in rows for cell in row.cells.values()]
    overs = sorted({cell.interval.over for cell in cells if cell.interval})
    methods = sorted({cell.interval.method.split(",")[0] for cell in cells if cell.interval} - {""})
    parts = ["mean over seeds" + _units(shown)]
    if any(cell.std_folds is not None for cell in cells):
        parts.append("± standard deviation over folds")
    if overs:
        parts.append(f"[interval over {' or '.join(overs)}{': ' + ', '.join(methods) if methods else ''}]")
    if any(cell.over_seeds for cell in cells):
        parts.append("seeds [95% t interval over seeds]")
    if any(cell.rank for cell in cells):
        parts.append("a, b, ... before a number: rows that share a letter do not differ by more than chance, a is best")
    lines = ["; ".join(parts)] if cells else []
    return [*lines, "seconds: all stages a row rests on, those it shares with other rows included"] if rows else lines


def _units(shown: list[About]) -> str:
    """Which columns are in percent; one without a unit says so by its heading."""
    plain = [about.title for about in shown if about.unit != "fraction"]
    if len(plain) == len(shown):
        return ""
    named = ", ".join(plain) if len(plain) <= MAX_NAMED else "numbers that are no fractions"
    return f", in percent ({named} as they are)" if plain else ", in percent"


def _grouped(title: str, rows: list[Row], board: Board, text: Callable[[Row], str]) -> list[str]:
    values: dict[str, list[str]] = {}
    for row in rows:
        values.setdefault(text(row), []).append(board.label(row))
    if len(values) < 2:
        return [f"{title}: {value}" for value in values]
    return [f"{title}: " + "; ".join(f"{value} ({', '.join(names)})" for value, names in values.items())]


def _names(names: Sequence[str], rows: Sequence[Row]) -> str:
    return "all rows" if len(names) == len(rows) and len(rows) > 1 else ", ".join(dict.fromkeys(names))


def _unranked(rows: list[Row], board: Board) -> list[str]:
    """One line per reason: the rows, and the benchmarks unless it holds for all of theirs."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        open_ = {m: c.unranked for m, c in row.cells.items() if c.unranked}
        for reason in dict.fromkeys(open_.values()):
            metrics = [row.cells[metric].about.title for metric, why in open_.items() if why == reason]
            total = sum(1 for cell in row.cells.values() if cell.rank or cell.unranked)
            where = "" if len(metrics) == total else f" on {', '.join(metrics)}"
            reasons.setdefault((reason, where), []).append(board.label(row))
    return [f"not ranked{where}, {reason}: {_names(who, rows)}" for (reason, where), who in reasons.items()]


def _differing_rules(rows: list[Row], board: Board) -> list[str]:
    lines = []
    for about in headlines(board):
        rules = {row.cells[about.name].protocol for row in rows if about.name in row.cells}
        if len(rules) > 1 and not about.ranks:
            lines.append(f"{about.name}: measured under {len(rules)} different rules; not comparable between all rows")
    return lines


def _notes(rows: list[Row], board: Board) -> list[str]:
    notes: dict[str, dict[str, list[str]]] = {}
    for row in rows:
        for metric, cell in row.cells.items():
            for note in cell.notes:
                notes.setdefault(note, {}).setdefault(metric, []).append(board.label(row))
    lines = []
    for note, where in notes.items():
        who = list(dict.fromkeys(name for names in where.values() for name in names))
        named = list(where)
        metrics = named if len(named) <= MAX_NAMED else [*named[: MAX_NAMED - 1], f"{len(named) - MAX_NAMED + 1} more"]
        lines.append(f"* {', '.join(metrics)} ({_names(who, rows)}): {note}")
    return lines


# --- terminal ---------------------------------------------------------------------------------------------------------


def render(board: Board, console: Console) -> None:
    """Print the board: one table if it fits the console, else one per group of columns, split further if need be."""
    if any(row.seeds for row in board.rows):
        for title, part in _fit(board, console.width):
            _print_table(board, title, part, console)
    for line in map(visible, footers(board)):
        console.print(
            line, style="red" if line.startswith(("FAILED", "DAMAGED")) else "dim", markup=False, highlight=False
        )
    if board.published:
        print_published(board.published, console)


def _fit(board: Board, width: int) -> list[tuple[str, list[Column]]]:
    """Tables of columns, each no wider than ``width`` where that is possible at all.

    In order of preference: one table; one per group of columns; intervals on lines of their own; a group split.
    """
    found, title = columns(board), f"Leaderboard: {visible(', '.join(board.suites))}"
    available = width - max(len(visible(board.label(row))) for row in board.rows) - PADDING - 1

    def wide(part: list[Column]) -> bool:
        return sum(column.width(board.rows) + PADDING for column in part) > available

    if not wide(found):
        return [(title, found)]
    tables: list[tuple[str, list[Column]]] = []
    for group in dict.fromkeys(column.group for column in found):
        part = [column for column in found if column.group == group]
        roomy = next((chosen for _, chosen in reversed(tables) if not wide([*chosen, *part])), None)
        if group == COST and roomy is not None:
            roomy.extend(part)
            continue
        if wide(part):
            part = [replace(column, text=_stacked(column.text)) for column in part]
        tables += [(f"{title}, {group}", chunk) for chunk in _chunks(part, wide)]
    return tables


def _stacked(text: Callable[[Row], str]) -> Callable[[Row], str]:
    return lambda row: re.sub(r"(?<!seeds) \[", "\n[", text(row))


def _chunks(part: list[Column], wide: Callable[[list[Column]], bool]) -> list[list[Column]]:
    chunks: list[list[Column]] = [[]]
    for column in part:
        if chunks[-1] and wide([*chunks[-1], column]):
            chunks.append([])
        chunks[-1].append(column)
    return chunks


def _print_table(board: Board, title: str, part: list[Column], console: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    # the spaces are part of the text: rich takes a fifth of a large board's time to pad cells
    table = Table(title=Text(title, "bold"), title_justify="left", padding=0)
    table.add_column(_padded("row"), vertical="top")
    for column in part:
        table.add_column(_padded(column.title))
    for row in board.rows:
        name = _padded(visible(board.label(row)))
        if row.seeds:
            table.add_row(name, *(_padded(column.text(row)) for column in part))
        else:
            table.add_row(name, _padded("failed", "red"), *(_padded(MISSING) for _ in part[1:]))
    console.print(table)


def _padded(text: str, style: str = "") -> Text:
    from rich.text import Text

    return Text("\n".join(f" {line} " for line in text.split("\n")), style)
