"""The report beside the results, an event plugin: refreshed as rows finish, whole at the end."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from harness.hookspecs import hookimpl
from harness.results import Result

if TYPE_CHECKING:
    from harness.graph import SuitePlan

SHARE = 0.05  # of a run's time, at the most, goes into the report before the end


class ReportPage:
    """Writes the report of the suite that runs."""

    def __init__(self) -> None:
        self._suite, self._workdir = "", Path()
        self._next = 0.0

    @hookimpl
    def suite_started(self, plan: SuitePlan, workdir: Path) -> None:
        """Know what to write, and where."""
        self._suite, self._workdir, self._next = plan.suite.name, workdir, 0.0

    @hookimpl
    def row_finished(self, result: Result, folder: Path) -> None:
        """Write the report, unless it was written not long ago."""
        if time.monotonic() >= self._next:
            self._write()

    @hookimpl
    def suite_finished(self, plan: SuitePlan, workdir: Path, results: list[Result]) -> None:
        """Write the report of all rows that finished."""
        if results:
            self._write()

    def _write(self) -> None:
        from harness.report.page import write

        started = time.monotonic()
        write(self._workdir, self._suite)
        ended = time.monotonic()
        self._next = ended + (ended - started) / SHARE
