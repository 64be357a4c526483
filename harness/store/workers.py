"""Worker processes: forked from a clean, warmed parent, one thread each, and gone when their run is.

A task is the import string of a function with plain arguments. A worker serves the tasks of one owner (a stage) and is
then replaced, so what a component does to its process reaches nobody else. A worker that dies is replaced and its task
is given to another, a few times; an exception in a task is an outcome, not a death. A worker that makes no progress, or
takes all memory, is ended and its task has failed.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

from harness.plugins import import_target
from harness.store.guard import Guard, end_group
from harness.store.machine import machine_memory, process_state, resident_bytes

# A task that kills its worker this often is at fault itself (out of memory, a crash in native code).
MAX_DEATHS = 3
QUIET_S = 30.0  # without progress, after which that is told; then again after twice as long, and so on
STALL_S = 1800.0  # without progress, after which a worker is ended
MEMORY_SHARE = 0.9  # of the machine's memory that one worker may hold
_LOOK_S = 1.0  # between looks at the workers' memory
# Results must not depend on how many workers there are.
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "passive",
}

Emit = Callable[[str, dict[str, Any]], None]


@dataclass
class Task:
    """One call of ``function(*args, emit=..., should_stop=...)`` in a worker.

    Attributes:
        tag: whose it is, for the events.
        owner: tasks of different owners share no process.
    """

    function: str
    args: tuple[Any, ...]
    tag: Any = None
    owner: Hashable = None
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
    owner: Hashable
    task: Task | None = field(default=None)
    heard: float = 0.0  # when it last said something
    tell: float = QUIET_S  # silence after which that is told


@contextlib.contextmanager
def _not_from_here() -> Iterator[None]:
    """Python processes that are started meanwhile import nothing from the current folder, as the command itself does.

    ``python -c``, by which multiprocessing starts its servers, would look there first: in a checkout for another
    version of the harness, elsewhere for anything that is called like a module.
    """
    name = "PYTHONSAFEPATH"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before


class Pool:
    """A fixed number of workers and a queue of tasks.

    Args:
        count: how many workers; they are started when there is work for them.
        on_event: called in this process with (tag, kind, data) for everything a task emits, and with kind ``quiet``
            when it has emitted nothing for long.
        stall_s: seconds without progress after which a worker is ended.
        memory_bytes: what one worker may hold; default: nearly all that the machine has.
        preload: module that is imported once, in the process from which workers are forked.
    """

    def __init__(
        self,
        count: int,
        on_event: Callable[[Any, str, dict[str, Any]], None],
        stall_s: float = STALL_S,
        memory_bytes: int | None = None,
        preload: str = "",
    ) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([preload] if preload else [])
        with _not_from_here():
            self._stop = self._context.Event()
        self._guard = Guard()
        self.size, self._on_event, self._stall_s = count, on_event, stall_s
        self._memory = memory_bytes or int(MEMORY_SHARE * machine_memory())
        self._looked = 0.0
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
        """Give tasks to workers, wait up to ``timeout`` seconds for news, and return what ended."""
        self._assign()
        sources: list[Any] = []
        for worker in self._workers:
            sources += [worker.connection, worker.process.sentinel]
        ready = set(wait(sources, timeout))  # with no worker it just waits
        outcomes: list[Outcome] = []
        for worker in list(self._workers):
            if worker.connection in ready or worker.process.sentinel in ready:
                outcomes += self._listen(worker)
        return outcomes + self._limits()

    def request_stop(self) -> None:
        """Drop what is queued and ask running tasks to end soon (``should_stop``)."""
        self._queue.clear()
        self._stop.set()

    def close(self) -> None:
        """End all workers, at once."""
        for worker in self._workers:
            end_group(worker.process.pid)
        for worker in list(self._workers):
            self._remove(worker)
        self._guard.close()

    # --- whose turn it is ---------------------------------------------------------------------------------------------

    def _assign(self) -> None:
        while self._queue:
            worker = self._worker_for(self._queue[0].owner)
            if worker is None:
                return
            worker.task, worker.heard, worker.tell = self._queue.popleft(), time.monotonic(), QUIET_S
            # If it died while idle, _listen finds out and gives the task to another.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                worker.connection.send((worker.task.function, worker.task.args))

    def _worker_for(self, owner: Hashable) -> _Worker | None:
        """An idle worker that has served this owner alone, or a new one in place of one that served another."""
        idle = [worker for worker in self._workers if worker.task is None]
        own = next((worker for worker in idle if worker.owner == owner), None)
        if own is not None:
            return own
        if len(self._workers) >= self.size:
            if not idle:
                return None
            end_group(idle[0].process.pid)
            self._remove(idle[0])
        return self._start(owner)

    def _start(self, owner: Hashable) -> _Worker:
        here, there = self._context.Pipe()
        environment = {**os.environ, **ONE_THREAD}  # the process it is forked from has that of an earlier time
        process = self._context.Process(target=_serve, args=(there, self._stop, environment), daemon=True)
        with _not_from_here():
            process.start()
        there.close()
        assert process.pid is not None
        self._guard.add(process.pid)
        worker = _Worker(process, here, owner)
        self._workers.append(worker)
        return worker

    def _remove(self, worker: _Worker) -> None:
        worker.process.join()
        worker.connection.close()
        self._guard.remove(worker.process.pid)
        self._workers.remove(worker)

    # --- what they say ------------------------------------------------------------------------------------------------

    def _listen(self, worker: _Worker) -> list[Outcome]:
        outcomes = []
        worker.heard, worker.tell = time.monotonic(), QUIET_S
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
        end_group(worker.process.pid)  # what it started
        self._remove(worker)
        task = worker.task
        if task is None:
            return []
        task.deaths += 1
        if task.deaths < MAX_DEATHS:
            self.submit(task, first=True)
            return []
        code = worker.process.exitcode
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        often = ", as a system does that runs out of memory" if code == -signal.SIGKILL else ""
        return [Outcome(task, error="WorkerDied", message=f"its worker died {task.deaths} times, last by {how}{often}")]

    # --- what they may not do -----------------------------------------------------------------------------------------

    def _limits(self) -> list[Outcome]:
        """End workers that have made no progress for too long, or hold too much memory."""
        now = time.monotonic()
        if now - self._looked < _LOOK_S:
            return []
        self._looked = now
        outcomes = []
        for worker in [worker for worker in self._workers if worker.task is not None]:
            assert worker.task is not None
            silent, pid = now - worker.heard, worker.process.pid
            held = resident_bytes(pid)
            if held > self._memory:
                gib = f"{held / 2**30:.1f} GiB, more than the {self._memory / 2**30:.1f} GiB that a worker may hold"
                outcomes.append(self._end(worker, "MemoryLimit", f"its worker held {gib}"))
            elif silent > self._stall_s:
                how = f"process {pid} was {process_state(pid)}"
                text = f"no progress for {_minutes(silent)} ({how}), so its worker was ended"
                outcomes.append(self._end(worker, "Stalled", text))
            elif silent > worker.tell:
                worker.tell *= 2
                self._on_event(worker.task.tag, "quiet", {"seconds": silent, "pid": pid, "state": process_state(pid)})
        return outcomes

    def _end(self, worker: _Worker, error: str, message: str) -> Outcome:
        task = worker.task
        assert task is not None
        end_group(worker.process.pid)
        self._remove(worker)
        return Outcome(task, error=error, message=message)


# Errors of the pool itself: their messages were written for the user.
ERRORS = frozenset({"WorkerDied", "MemoryLimit", "Stalled"})


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _serve(connection: Connection, stop: Any, environment: dict[str, str]) -> None:
    """Run tasks until the run closes the connection or is gone."""
    os.setsid()  # leads a group, with which all that it starts can be ended
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the run, which asks for a stop
    _die_with_parent()
    while True:
        try:
            function, args = connection.recv()
        except (EOFError, ConnectionResetError):
            return
        connection.send(_call(function, args, connection, stop))


def _call(function: str, args: tuple[Any, ...], connection: Connection, stop: Any) -> tuple[str, dict[str, Any]]:
    try:
        value = import_target(function)(
            *args, emit=lambda kind, data: connection.send((kind, data)), should_stop=stop.is_set
        )
    except (Exception, SystemExit) as error:  # a plugin may raise anything
        return "error", failure(error)
    return "done", {"value": value}


def failure(error: BaseException) -> dict[str, str]:
    """What an ``Outcome`` says of the exception that is being handled."""
    message = str(error).strip() or type(error).__name__
    return {"error": type(error).__name__, "message": message, "trace": traceback.format_exc()}


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        end_group(os.getpid())

    threading.Thread(target=watch, daemon=True).start()
