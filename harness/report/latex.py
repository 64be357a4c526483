"""A leaderboard as a table for a paper: LaTeX with booktabs."""

from __future__ import annotations

import re
from collections.abc import Sequence

from harness.reading.escape import visible
from harness.reading.leaderboard import Board, Cell, Row
from harness.reading.tables import MISSING, footers, headlines
from harness.report.numbers import Style

_SPECIAL = {
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",  # after the end of a line it would be a distance
}
_ARROWS = {"higher": r" $\uparrow$", "lower": r" $\downarrow$", "neither": ""}
_LETTER = re.compile(r"\.*[A-Za-z]")  # of a rank: harness.stats.groups.letters
_CAPTION = (
    r"Mean over seeds; $\pm$ half the width of the 95\,\% t interval over seeds; in brackets the interval over "
    r"identities or pairs. Bold: of the best group, and better than another row by more than chance."
)


def to_latex(board: Board) -> str:
    """One ``table`` with the headline metrics, and what a reader must know beside it as comments.

    A number is bold if its row is in the best group of a column and shares no letter with some other row.
    """
    shown = [(about, Style.of(about, _cells(board, about.name))) for about in headlines(board)]
    best = {about.name: _best(board.rows, about.name) for about, _ in shown}
    head = ["row"]
    for about, _ in shown:
        head.append(tex(about.title) + (r" (\%)" if about.unit == "fraction" else "") + _ARROWS[about.better])
    lines = []
    for row in board.rows:
        cells = [
            _cell(row.cells[about.name], style, row in best[about.name]) if about.name in row.cells else _missing(row)
            for about, style in shown
        ]
        lines.append([tex(board.label(row)), *cells])
    comments = [r"needs \usepackage{booktabs}", *(visible(line) for line in footers(board, legend=False))]
    return "\n".join(
        [
            *(f"% {line}" for line in comments),
            r"\begin{table}",
            r"  \centering",
            rf"  \caption{{{tex(', '.join(board.suites))}. {_CAPTION}}}",
            rf"  \begin{{tabular}}{{l{'r' * len(shown)}}}",
            r"    \toprule",
            _line(head),
            r"    \midrule",
            *map(_line, lines),
            r"    \bottomrule",
            r"  \end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def tex(text: str) -> str:
    """Text on one line, in which no character has a meaning for TeX."""
    return "".join(_SPECIAL.get(mark, mark) for mark in visible(text))


def _line(cells: Sequence[str]) -> str:
    return f"    {' & '.join(cells)} \\\\"


def _missing(row: Row) -> str:
    return "failed" if not row.seeds else f"-{MISSING}"  # -- is a dash in TeX


def _cells(board: Board, metric: str) -> list[Cell]:
    return [row.cells[metric] for row in board.rows if metric in row.cells]


def _best(rows: Sequence[Row], metric: str) -> list[Row]:
    """Rows of the best group that are better than some other by more than chance."""
    letters = {
        index: set(_LETTER.findall(row.cells[metric].rank)) for index, row in enumerate(rows) if metric in row.cells
    }
    ranked = {index: own for index, own in letters.items() if own}
    return [rows[i] for i, own in ranked.items() if "a" in own and any(not own & other for other in ranked.values())]


def _cell(cell: Cell, style: Style, bold: bool) -> str:
    number = style.number(cell.value)
    parts = [rf"\textbf{{{number}}}" if bold else number]
    if over := cell.over_seeds:  # cut at 0 and 1: the longer half is the interval's
        parts.append(rf"$\pm$ {style.number(max(over.high - cell.value, cell.value - over.low))}")
    if own := cell.interval:
        parts.append(f"[{style.number(own.low)}, {style.number(own.high)}]")
    return " ".join(parts)
