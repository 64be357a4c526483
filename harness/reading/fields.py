"""Rows that can be ranked with one another, and where the decisions lie that their ranks rest on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.results import result_folder

if TYPE_CHECKING:
    from harness.reading.leaderboard import Row
    from harness.reading.metrics import About

Fields = Mapping[str, tuple["About", Sequence["Row"]]]  # by metric: how it is read, and rows, the best first
Ranks = dict[str, dict[str, str]]  # by metric and row (SUITE/ROW): its letters, empty where it could not be tested


def key(row: Row) -> str:
    """``SUITE/ROW``."""
    return f"{row.suite}/{row.name}"


def table_path(folder: Path, about: About) -> Path:
    """Where the decisions of a metric lie beside a result file."""
    return folder / table_name(about)


def table_name(about: About) -> str:
    """The same within the folder of the result file."""
    return f"tables/{about.pairs}.parquet"


def table_paths(about: About, row: Row, workdir: Path) -> dict[int, Path]:
    """By seed, where a row's decisions of a metric lie."""
    folders = {seed: result_folder(workdir, row.suite, row.name, seed) for seed in row.cells[about.name].values}
    return {seed: table_path(folder, about) for seed, folder in folders.items()}
