"""Ranks: only among rows that agree in protocol, recipe and dataset size, and the reason where a row has none.

Rows that do not differ by more than chance share a rank: a letter, ``a`` for the best (``harness.reading.groups``).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.reading import kept
from harness.reading.fields import key
from harness.stats.comparison import MIN_SEEDS

if TYPE_CHECKING:
    from harness.reading.leaderboard import Row
    from harness.reading.metrics import About

UNTESTED = "its decisions pair by pair are not beside the results"


def rank(rows: Sequence[Row], metrics: Iterable[About], workdir: Path | None) -> list[Row]:
    """Rank the rows in every metric that can be tested; what is not ranked gets a reason.

    Args:
        workdir: where the decisions pair by pair lie; None: nowhere.
    """
    fields = {about.name: (about, _field(rows, about)) for about in metrics if about.tested}
    several = {name: (about, field) for name, (about, field) in fields.items() if len(field) > 1}
    letters = kept.ranks(several, workdir)
    places = {name: {key(row): n for n, row in enumerate(field, start=1)} for name, (_, field) in fields.items()}
    marked = []
    for row in rows:
        cells = dict(row.cells)
        for name, (_, field) in fields.items():
            if name in cells:
                place = places[name].get(key(row))
                given = letters.get(name, {}).get(key(row), "")
                reason = "" if given else _unfit(row, name) or _why_apart(row, field, name)
                cells[name] = replace(cells[name], place=place, rank=given, unranked=reason)
        marked.append(replace(row, cells=cells))
    return marked


def order(row: Row) -> tuple[int, float, str, str]:
    """Key of sorting: ranked rows first, by their mean place; then the others by name; rows without a number last."""
    places = [cell.place for cell in row.cells.values() if cell.about.ranks and cell.place is not None]
    if places:
        return (0, statistics.fmean(places), row.suite, row.name)
    return (1 if row.seeds else 2, 0.0, row.suite, row.name)


def _field(rows: Sequence[Row], about: About) -> list[Row]:
    """The largest set of rows that agree in protocol, recipe, dataset size and choice of the epoch, the best first."""
    sets: dict[object, list[Row]] = {}
    for row in rows:
        if about.name in row.cells and not _unfit(row, about.name):
            same = row.cells[about.name].protocol, row.recipe, row.size, row.chosen_on
            sets.setdefault(same, []).append(row)
    sign = 1.0 if about.better == "lower" else -1.0
    largest: list[Row] = max(sets.values(), key=len, default=[])
    return sorted(largest, key=lambda row: sign * row.cells[about.name].value)


def _unfit(row: Row, metric: str) -> str:
    """Why a row cannot be ranked whatever the others are; empty if it can."""
    cell = row.cells[metric]
    if not cell.described:
        return "its result files are of an earlier version"
    if len(cell.values) < MIN_SEEDS:
        return f"fewer than {MIN_SEEDS} seeds"
    if not math.isfinite(cell.value):
        return "the value is not a number"
    return f"its seeds differ in {row.mixed}" if row.mixed else ""


def _why_apart(row: Row, field: list[Row], metric: str) -> str:
    others = [other for other in field if other is not row]
    if not others:
        return "no other row with enough seeds under the same protocol, recipe and dataset size"
    other = others[0]
    differing = []
    if row.cells[metric].protocol != other.cells[metric].protocol:
        differing.append("protocol")
    if row.recipe != other.recipe:
        differing.append("recipe")
    if row.chosen_on != other.chosen_on:
        differing.append("choice of the epoch")
    if row.size != other.size:
        differing.append(f"dataset size ({row.size})")
    return f"another {' and '.join(differing)} than {other.name}" if differing else UNTESTED
