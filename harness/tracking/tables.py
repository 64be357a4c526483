"""A leaderboard as tables: which columns and footers a board has, and how a terminal shows them."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness.leaderboard import AVERAGE, DETECTION, Board, Cell, Row, is_fraction
from harness.published import PublishedRow

if TYPE_CHECKING:
    from rich.console import Console

MISSING = "-"
FILE_WIDTH = 160  # columns of a table that goes to a file
MAX_FURTHER = 6  # columns for the metrics of evaluators that this module does not know
PADDING = 3  # characters that rich puts around a column: a space on both sides and a rule

BENCHMARKS, QUALITY, FURTHER, COST = "accuracy", "dataset quality", "further metrics", "cost and terms"


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
    """The columns of a board: verification, dataset quality, metrics of further evaluators, cost and terms."""
    chosen = [(metric, *_place(metric, board.metrics)) for metric in board.metrics]
    shown = [_metric_column(metric, title, group) for metric, title, group in chosen if group in (BENCHMARKS, QUALITY)]
    further = [_metric_column(metric, title, group) for metric, title, group in chosen if group == FURTHER]
    shown.sort(key=lambda column: (column.group != BENCHMARKS, column.title == "average"))
    cost = [
        Column("seconds", COST, lambda row: f"{row.seconds:,.0f}"),
        Column("commercial\nuse", COST, lambda row: row.commercial_use),
    ]
    return shown + further[:MAX_FURTHER] + cost


def _place(metric: str, metrics: Sequence[str]) -> tuple[str, str]:
    """Title and group of a metric; an empty group hides it (it is in the JSON and CSV formats)."""
    family, _, ending = metric.rpartition("/")
    if ending == "accuracy":
        return ("average" if metric == AVERAGE else family), BENCHMARKS
    endings = {name.rpartition("/")[2] for name in metrics if name.rpartition("/")[0] == family}
    if "accuracy" in endings:
        return "", ""
    if ending.startswith("tar_at_far_"):
        return f"{family}\nTAR@{ending.removeprefix('tar_at_far_')}", BENCHMARKS
    if any(name.startswith("tar_at_far_") for name in endings):
        return "", ""
    return _place_quality(metric, endings, metrics)


def _place_quality(metric: str, endings: set[str], metrics: Sequence[str]) -> tuple[str, str]:
    family, _, ending = metric.rpartition("/")
    known = {"fdr": "FDR", "eer": "EER %", "fmr100": "FMR100 %"}
    if "diversity" in metric:
        shown = [name for name in metrics if "diversity" in name]
        chosen = next((name for name in shown if "pixel" in name), shown[0])
        return ("pixel\ndiversity" if "pixel" in metric else "diversity"), QUALITY if metric == chosen else ""
    if "fdr" in endings:
        several = sum(name.endswith("/fdr") for name in metrics) > 1
        title = known.get(ending, "")
        return (f"{family}\n{title}" if several and title else title), QUALITY if title else ""
    if "detection_rate" in endings:
        return "detected %", QUALITY if ending == "detection_rate" else ""
    return metric.replace("/", "\n", 1), FURTHER


def _metric_column(metric: str, title: str, group: str) -> Column:
    return Column(title, group, lambda row: cell_text(row.cells[metric]) if metric in row.cells else MISSING)


def cell_text(cell: Cell) -> str:
    """``#1 86.9 ± 1.2 [85.1, 88.4]*``, and on a second line the interval over seeds where there is one."""
    parts = [] if cell.rank is None else [f"#{cell.rank}"]
    parts.append(_number(cell.value, cell.metric))
    if cell.std_folds is not None:
        parts.append(f"± {_number(cell.std_folds, cell.metric)}")
    if cell.interval is not None:
        parts.append(f"[{_number(cell.interval.low, cell.metric)}, {_number(cell.interval.high, cell.metric)}]")
    text = " ".join(parts) + ("*" if cell.notes else "")
    if cell.over_seeds is not None and cell.metric != DETECTION:
        low, high = cell.over_seeds.low, cell.over_seeds.high
        text += f"\nseeds [{_number(low, cell.metric)}, {_number(high, cell.metric)}]"
    return text


def _number(value: float, metric: str) -> str:
    if not math.isfinite(value):
        return str(value)
    if is_fraction(metric):
        return f"{100 * value:.1f}"
    return f"{value:.3f}" if abs(value) < 1 else f"{value:.2f}" if abs(value) < 100 else f"{value:,.0f}"


def footers(board: Board) -> list[str]:
    """What a reader must know beside the numbers; one line each."""
    rows = [row for row in board.rows if row.seeds]
    lines = [*_legend(rows)]
    lines += _grouped("seeds", rows, board, lambda row: ", ".join(map(str, row.seeds)))
    lines += _grouped("dataset", rows, board, lambda row: row.size)
    lines += _grouped("generator fits", rows, board, lambda row: str(row.generator_fits))
    if any(row.generator_fits == 1 and len(row.seeds) > 1 for row in rows):
        lines.append("with one generator fit, an interval over seeds holds no variance of the generator's training")
    shipped = {name: [board.label(r) for r in rows if name in r.shipped] for row in rows for name in row.shipped}
    lines += [f"shipped weights, not fitted here: {name} ({_names(who, rows)})" for name, who in shipped.items()]
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
    return lines


def _legend(rows: list[Row]) -> list[str]:
    cells = [cell for row in rows for cell in row.cells.values()]
    overs = sorted({cell.interval.over for cell in cells if cell.interval})
    methods = sorted({cell.interval.method.split(",")[0] for cell in cells if cell.interval} - {""})
    parts = ["mean over seeds, in percent (FDR and diversity as they are)"]
    if any(cell.std_folds is not None for cell in cells):
        parts.append("± standard deviation over folds")
    if overs:
        parts.append(f"[interval over {' or '.join(overs)}{': ' + ', '.join(methods) if methods else ''}]")
    if any(cell.over_seeds for cell in cells):
        parts.append("seeds [95% t interval over seeds]")
    if any(cell.rank for cell in cells):
        parts.append("#rank by mean; whether a difference is more than chance: harness compare A B")
    lines = ["; ".join(parts)] if cells else []
    return [*lines, "seconds: all stages a row rests on, those it shares with other rows included"] if rows else lines


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
            metrics = [metric.removesuffix("/accuracy") for metric, why in open_.items() if why == reason]
            total = sum(1 for cell in row.cells.values() if cell.rank is not None or cell.unranked)
            where = "" if len(metrics) == total else f" on {', '.join(metrics)}"
            reasons.setdefault((reason, where), []).append(board.label(row))
    return [f"not ranked{where}, {reason}: {_names(who, rows)}" for (reason, where), who in reasons.items()]


def _differing_rules(rows: list[Row], board: Board) -> list[str]:
    shown = {m for m in board.metrics if _place(m, board.metrics)[1] in (QUALITY, FURTHER)}
    lines = []
    for metric in (m for m in board.metrics if m in shown):
        rules = {row.cells[metric].protocol for row in rows if metric in row.cells}
        if len(rules) > 1:
            lines.append(f"{metric}: measured under {len(rules)} different rules; not comparable between all rows")
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
        metrics = list(where) if len(where) <= 4 else [*list(where)[:3], f"{len(where) - 3} more"]
        lines.append(f"* {', '.join(metrics)} ({_names(who, rows)}): {note}")
    return lines


# --- terminal ---------------------------------------------------------------------------------------------------------


def render(board: Board, console: Console) -> None:
    """Print the board: one table if it fits the console, else one per group of columns, split further if need be."""
    if any(row.seeds for row in board.rows):
        for title, part in _fit(board, console.width):
            _print_table(board, title, part, console)
    for line in footers(board):
        console.print(line, style="red" if line.startswith("FAILED") else "dim", markup=False, highlight=False)
    if board.published:
        _print_published(board.published, console)


def file_width() -> int:
    """Columns of a table that goes to a file: COLUMNS if it is set."""
    columns = os.environ.get("COLUMNS", "")
    return int(columns) if columns.isdigit() and int(columns) > 0 else FILE_WIDTH


def _fit(board: Board, width: int) -> list[tuple[str, list[Column]]]:
    """Tables of columns, each no wider than ``width`` where that is possible at all.

    In order of preference: one table; one per group of columns; intervals on lines of their own; a group split.
    """
    found, title = columns(board), f"Leaderboard: {', '.join(board.suites)}"
    available = width - max(len(board.label(row)) for row in board.rows) - PADDING - 1

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

    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("row", no_wrap=False, vertical="top")
    for column in part:
        table.add_column(Text(column.title))
    for row in board.rows:
        if row.seeds:
            table.add_row(Text(board.label(row)), *(Text(column.text(row)) for column in part))
        else:
            table.add_row(Text(board.label(row)), Text("failed", style="red"), *(MISSING for _ in part[1:]))
    console.print(table)


_PRINTED = ("generator_train_dataset", "n_ids", "imgs_per_id", "fr_augmentation", "sampler")


def published_parts(published: Sequence[PublishedRow]) -> list[tuple[str, list[str], list[list[str]], list[str]]]:
    """Per published table: title, header, lines and the sources that the last column numbers."""
    parts = []
    for name, chosen in (
        ("verification, percent", [r for r in published if not _is_separability(r)]),
        ("separability, fractions as printed", [r for r in published if _is_separability(r)]),
    ):
        metrics = list(dict.fromkeys(m for row in chosen for m in row.metrics))
        settings = [s for s in _PRINTED if any(s in row.settings for row in chosen)]
        sources = list(dict.fromkeys(row.source for row in chosen))
        header = ["method", *(s.replace("_", " ") for s in settings), *(_published_title(m) for m in metrics), "source"]
        lines = [
            [
                row.method,
                *(row.settings.get(s, MISSING) for s in settings),
                *(_published_number(row, m) for m in metrics),
                f"[{sources.index(row.source) + 1}]",
            ]
            for row in chosen
        ]
        parts.append((f"Published ({name}): not measured here, never ranked", header, lines, sources))
    return parts


def _is_separability(row: PublishedRow) -> bool:
    return "separability/fdr" in row.metrics


def _published_title(metric: str) -> str:
    family, _, ending = metric.partition("/")
    if ending == "accuracy":
        return family
    return ending.replace("_", " ") if family == "separability" else f"{family} TAR@{ending.rpartition('_')[2]}"


def _published_number(row: PublishedRow, metric: str) -> str:
    if metric not in row.metrics:
        return MISSING
    return f"{row.metrics[metric]:.3f}" if metric.startswith("separability") else f"{100 * row.metrics[metric]:.2f}"


def _print_published(published: Sequence[PublishedRow], console: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    for title, header, lines, sources in published_parts(published):
        table = Table(title=title, title_justify="left", title_style="bold")
        for name in header:
            table.add_column(Text(name), overflow="fold")
        for line in lines:
            table.add_row(*map(Text, line), style="dim")
        console.print(table)
        for number, source in enumerate(sources, start=1):
            console.print(f"[{number}] {source}", style="dim", markup=False, highlight=False)
