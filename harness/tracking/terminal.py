"""The terminal display, an event plugin: progress on stderr while a suite runs, the leaderboard on stdout after it."""

from __future__ import annotations

import atexit
import shlex
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.hookspecs import hookimpl
from harness.reading.escape import visible
from harness.results import FILE_NAME, REPORT_FILE, Result, StageRecord, result_folder

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from harness.graph import StageId, SuitePlan
    from harness.planning.forecast import TimeLeft

INTERVAL_S = 20.0  # plain lines: at most one per stage in this time, unless
FRACTION = 0.25  # this much of the stage was done since the last one
MIN_INTERVAL_S = 2.0  # and this much time went by
MAX_CACHED_LINES = 40  # stages found in the store beyond these are only counted


@dataclass
class _Running:
    """A stage at work: when it was first seen, and what the last plain line said."""

    started: float
    said_at: float
    said_done: int = 0
    bar: Any = None


class Terminal:
    """Shows a run. With a terminal on stderr one bar per running stage, otherwise plain lines now and then.

    Args:
        err: where progress goes; default stderr.
        out: where the leaderboard goes; default stdout.
        clock: seconds, for tests.
    """

    def __init__(
        self, err: Console | None = None, out: Console | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        from harness.reading import output

        self._err = err or output.stderr()
        self._out = out or output.stdout()
        self._clock = clock
        self._progress: Progress | None = None
        self._running: dict[str, _Running] = {}
        self._total = self._finished = self._cached = 0
        self._started = 0.0
        self._left: TimeLeft | None = None

    @hookimpl
    def suite_started(self, plan: SuitePlan, workdir: Path, missing: frozenset[StageId], workers: int) -> None:
        """Say what is about to run, and how long it will take if that is known."""
        self._started, self._total = self._clock(), len(plan.labels)
        self._finished = self._cached = 0
        rows, seeds, stages = (_count(len(x), w) for x, w in _sizes(plan))
        self._say(f"{plan.suite.name}: {rows}, {seeds}, {stages}; in {workdir}")
        self._left = None
        if missing:  # rates are read from many manifests
            from harness.planning.forecast import TimeLeft

            self._left = TimeLeft(plan, workdir, missing, workers)
            self._say(f"time: {self._left.words()}")
        if self._err.is_terminal:
            self._progress = _bars(self._err)
            self._progress.start()
            atexit.register(self._stop)  # gives the cursor back whatever happens

    @hookimpl
    def stage_progress(self, stage: str, done: int, total: int, unit: str) -> None:
        """Move the stage's bar, or print a line if enough happened."""
        now = self._clock()
        state = self._running.get(stage)
        if state is None:
            state = self._running[stage] = _Running(started=now, said_at=now)
            if self._progress is not None:
                state.bar = self._progress.add_task(visible(stage), total=total or None, unit=unit)
            else:
                self._say(f"{stage}: started")
        if done < state.said_done:  # the stage's next phase counts anew, in another unit
            state.started, state.said_at, state.said_done = now, now, 0
        if self._progress is not None:
            self._progress.update(state.bar, completed=done, total=total or None, unit=unit)
        elif self._worth_a_line(state, done, total, now):
            state.said_at, state.said_done = now, done
            self._say(f"{stage}: {_position(done, total, unit)}{_rate(done, total, unit, now - state.started)}")

    @hookimpl
    def stage_finished(self, stage: str, record: StageRecord) -> None:
        """Replace the bar with one line."""
        self._finished += 1
        state = self._running.pop(stage, None)
        if state is not None and self._progress is not None:
            self._progress.remove_task(state.bar)
        self._cached += record.cached
        if self._left is not None:
            self._left.finished(record)
        if record.cached and self._cached > MAX_CACHED_LINES:
            return
        rejected = f", {record.rejected:,} rejected" if record.rejected else ""
        images = f", {record.images:,} images{rejected}" if record.images else ""
        how = "cached, made in" if record.cached else "done in"
        # What lies under a cached stage is not looked at, so the total is known only where nothing is cached.
        position = "" if self._cached or not self._total else f"[{self._finished}/{self._total}] "
        self._say(f"{position}{stage}: {how} {_duration(record.seconds)}{images}")

    @hookimpl
    def stage_warned(self, stage: str, text: str) -> None:
        """Say so at once: what follows may not be worth its time."""
        self._say(f"{stage}: WARNING: {text}", style="yellow")

    @hookimpl
    def row_finished(self, result: Result, folder: Path) -> None:
        """One line: what the row reached, or why it failed; and what is left of the time."""
        name = f"row {result.row}, seed {result.seed}"
        if result.status == "failed":
            reason = result.error.splitlines()[0] if result.error else "no reason given"
            self._say(f"{name}: FAILED: {reason}", style="red")
            return
        left = "" if self._left is None or not self._left.missing else f"; time left: {self._left.words()}"
        self._say(f"{name}: {', '.join(_headlines(result)) or 'done'}{left}", style="bold")

    @hookimpl
    def suite_finished(self, plan: SuitePlan, workdir: Path, results: list[Result]) -> None:
        """Print the leaderboard of the suite and where everything is."""
        self._stop()
        if self._cached > MAX_CACHED_LINES:
            self._say(f"{self._cached - MAX_CACHED_LINES} more stages were cached")
        failed = sum(result.status == "failed" for result in results)
        expected = len(plan.rows) * len(plan.suite.seeds)
        state = f"{len(results) - failed} of {expected} results" + (f", {failed} failed" if failed else "")
        self._say(f"{plan.suite.name}: {state}, {_duration(self._clock() - self._started)}")
        if results:
            self._show_board(plan.suite.name, workdir)
            self._show_places(workdir, results)

    def _show_board(self, suite: str, workdir: Path) -> None:
        from harness.reading import leaderboard, tables

        try:
            tables.render(leaderboard.load(workdir, suite), self._out)
        except (HarnessError, OSError) as error:
            self._say(f"no leaderboard: {error}", style="red")

    def _show_places(self, workdir: Path, results: list[Result]) -> None:
        from harness.tracking.uris import shown_store

        folders = [result_folder(workdir, r.suite, r.row, r.seed) for r in results]
        pictures = [str(f / name) for f, r in zip(folders, results, strict=True) for name in r.figures[:1]]
        option = "" if workdir == Path("runs") else f" --workdir {shlex.quote(str(workdir))}"
        suite = results[0].suite
        lines = [f"results   {workdir / 'results' / suite}/ROW/seed-N/{FILE_NAME}"]
        if (page := workdir / "results" / suite / REPORT_FILE).is_file():
            lines.append(f"report    {page}; open it with: harness report --open --suite {shlex.quote(suite)}{option}")
        if pictures:
            count = sum(len(result.figures) for result in results)
            lines.append(f"pictures  {count} beside the results, such as {pictures[0]}")
        lines.append(f"MLflow    {shown_store(workdir)}; look at it with: harness ui{option}")
        lines.append(f"again     harness leaderboard --suite {shlex.quote(suite)}{option}")
        for line in lines:
            _print(self._out, line)

    def _worth_a_line(self, state: _Running, done: int, total: int, now: float) -> bool:
        if done <= state.said_done:
            return False
        since = now - state.said_at
        return since >= INTERVAL_S or (
            total > 0 and (done - state.said_done) / total >= FRACTION and since >= MIN_INTERVAL_S and done < total
        )

    def _say(self, line: str, style: str = "") -> None:
        _print(self._err, line, style)

    def _stop(self) -> None:
        if self._progress is not None:
            for state in self._running.values():
                self._progress.remove_task(state.bar)
            self._progress.stop()
            self._progress = None
            atexit.unregister(self._stop)
        self._running.clear()


def _headlines(result: Result) -> Iterator[str]:
    """The headline metrics of a result, where an average has members the average alone."""
    from harness.reading.metrics import describe

    known = describe([result])
    for about in known.values():
        if about.headline and about.better != "neither" and about.average not in known:
            yield f"{about.title} {about.quantity(about.of_result(result))}"


def _print(console: Console, line: str, style: str = "") -> None:
    """Print a line; a full disk or a reader that went away is no reason for a run to end."""
    try:
        console.print(visible(line), style=style, markup=False, highlight=False, soft_wrap=True)
    except OSError:
        console.quiet = True


def _bars(console: Console) -> Progress:
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Position(ProgressColumn):
        """Units done, of how many if that is known."""

        def render(self, task: Task) -> Text:
            return Text(f"{task.completed:,.0f}" + ("" if task.total is None else f"/{task.total:,.0f}"))

    class Rate(ProgressColumn):
        """Units per second since the stage was first seen."""

        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed:,.1f} {task.fields.get('unit', '')}/s")

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        Position(),
        Rate(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        refresh_per_second=4,
    )


def _sizes(plan: SuitePlan) -> tuple[tuple[list[Any], str], ...]:
    return (plan.rows, "row"), (plan.suite.seeds, "seed"), (plan.labels, "stage")


def _count(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _position(done: int, total: int, unit: str) -> str:
    return f"{done:,} of {total:,} {unit} ({done / total:.0%})" if total else f"{done:,} {unit}"


def _rate(done: int, total: int, unit: str, seconds: float) -> str:
    if seconds <= 0 or done <= 0:
        return ""
    rate = done / seconds
    left = f", {_duration((total - done) / rate)} left" if total > done else ""
    return f", {rate:,.1f} {unit}/s{left}"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
