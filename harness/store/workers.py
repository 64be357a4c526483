"""Worker processes: spawned, one thread each, and gone when their parent is.

A task is the import string of a function with plain arguments. A worker that dies is replaced and its task is given to
another, a few times; an exception in a task is an outcome, not a death.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

# A task that kills its worker this often is at fault itself (out of memory, a crash in native code).
MAX_DEATHS = 3

Emit = Callable[[str, dict[str, Any]], None]


@dataclass
class Task:
    """One call of ``function(*args, emit=..., should_stop=...)`` in a worker; ``tag`` says whose it is."""

    function: str
    args: tuple[Any, ...]
    tag: Any = None
    deaths: int = 0


@dataclass(frozen=True)
class Outcome:
    """How a task ended: a value, or the error's class name, message and traceback."""

    task: Task
    value: Any = None
    error: str = ""
    message: str = ""
    trace: str = ""


@dataclass
class _Worker:
    process: Any
    connection: Connection
    task: Task | None = field(default=None)


class Pool:
    """A fixed number of workers and a queue of tasks.

    Args:
        count: how many workers; they are started when there is work for them.
        on_event: called in this process with (tag, kind, data) for everything a task emits.
    """

    def __init__(self, count: int, on_event: Callable[[Any, str, dict[str, Any]], None]) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._stop = self._context.Event()
        self._count, self._on_event = count, on_event
        self._queue: deque[Task] = deque()
        self._workers: list[_Worker] = []

    def submit(self, task: Task, first: bool = False) -> None:
        """Queue a task, at the front if ``first``."""
        (self._queue.appendleft if first else self._queue.append)(task)

    def drop(self, belongs: Callable[[Any], bool]) -> int:
        """Take the tasks whose tag belongs off the queue; returns how many of them are running still."""
        self._queue = deque(task for task in self._queue if not belongs(task.tag))
        return sum(worker.task is not None and belongs(worker.task.tag) for worker in self._workers)

    @property
    def busy(self) -> bool:
        """Whether any task is queued or running."""
        return bool(self._queue) or any(worker.task for worker in self._workers)

    def step(self, timeout: float) -> list[Outcome]:
        """Give tasks to idle workers, wait up to ``timeout`` seconds for news, and return what ended."""
        self._assign()
        sources: list[Any] = []
        for worker in self._workers:
            sources += [worker.connection, worker.process.sentinel]
        ready = set(wait(sources, timeout))  # with no worker it just waits
        outcomes: list[Outcome] = []
        for worker in list(self._workers):
            if worker.connection in ready or worker.process.sentinel in ready:
                outcomes += self._listen(worker)
        return outcomes

    def request_stop(self) -> None:
        """Drop what is queued and ask running tasks to end soon (``should_stop``)."""
        self._queue.clear()
        self._stop.set()

    def close(self) -> None:
        """End all workers, at once."""
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
            worker.connection.close()
        self._workers.clear()

    def _assign(self) -> None:
        idle = [worker for worker in self._workers if worker.task is None]
        while self._queue and (idle or len(self._workers) < self._count):
            worker = idle.pop() if idle else self._start()
            worker.task = self._queue.popleft()
            # If it died while idle, _listen finds out and gives the task to another.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                worker.connection.send((worker.task.function, worker.task.args))

    def _start(self) -> _Worker:
        here, there = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(there, self._stop), daemon=True)
        process.start()
        there.close()
        worker = _Worker(process, here)
        self._workers.append(worker)
        return worker

    def _listen(self, worker: _Worker) -> list[Outcome]:
        outcomes = []
        try:
            while worker.connection.poll():
                kind, data = worker.connection.recv()
                task = worker.task
                assert task is not None
                if kind in ("done", "error"):
                    worker.task = None
                    outcomes.append(Outcome(task, **data))
                else:
                    self._on_event(task.tag, kind, data)
            if worker.process.is_alive():
                return outcomes
        except (EOFError, ConnectionResetError):
            pass
        return outcomes + self._bury(worker)

    def _bury(self, worker: _Worker) -> list[Outcome]:
        worker.process.join()
        worker.connection.close()
        self._workers.remove(worker)
        task = worker.task
        if task is None:
            return []
        task.deaths += 1
        if task.deaths < MAX_DEATHS:
            self.submit(task, first=True)
            return []
        code = worker.process.exitcode
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        return [Outcome(task, error="WorkerDied", message=f"its worker died {task.deaths} times, last by {how}")]


def _serve(connection: Connection, stop: Any) -> None:
    """Run tasks until the parent closes the connection or dies."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"  # before torch is imported: results must not depend on how many workers there are
    os.environ["OMP_WAIT_POLICY"] = "passive"
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which asks for a stop
    _die_with_parent()
    while True:
        try:
            function, args = connection.recv()
        except (EOFError, ConnectionResetError):
            return
        connection.send(_call(function, args, connection, stop))


def _call(function: str, args: tuple[Any, ...], connection: Connection, stop: Any) -> tuple[str, dict[str, Any]]:
    from harness.plugins import import_target

    try:
        value = import_target(function)(
            *args, emit=lambda kind, data: connection.send((kind, data)), should_stop=stop.is_set
        )
    except Exception as error:  # a plugin may raise anything
        return "error", failure(error)
    return "done", {"value": value}


def failure(error: Exception) -> dict[str, str]:
    """What an ``Outcome`` says of the exception that is being handled."""
    message = str(error).strip() or type(error).__name__
    return {"error": type(error).__name__, "message": message, "trace": traceback.format_exc()}


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
