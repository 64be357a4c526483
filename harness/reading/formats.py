"""A leaderboard as files: JSON, CSV and markdown."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from harness.reading.escape import all_visible, csv_value, json_text, markdown_text
from harness.reading.gap import gaps
from harness.reading.leaderboard import Board, Cell, Row
from harness.reading.published_tables import published_parts
from harness.reading.tables import COST, MISSING, OTHERS, RANKED, columns, footers

SCHEMA = 1
CSV_COLUMNS = (
    *("origin", "suite", "row", "generator", "seeds", "metric", "title", "unit", "better", "value", "std_folds"),
    *("low", "high", "interval_over", "interval_method", "seeds_low", "seeds_high", "seeds_method"),
    *("n", "rank", "unranked", "protocol", "recipe", "identities", "per_identity"),
    *("commercial_use", "seconds", "status", "note"),
)


def to_json(board: Board) -> str:
    """The whole board, every metric of every seed; fractions, not percent."""
    rows = [{"origin": "measured", **asdict(row)} for row in board.rows]
    found = gaps(board)
    for row in rows:
        row["cells"] = [_flat(cell) for cell in row["cells"].values()]
        row["dataset"] = row["dataset"] and row["dataset"].model_dump()
        gap = found.get((row["suite"], row["name"]))
        row["gap_to_real"] = gap and {
            "real": board.label(gap.real),
            "value": gap.value,
            "interval": gap.interval and asdict(gap.interval),
        }
    document: dict[str, Any] = {"schema": SCHEMA, "suites": list(board.suites), "rows": rows}
    document["footers"] = footers(board)
    if board.published:
        document["published"] = [{"origin": "published", **asdict(row)} for row in board.published]
    return document_text(document)


def document_text(document: dict[str, Any]) -> str:
    """A document as JSON."""
    return json_text(json.dumps(plain(document), indent=1, ensure_ascii=False)) + "\n"


def _flat(cell: dict[str, Any]) -> dict[str, Any]:
    """A cell with what its metric says of itself in one table."""
    about = cell.pop("about")
    return {"metric": about.pop("name"), **about, **cell}


def plain(value: Any) -> Any:
    """The value with numbers that JSON does not know (NaN, infinity) as null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def to_csv(board: Board) -> str:
    """One line per row and metric (and per failed seed); fractions, not percent."""
    out = io.StringIO()
    writer = csv.DictWriter(out, CSV_COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for line in _csv_lines(all_visible(board)):
        writer.writerow({name: csv_value(value) for name, value in line.items()})
    return out.getvalue()


def _csv_lines(board: Board) -> Iterator[dict[str, Any]]:
    for row in board.rows:
        yield from (_csv_line(row, each) for each in row.cells.values())
        for seed, error in sorted(row.failures.items()):
            yield _csv_row(row) | {"seeds": seed, "status": "failed", "note": error}
    for printed in board.published:
        common = {"origin": "published", "row": printed.method, "note": printed.note or printed.source}
        yield from (common | {"metric": m, "value": v, "status": "published"} for m, v in printed.metrics.items())


def _csv_row(row: Row) -> dict[str, Any]:
    size = {} if row.dataset is None else {k: getattr(row.dataset, k) for k in ("identities", "per_identity")}
    return {
        "origin": "measured",
        "suite": row.suite,
        "row": row.name,
        "generator": row.generator,
        "recipe": row.recipe,
        "commercial_use": row.commercial_use,
        "seconds": round(row.seconds, 3),
        **size,
    }


def _csv_line(row: Row, cell: Cell) -> dict[str, Any]:
    line = _csv_row(row) | {
        "seeds": " ".join(map(str, cell.values)),
        "metric": cell.metric,
        "title": cell.about.title,
        "unit": cell.about.unit,
        "better": cell.about.better,
        "value": cell.value,
        "std_folds": cell.std_folds,
        "n": cell.n,
        "rank": cell.rank,
        "unranked": cell.unranked,
        "protocol": cell.protocol,
        "status": "done",
        "note": "; ".join(cell.notes),
    }
    if own := cell.interval:
        line |= {"low": own.low, "high": own.high, "interval_over": own.over, "interval_method": own.method}
    if over := cell.over_seeds:
        line |= {"seeds_low": over.low, "seeds_high": over.high, "seeds_method": over.method}
    return line


def to_markdown(board: Board) -> str:
    """Two or three pipe tables and the footers as a list."""
    board = all_visible(board)
    found, blocks = columns(board), []
    for groups, about in (((RANKED,), RANKED), ((OTHERS, COST), "other metrics, cost and terms")):
        part = [column for column in found if column.group in groups]
        if part and board.rows:
            lines = [
                [board.label(row), *(c.text(row) for c in part)]
                if row.seeds
                else [board.label(row), "failed", *(MISSING for _ in part[1:])]
                for row in board.rows
            ]
            table = pipes(["row", *(c.title for c in part)], lines)
            blocks.append(f"**{markdown_text(', '.join(board.suites))}: {about}**\n\n{table}")
    blocks.append("\n".join("- " + markdown_text(line) for line in footers(board)))
    for title, header, lines, sources in published_parts(board.published) if board.published else []:
        numbered = "\n".join(f"- [{number}] {source}" for number, source in enumerate(sources, start=1))
        blocks.append(f"**{title}**\n\n{pipes(header, lines)}\n\n{numbered}")
    return "\n\n".join(blocks) + "\n"


def pipes(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table in markdown; what has a meaning there is escaped."""

    def row(cells: Sequence[str]) -> str:
        return f"| {' | '.join(map(markdown_text, cells))} |"

    return "\n".join([row(header), f"|{' --- |' * len(header)}", *(row(line) for line in lines)])
