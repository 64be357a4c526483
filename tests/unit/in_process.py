"""A suite run in the process of the test: the engine with all that it does, but without worker processes and MLflow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from harness.engine import Engine
from harness.errors import HarnessError
from harness.planning.planner import plan_suite
from harness.plugins import import_target
from harness.results import Result
from harness.store.workers import Outcome, Task
from harness.suites.read import load_suite


class InProcess:
    """Stands in for the pool of workers: one task at a time, here."""

    size = 1

    def __init__(self) -> None:
        self.tasks: list[Task] = []
        self.busy = False

    def submit(self, task: Task) -> None:
        """Put a task behind the others."""
        self.tasks.append(task)

    def step(self, timeout: float) -> list[Outcome]:
        """Do the next task."""
        if not self.tasks:
            return []
        task = self.tasks.pop(0)
        function: Callable[..., Any] = import_target(task.function)
        try:
            return [Outcome(task, function(*task.args, emit=lambda kind, data: None, should_stop=lambda: False))]
        except HarnessError as error:
            return [Outcome(task, error=type(error).__name__, message=str(error))]

    def drop(self, wanted: Callable[[Any], bool]) -> int:
        """Forget tasks by their tag; none runs meanwhile."""
        self.tasks = [task for task in self.tasks if not wanted(task.tag)]
        return 0

    def close(self) -> None:
        """There is nothing to end."""


def run_suite(suite: Path, workdir: Path) -> list[Result]:
    """Run a suite; the results of its rows."""
    threads = torch.get_num_threads()
    engine = Engine(plan_suite(load_suite(suite), suite), workdir, workers=1, device="cpu")
    engine.pool.close()
    engine.pool = InProcess()  # type: ignore[assignment]
    try:
        return engine.run()
    finally:
        torch.set_num_threads(threads)
