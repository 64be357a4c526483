"""The rows that papers print, as tables of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.reading.published import TABLES, PublishedRow

if TYPE_CHECKING:
    from rich.console import Console

MISSING = "-"
_PRINTED = ("generator_train_dataset", "n_ids", "imgs_per_id", "fr_augmentation", "sampler")

Part = tuple[str, list[str], list[list[str]], list[str]]


def published_parts(published: Sequence[PublishedRow]) -> list[Part]:
    """Per published table: title, header, lines and the sources that the last column numbers."""
    return [_part(name, [row for row in published if row.table == name]) for name in TABLES]


def _part(name: str, rows: Sequence[PublishedRow]) -> Part:
    table = TABLES[name]
    metrics = list(dict.fromkeys(m for row in rows for m in row.metrics))
    settings = [s for s in _PRINTED if any(s in row.settings for row in rows)]
    sources = list(dict.fromkeys(row.source for row in rows))
    header = ["method", *(s.replace("_", " ") for s in settings), *(table.titles[m] for m in metrics), "source"]
    lines = [
        [
            row.method,
            *(row.settings.get(s, MISSING) for s in settings),
            *(table.number(row.metrics[m]) if m in row.metrics else MISSING for m in metrics),
            f"[{sources.index(row.source) + 1}]",
        ]
        for row in rows
    ]
    return f"Published ({name}, {table.unit}): not measured here, never ranked", header, lines, sources


def print_published(published: Sequence[PublishedRow], console: Console) -> None:
    """Print them, dim, under what was measured here."""
    from rich.table import Table
    from rich.text import Text

    for title, header, lines, sources in published_parts(published):
        table = Table(title=Text(title, "bold"), title_justify="left")
        for name in header:
            table.add_column(Text(name), overflow="fold")
        for line in lines:
            table.add_row(*map(Text, line), style="dim")
        console.print(table)
        for number, source in enumerate(sources, start=1):
            console.print(f"[{number}] {source}", style="dim", markup=False, highlight=False)
