"""A report: one HTML file with all that the result files of a workdir say, which needs nothing beside it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from harness import __version__, disk
from harness.reading.escape import visible
from harness.reading.leaderboard import load_results
from harness.reading.published import read_published
from harness.reading.published_tables import published_parts
from harness.reading.tables import footers
from harness.report.sheets import sheets
from harness.report.table import columns, sections
from harness.results import REPORT_FILE, SUITE_FILE

if TYPE_CHECKING:
    from jinja2 import Environment


@dataclass(frozen=True)
class Suite:
    """The resolved suite of rows on the page, to run it again."""

    name: str
    text: Markup


def write(workdir: Path, suite: str | None = None, *, published: bool = False) -> Path:
    """Write the report beside the results: of one suite into its folder, else of all.

    Args:
        workdir: the folder that ``harness run`` wrote to.
        suite: only this suite; default all.
        published: also the rows that papers print.

    Raises:
        InputError: there are no results (of that suite).
    """
    path = workdir / "results" / (suite or ".") / REPORT_FILE
    disk.write_text(path, html(workdir, suite, published=published))
    return path


def html(workdir: Path, suite: str | None = None, *, published: bool = False) -> str:
    """The report as text; arguments as of :func:`write`."""
    board, found = load_results(workdir, suite)
    results = [result for _, result in found]
    return render(
        "board.html.j2",
        title=", ".join(board.suites),
        columns=columns(board),
        sections=sections(board, results, workdir),
        sheets=list(sheets(board, found)),
        footers=footers(board),
        published=published_parts(read_published()) if published else [],
        suites=[Suite(name, plain_text(text)) for name in board.suites if (text := _suite_text(workdir, name))],
        finished=_time(max(result.finished for result in results)),
    )


def render(template: str, **view: Any) -> str:
    """A page from a template; all text in it is escaped, and what turns or hides text is shown as it is written."""
    return _environment().get_template(template).render(version=__version__, **view)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    def shown(value: Any) -> Any:
        return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    loader = PackageLoader("harness.report")
    options: dict[str, Any] = {"trim_blocks": True, "lstrip_blocks": True, "undefined": StrictUndefined}
    return Environment(loader=loader, autoescape=True, finalize=shown, **options)


def plain_text(text: str) -> Markup:
    """Text of several lines."""
    return Markup("\n").join(map(visible, text.splitlines()))


def _suite_text(workdir: Path, suite: str) -> str:
    """The resolved suite beside the results; empty if it is not there."""
    try:
        return (workdir / "results" / suite / SUITE_FILE).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
