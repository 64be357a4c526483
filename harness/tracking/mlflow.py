"""MLflow as a view of result files: an event plugin that fills it as a run goes, and ``sync``, which fills it again.

All of this happens on a thread of its own, so that a store that is slow or hangs never holds up a run.
:class:`harness.tracking.tracker.Tracker` says what is written.
"""

from __future__ import annotations

import importlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import DataError, HarnessError
from harness.hookspecs import hookimpl
from harness.results import Result, iterate_results
from harness.tracking.background import Background
from harness.tracking.machine import Machine
from harness.tracking.store import client, locked, make_database, set_environment
from harness.tracking.uris import has_secrets, one_line, shown_store, store_uri

if TYPE_CHECKING:
    from harness.graph import SuitePlan
    from harness.tracking.tracker import Change, Tracker

log = logging.getLogger(__name__)

# The end of a run waits for MLflow until nothing has come through for QUIET_S, and no longer than END_S in all.
QUIET_S = 20.0
END_S = 60.0
TELL_S = 5.0  # a longer wait says so
SYNC_QUIET_S = 180.0  # `harness sync` has nothing else to do
SHARE = 0.05  # of a run's time, at the most, goes into descriptions before the end
SAMPLE_S = 30.0  # between two looks at the machine while stages run


@dataclass(frozen=True)
class SyncReport:
    """What ``sync`` did: runs per kind of change, damaged result files that it left out, and the store it filled."""

    created: int
    updated: int
    unchanged: int
    damaged: tuple[Path, ...]
    store: str


def sync(workdir: Path) -> SyncReport:
    """Fill MLflow from the result files of a workdir; what is there and unchanged is left alone.

    A damaged result file is named in a warning, and the others go on.

    Raises:
        DataError: the store cannot be written, or does not answer.
    """
    set_environment(workdir)
    store = shown_store(workdir)
    changes: list[Change] = []
    damaged: list[Path] = []
    work = Background("harness-sync")
    work.put(lambda: _fill_all(workdir, changes, damaged, work.advance))
    try:
        through = work.wait(SYNC_QUIET_S, float("inf"))
    finally:
        work.stop()
    if isinstance(work.error, HarnessError):
        raise work.error
    if work.error is not None:
        why = one_line(work.error, store_uri(workdir))
        cause = None if has_secrets(store_uri(workdir)) else work.error  # its traceback would say them
        raise DataError(f"MLflow store {store}: {why}; the result files are not affected") from cause
    if not through:
        raise DataError(f"MLflow store {store}: no answer for {SYNC_QUIET_S:.0f} s; the result files are not affected")
    created, updated, unchanged = (changes.count(kind) for kind in ("created", "updated", "unchanged"))
    return SyncReport(created, updated, unchanged, tuple(damaged), store)


def _fill_all(workdir: Path, changes: list[Change], damaged: list[Path], advance: Callable[[], None]) -> None:
    def leave_out(path: Path, error: DataError) -> None:
        damaged.append(path)
        log.warning("%s", error)

    from harness.tracking.tracker import Tracker  # reads boards, for which much is imported

    def fill(uri: str) -> None:
        tracker = Tracker(workdir, uri)
        results = list(iterate_results(workdir, on_damaged=leave_out))
        suites = dict.fromkeys(result.suite for _, result in results)
        for suite in suites:
            advance()
            tracker.read(suite)
        for folder, result in results:
            advance()
            changes.append(tracker.track(result, folder))
        for suite in suites:
            advance()
            tracker.close_suite(suite)

    with locked(workdir):
        if not make_database(workdir, fill):
            fill(store_uri(workdir))


class MlflowTracking:
    """Event plugin: fills MLflow as rows finish. A failure here is one warning and never stops or holds up a run."""

    def __init__(self) -> None:
        self._workdir = Path()
        self._work: Background | None = None
        self._machine: Machine | None = None
        self._run = ""  # id of the suite's run
        self._started = self._sampled = self._described = 0.0

    @hookimpl
    def suite_started(self, plan: SuitePlan, workdir: Path) -> None:
        """Open the suite's run, so that it can be watched from the start."""
        set_environment(workdir)
        self._workdir, self._work = workdir, Background("harness-mlflow")
        self._started = self._sampled = time.monotonic()
        self._described, self._run, self._machine = 0.0, "", None
        self._work.put(lambda: importlib.import_module("mlflow"))
        self._work.put(lambda: _prepare(workdir))
        self._put(lambda tracker: self._open(tracker, plan))

    @hookimpl
    def stage_progress(self, stage: str, done: int, total: int, unit: str) -> None:
        """Note now and then what the machine does; never while something else waits."""
        now = time.monotonic()
        if now - self._sampled >= SAMPLE_S and self._work is not None and not self._work.busy:
            self._sampled = now
            self._work.put(lambda: self._sample(int(now - self._started)))

    @hookimpl
    def row_finished(self, result: Result, folder: Path) -> None:
        """Fill the run of one row and seed."""
        self._warn_of_failure()
        self._put(lambda tracker: self._track(tracker, result, folder))

    @hookimpl
    def suite_finished(self, plan: SuitePlan, workdir: Path, results: list[Result]) -> None:
        """Close the suite's run, and wait for the store, within limits and until Ctrl-C."""
        if results:
            self._put(lambda tracker: tracker.close_suite(plan.suite.name, plan.resolved_yaml))
        if self._work is None:
            return
        through = _wait(self._work, shown_store(workdir))
        self._work.stop()
        self._warn_of_failure()
        if not through and self._work is not None:
            self._give_up(f"{shown_store(workdir)} did not keep up")
        self._work = None

    # What follows up to _put is done on the thread.

    def _open(self, tracker: Tracker, plan: SuitePlan) -> None:
        self._run = tracker.open_suite(plan.suite.name, plan.resolved_yaml).info.run_id
        self._machine = Machine()

    def _track(self, tracker: Tracker, result: Result, folder: Path) -> None:
        """Fill a run, and refresh the board unless that was done not long ago."""
        tracker.track(result, folder)
        started = time.monotonic()
        if started >= self._described:
            tracker.describe(result.suite)
            ended = time.monotonic()
            self._described = ended + (ended - started) / SHARE

    def _sample(self, step: int) -> None:
        from mlflow.entities import Metric

        if self._machine is None:
            return
        values, now = self._machine.sample(), int(time.time() * 1000)
        if values:
            with locked(self._workdir):
                metrics = [Metric(name, value, now, step) for name, value in values.items()]
                client(store_uri(self._workdir)).log_batch(self._run, metrics)

    def _put(self, action: Callable[[Tracker], object]) -> None:
        workdir = self._workdir

        def act() -> None:
            from harness.tracking.tracker import Tracker

            with locked(workdir):
                action(Tracker(workdir, store_uri(workdir)))

        if self._work is not None:
            self._work.put(act)

    def _warn_of_failure(self) -> None:
        if self._work is not None and self._work.error is not None:
            self._give_up(one_line(self._work.error, store_uri(self._workdir)))

    def _give_up(self, why: str) -> None:
        self._work = None
        log.warning("MLflow tracking is off for this run (%s); `harness sync` fills it later", why)


def _prepare(workdir: Path) -> None:
    with locked(workdir):
        make_database(workdir)


def _wait(work: Background, store: str) -> bool:
    """Whether all work was done in time; Ctrl-C ends the wait and nothing else, since the run itself is over."""
    try:
        if work.wait(QUIET_S, TELL_S):
            return True
        log.warning("MLflow is still being filled at %s; this ends after %.0f s, or with Ctrl-C", store, END_S)
        return work.wait(QUIET_S, END_S - TELL_S)
    except KeyboardInterrupt:
        return False
