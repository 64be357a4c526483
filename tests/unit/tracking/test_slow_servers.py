"""A server that drips bytes or never answers holds up neither the start of a run nor its end nor the process."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

# Prints the seconds that each event took. What MLflow itself costs to import is not the matter here.
RUN = """
import sys, time
from pathlib import Path
from types import SimpleNamespace
import mlflow
from harness.tracking import mlflow as tracking

tracking.QUIET_S, tracking.END_S, tracking.TELL_S = 3.0, 6.0, 1.0
plan = SimpleNamespace(suite=SimpleNamespace(name="demo"), resolved_yaml="name: demo", rows=["toy"])
workdir = Path(sys.argv[1])
plugin = tracking.MlflowTracking()

started = time.monotonic()
plugin.suite_started(plan, workdir)
print(time.monotonic() - started, flush=True)
time.sleep(2.0)  # stages
started = time.monotonic()
if sys.argv[2] == "finish":
    plugin.suite_finished(plan, workdir, [])
print(time.monotonic() - started, flush=True)
"""
SYNC = """
import sys
from pathlib import Path
from harness.cli import main
from harness.tracking import mlflow as tracking

tracking.SYNC_QUIET_S = 5.0
main(["sync", "--workdir", sys.argv[1]])
"""


class Server:
    """Takes every connection. It then sends one byte of an answer at a time, or nothing."""

    def __init__(self, drips: bool) -> None:
        self.asked = 0
        self._drips, self._over, self._taken = drips, threading.Event(), list[socket.socket]()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.uri = f"http://someone:hunter22@127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._over.set()
        for one in (self._socket, *self._taken):
            one.close()

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.asked += 1
            self._taken.append(connection)
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n"
        try:
            for byte in head + b" " * 100_000:
                if self._drips:
                    connection.sendall(bytes([byte]))
                if self._over.wait(0.2):
                    return
        except OSError:
            return


@contextmanager
def serving(drips: bool) -> Iterator[Server]:
    server = Server(drips)
    try:
        yield server
    finally:
        server.close()


def start(code: str, server: Server, *args: str) -> subprocess.CompletedProcess[str]:
    """Run code against the server to its end."""
    env = {**os.environ, "MLFLOW_TRACKING_URI": server.uri}
    command = [sys.executable, "-c", code, *args]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("drips", [True, False], ids=["drips", "silent"])
def test_a_run_starts_at_once_and_ends_in_time(tmp_path: Path, drips: bool) -> None:
    with serving(drips) as server:
        done = start(RUN, server, str(tmp_path), "finish")
        assert server.asked
    assert done.returncode == 0, done.stderr
    begin, end = (float(line) for line in done.stdout.split())
    assert begin < 0.5
    assert end < 6.5
    waiting, off = done.stderr.splitlines()
    assert "is still being filled" in waiting
    assert "off for this run" in off
    assert "`harness sync` fills it later" in off
    assert "hunter22" not in done.stderr


@pytest.mark.parametrize("drips", [True, False], ids=["drips", "silent"])
def test_a_hanging_thread_does_not_keep_the_process(tmp_path: Path, drips: bool) -> None:
    with serving(drips) as server:
        process = subprocess.Popen(
            [sys.executable, "-c", RUN, str(tmp_path), "crash"],
            env={**os.environ, "MLFLOW_TRACKING_URI": server.uri},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        list(process.stdout)  # both events are over
        started = time.monotonic()
        assert process.communicate(timeout=20) == ("", "")
        assert time.monotonic() - started < 4.0
        assert process.returncode == 0
        assert server.asked


def test_sync_gives_up_too(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    with serving(drips=True) as server:
        done = start(SYNC, server, str(tmp_path))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "no answer for 5 s" in line
    assert "http://***@127.0.0.1" in line
    assert "hunter22" not in line
