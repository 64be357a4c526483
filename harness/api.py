"""The whole tool as four functions: what the command line does, for Python.

Nothing heavy is imported until a function needs it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import InputError, unknown

if TYPE_CHECKING:
    from harness.graph import SuitePlan
    from harness.reading.comparison import Comparison
    from harness.reading.leaderboard import Board
    from harness.results import Result

Changes = Mapping[str, Any] | Sequence[str]


def run(
    path: str | Path,
    *,
    workdir: str | Path | None = None,
    set: Changes = (),
    only: Sequence[str] = (),
    until: str = "",
    workers: int | None = None,
    device: str = "auto",
    patience_minutes: float = 30.0,
    memory_gib: float | None = None,
    show: bool = True,
) -> list[Result]:
    """Run a suite to its end; started again after an interruption it goes on where it was.

    Args:
        path: the suite file.
        workdir: the folder that holds everything a run makes; default: ``HARNESS_WORKDIR``, else ``runs``.
        set: values by dotted key, such as ``{"rows.id3.settings.gamma": 0.2}``.
        only: rows to run; default all.
        until: the last kind of stage to run; then no result is written.
        workers: worker processes; default: one per core, or one on a GPU.
        device: ``cpu``, ``cuda``, or ``auto`` for a GPU where there is one.
        patience_minutes: without progress for so long, a stage fails.
        memory_gib: what one worker may hold; default: nearly all that the machine has.
        show: progress on standard error, and the leaderboard on standard output.

    Returns:
        a result per row and seed; rows that failed say so in ``status`` and ``error``.

    Raises:
        InputError: the suite is wrong; nothing was started.
        StageError: a stage failed in a run that ends before the rows' results.
    """
    from harness.engine import Engine
    from harness.tracking.mlflow import MlflowTracking
    from harness.tracking.report import ReportPage
    from harness.tracking.terminal import Terminal

    made = plan(path, set=set)
    for row in only:
        if row not in made.rows:
            raise InputError(f"--only {row}: {unknown('row', row, made.rows)}")
    # the last one hears an event first: the terminal names the report, and does not wait for MLflow
    listeners = [MlflowTracking(), *([Terminal()] if show else []), ReportPage()]
    engine = Engine(
        made,
        _workdir(workdir),
        workers,
        device,
        tuple(only),
        until,
        listeners,
        60.0 * patience_minutes,
        None if memory_gib is None else int(memory_gib * 2**30),
    )
    return engine.run()


def plan(path: str | Path, *, set: Changes = ()) -> SuitePlan:
    """Check a suite and work out its stages, without running any.

    Args:
        path: the suite file.
        set: as for :func:`run`.

    Raises:
        InputError: the suite is wrong.
    """
    from harness.planning.planner import plan_suite
    from harness.suites.read import load_suite

    return plan_suite(load_suite(Path(path), set), Path(path))


def leaderboard(workdir: str | Path | None = None, suite: str | None = None, *, published: bool = False) -> Board:
    """The rows of the results in a workdir, with their intervals, ranked where they are comparable.

    Args:
        workdir: as for :func:`run`.
        suite: only this suite; default all.
        published: also the rows that papers print.

    Raises:
        InputError: there are no results.
    """
    from harness.reading.leaderboard import load

    return load(_workdir(workdir), suite, published=published)


def compare(a: str, b: str, workdir: str | Path | None = None) -> Comparison:
    """Whether two rows differ by more than chance: what differs in their recipes, then a test per metric.

    Args:
        a, b: ``SUITE/ROW``, or the name of a row that only one suite has.
        workdir: as for :func:`run`.

    Raises:
        InputError: a row is not there, or the two share no benchmark under one protocol, or no seed.
    """
    from harness.reading.comparison import compare as compare_rows

    return compare_rows(_workdir(workdir), a, b)


def _workdir(given: str | Path | None) -> Path:
    return Path(given if given is not None else os.environ.get("HARNESS_WORKDIR", "runs"))
