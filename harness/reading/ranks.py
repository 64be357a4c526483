"""Ranks: only among rows that agree in protocol, recipe and dataset size, and the reason where a row has none."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from harness.stats.comparison import MIN_SEEDS

if TYPE_CHECKING:
    from harness.reading.leaderboard import Row
    from harness.reading.metrics import About


def rank(rows: Sequence[Row], about: About) -> list[Row]:
    """Rank the largest set of rows that agree in protocol, recipe and dataset size; the others get a reason.

    Rows that were chosen on the test benchmarks never stand among rows that were not.
    """
    metric, sign = about.name, -1.0 if about.better == "lower" else 1.0
    groups: dict[object, list[Row]] = {}
    for row in rows:
        if metric in row.cells and not _unfit(row, metric):
            groups.setdefault((row.cells[metric].protocol, row.recipe, row.size, row.chosen_on), []).append(row)
    field_ = max(groups.values(), key=len, default=[])
    ranked = [sign * row.cells[metric].value for row in field_] if len(field_) > 1 else []
    marked = []
    for row in rows:
        if metric in row.cells:
            inside = any(row is other for other in field_) and bool(ranked)
            cell = row.cells[metric]
            place = 1 + sum(value > sign * cell.value for value in ranked) if inside else None
            reason = "" if inside else _unfit(row, metric) or _why_apart(row, field_, metric)
            row = replace(row, cells={**row.cells, metric: replace(cell, rank=place, unranked=reason)})
        marked.append(row)
    return marked


def order(row: Row) -> tuple[int, float, str, str]:
    """Key of sorting: ranked rows first, by their mean rank; then the others by name; rows without a number last."""
    ranks = [cell.rank for cell in row.cells.values() if cell.rank is not None]
    if ranks:
        return (0, statistics.fmean(ranks), row.suite, row.name)
    return (1 if row.seeds else 2, 0.0, row.suite, row.name)


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


def _why_apart(row: Row, field_: list[Row], metric: str) -> str:
    others = [other for other in field_ if other is not row]
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
    return f"another {' and '.join(differing)} than {other.name}"
