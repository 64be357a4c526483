"""The guard: a small process that ends the workers, and what they started, when their run is gone.

A worker that is stopped, or deep in native code, cannot notice that its run was killed. The run tells the guard on its
standard input which process groups are its own (``+PID``, ``-PID``); when that input ends, the guard kills what is
left.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys


class Guard:
    """The run's end of it; the process is started when there is something to guard."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def add(self, pid: int) -> None:
        """Guard the process group of a worker."""
        if self._process is None or self._process.poll() is not None:
            command = [sys.executable, "-P", "-m", "harness.store.guard"]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, text=True, start_new_session=True)
        self._say(f"+{pid}")

    def remove(self, pid: int) -> None:
        """A worker has ended."""
        self._say(f"-{pid}")

    def close(self) -> None:
        """End the guard, and with it all that it still guards."""
        if self._process is not None:
            assert self._process.stdin is not None
            with contextlib.suppress(OSError):
                self._process.stdin.close()
            self._process.wait()
            self._process = None

    def _say(self, line: str) -> None:
        if self._process is not None:
            assert self._process.stdin is not None
            with contextlib.suppress(OSError):  # it was killed; workers still watch their run themselves
                self._process.stdin.write(line + "\n")
                self._process.stdin.flush()


def end_group(pid: int) -> None:
    """Kill a worker and all that it started, unless that made itself a session of its own."""
    for kill in (os.killpg, os.kill):  # a worker that has just been forked does not lead a group yet
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(pid, signal.SIGKILL)


def main() -> None:
    """Read until the run is gone, then kill."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    guarded: set[int] = set()
    for line in sys.stdin:
        sign, pid = line[0], int(line[1:])
        (guarded.add if sign == "+" else guarded.discard)(pid)
    for pid in guarded:
        end_group(pid)


if __name__ == "__main__":
    main()
