"""Work off the caller's thread: done in order, never waited for unless asked, and then within limits."""

from __future__ import annotations

import atexit
import ctypes
import threading
import time
from collections import deque
from collections.abc import Callable

EXIT_S = 2.0  # the end of the process waits so long for the action that is being done to break off


class Background:
    """One thread and its queue. The first action that fails ends it: later ones would be out of order.

    The thread is a daemon: the process ends without it, even when it hangs in a request. An action that is being done
    then is broken off by SystemExit.

    Attributes:
        error: what the failed action raised.
    """

    def __init__(self, name: str) -> None:
        self.error: BaseException | None = None
        self._queue: deque[Callable[[], object]] = deque()
        self._news = threading.Condition()
        self._stopped = False
        self._progress = time.monotonic()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()
        atexit.register(self._break_off)

    @property
    def busy(self) -> bool:
        """Whether something is done or waits to be done."""
        return bool(self._queue)

    def put(self, action: Callable[[], object]) -> None:
        """Queue an action; returns at once. Nothing is done any more after a failure or a stop."""
        with self._news:
            if self._stopped:
                return
            if not self._queue:
                self._progress = time.monotonic()
            self._queue.append(action)
            self._news.notify_all()

    def advance(self) -> None:
        """Say, from within a long action, that it goes on."""
        with self._news:
            self._progress = time.monotonic()

    def wait(self, quiet_s: float, limit_s: float) -> bool:
        """Wait until the queue is empty, and say whether it is.

        Args:
            quiet_s: the longest time in seconds that may pass without progress, counted from the last.
            limit_s: the longest time in seconds to wait in all.
        """
        end = time.monotonic() + limit_s
        with self._news:
            while self._queue:
                left = min(self._progress + quiet_s, end) - time.monotonic()
                if left <= 0:
                    return False
                self._news.wait(left)
        return True

    def stop(self) -> None:
        """Begin no further action."""
        with self._news:
            self._stopped = True
            self._queue.clear()
            self._news.notify_all()

    def _work(self) -> None:
        try:
            while (action := self._next()) is not None:
                action()
                self._done()
        except BaseException as error:  # whatever it is, it must not be lost with the thread
            self.error = error
            self.stop()
        atexit.unregister(self._break_off)

    def _next(self) -> Callable[[], object] | None:
        """The action to do now, which stays in the queue until it is done; None at the end."""
        with self._news:
            while not self._queue and not self._stopped:
                self._news.wait()
            return None if self._stopped else self._queue[0]

    def _done(self) -> None:
        with self._news:
            if self._queue:  # it was not stopped meanwhile
                self._queue.popleft()
            self._progress = time.monotonic()
            self._news.notify_all()

    def _break_off(self) -> None:
        """End the thread at the end of the process: one that still runs Python code then can abort the interpreter."""
        self.stop()
        number = ctypes.c_ulong(self._thread.ident or 0)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(number, ctypes.py_object(SystemExit))
        self._thread.join(EXIT_S)
