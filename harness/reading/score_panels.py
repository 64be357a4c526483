"""The score distributions of a board's rows side by side: one panel per row, with its FDR and EER.

Source: the layout of NegFaceDiff, arXiv 2508.09661: genuine and impostor scores of every method on common axes.
"""

from __future__ import annotations

from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from harness.arrays import Doubles, Ints
from harness.errors import DataError, InputError
from harness.figures import GENUINE_COLOR, IMPOSTOR_COLOR
from harness.reading.escape import picture_text
from harness.reading.leaderboard import Board, Row
from harness.results import result_folder

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TABLE = "tables/separability-histogram.parquet"
PANELS = 4  # side by side
_COLUMNS = ("low", "high", "genuine", "impostor")
_GROUP = 4  # bins of the table in one that is drawn

Histogram = tuple[Doubles, Ints, Ints]  # edges [K + 1], genuine and impostor counts [K]


def picture(board: Board, workdir: Path) -> Figure:
    """One panel per row that ``separability`` judged, over all its seeds.

    Raises:
        InputError: no row has the table of its scores.
        DataError: a table is damaged.
    """
    from matplotlib.figure import Figure

    found = [(row, histogram) for row in board.rows if (histogram := _read(row, workdir)) is not None]
    if not found:
        raise InputError(f"no row has {TABLE} beside its results; run a suite with the evaluator separability")
    columns = min(PANELS, len(found))
    lines = ceil(len(found) / columns)
    figure = Figure(figsize=(max(4.0, 2.6 * columns), 2.4 * lines), layout="constrained")
    grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, (row, histogram) in zip(grid, found, strict=False):
        _panel(axes, picture_text(board.label(row)), _numbers(row), histogram)
    held = np.flatnonzero(sum(genuine + impostor for _, (_, genuine, impostor) in found))
    edges = found[0][1][0]
    grid[0].set_xlim(edges[held[0]], edges[held[-1] + 1])  # of all panels, which share it
    grid[0].legend(frameon=False, fontsize=7, loc="upper right")
    for axes in grid[len(found) :]:
        axes.remove()
    figure.supxlabel("cosine similarity", fontsize=9)
    figure.supylabel("density", fontsize=9)
    return figure


def _read(row: Row, workdir: Path) -> Histogram | None:
    """The scores of all seeds; None where a seed has none."""
    paths = [result_folder(workdir, row.suite, row.name, seed) / TABLE for seed in row.seeds]
    if not paths or not all(path.is_file() for path in paths):
        return None
    tables = [_table(path) for path in paths]
    low, high = (tables[0][name].to_numpy() for name in _COLUMNS[:2])
    genuine, impostor = (sum(table[name].to_numpy() for table in tables) for name in _COLUMNS[2:])
    return np.append(low, high[-1]), genuine, impostor


def _table(path: Path) -> pa.Table:
    try:
        return pq.read_table(path, columns=list(_COLUMNS))
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be read as a table of scores ({error}); run the suite again") from error


def _numbers(row: Row) -> str:
    """FDR and EER of a row, mean over its seeds."""
    formats = {"fdr": "FDR {:.2f}", "eer": "EER {:.1%}"}
    cells = {name: row.cells.get(f"separability/{name}") for name in formats}
    return "\n".join(formats[name].format(cell.value) for name, cell in cells.items() if cell)


def _panel(axes: Axes, title: str, numbers: str, histogram: Histogram) -> None:
    edges, *both = histogram
    starts = np.arange(0, len(edges) - 1, _GROUP)
    drawn = np.append(edges[starts], edges[-1])
    for counts, color, name in zip(both, (GENUINE_COLOR, IMPOSTOR_COLOR), ("genuine", "impostor"), strict=True):
        density = np.add.reduceat(counts, starts) / counts.sum() / np.diff(drawn)
        axes.stairs(density, drawn, fill=True, color=color, alpha=0.6, label=name)
        axes.axvline(float(counts @ (edges[:-1] + edges[1:]) / 2 / counts.sum()), color=color, linewidth=0.8)
    axes.set_title(title, fontsize=9)
    axes.text(0.03, 0.95, numbers, transform=axes.transAxes, va="top", fontsize=8)
