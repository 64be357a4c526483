"""Descriptions in Markdown, which MLflow shows above a run and an experiment."""

from __future__ import annotations

from harness.reading.escape import markdown_text, visible
from harness.reading.formats import pipes, to_markdown
from harness.reading.leaderboard import Board, Row
from harness.reading.metrics import describe
from harness.reading.tables import MISSING, RANKED, columns
from harness.results import CHOSEN, REPORT_FILE, Result


def row_note(result: Result) -> str:
    """What one run is: the row and its numbers, in a few lines."""
    size = result.dataset
    parts = [f"generator {result.generator}"]
    parts += [f"{size.identities:,} identities x {size.per_identity} images"] if size else []
    parts += [f"commercial use: {result.commercial_use}"]
    lines = [
        f"**{_text(result.row)}**, seed {result.seed}, of the suite {_text(result.suite)}: {_text(', '.join(parts))}"
    ]
    if result.status == "failed":
        lines.append(f"**Failed**: {_text((result.error.splitlines() or ['no reason given'])[0])}")
    about = describe([result])
    shown = [(about[metric.name], metric) for metric in result.metrics if about[metric.name].headline]
    numbers = [
        f"{each.title} {each.quantity(record.value)}"
        + (f" [{each.number(record.interval[0])}, {each.number(record.interval[1])}]" if record.interval else "")
        for each, record in shown
    ]
    lines += [_text("; ".join(numbers))] if numbers else []
    lines += [f"{CHOSEN} ({_text(', '.join(result.chosen_on))})"] if result.chosen_on else []
    lines += [f"Warning: {_text(text)}" for text in result.warnings]
    return "\n\n".join(lines)


def suite_note(board: Board, limit: int, report: str = "") -> str:
    """The board of one suite: whole if it fits, else as many rows of its ranked metrics as fit.

    Args:
        limit: of characters.
        report: link to the report; empty where there is none.
    """
    suite = board.suites[0]
    path = _text(f"results/{suite}/{REPORT_FILE}")
    places = f"Report: [{path}]({report}), also in the workdir" if report else f"Results: {_text(f'results/{suite}')}"
    whole = f"{to_markdown(board)}\n{places}\n"
    return whole if len(whole) <= limit else f"{short_board(board, limit - len(places) - 2)}\n\n{places}"


def short_board(board: Board, limit: int) -> str:
    """A table of the ranked metrics (of the others where none is ranked), in at most ``limit`` characters."""
    found = columns(board)
    part = [column for column in found if column.group == RANKED] or found
    header = ["row", *(column.title for column in part)]

    def line(row: Row) -> list[str]:
        cells = [column.text(row) for column in part] if row.seeds else ["failed", *(MISSING for _ in part[1:])]
        return [visible(board.label(row)), *(cell.split("\n")[0] for cell in cells)]

    rows = list(board.rows)
    for count in range(len(rows), -1, -1):
        more = "" if count == len(rows) else f"\n\nand {len(rows) - count} more rows"
        text = pipes(header, [line(row) for row in rows[:count]]) + more
        if len(text) <= limit:
            return text
    return f"{len(rows)} rows"


def _text(text: str) -> str:
    return markdown_text(visible(text))
