"""``harness ui`` and ``harness sync`` from the outside: the server answers, and nothing of it stays behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import psutil
import pytest
from click.testing import CliRunner

from harness.cli.ui import sync, ui
from harness.errors import InputError
from harness.results import Result
from harness.tracking.mlflow import EXPERIMENT
from harness.tracking.mlflow import sync as fill

UI = "from harness.cli.ui import ui; ui()"
CHILD = """
from harness.cli.signals import signals_raise
from harness.cli.ui import _child
with signals_raise(), _child(["sh", "-c", "sleep 100 & echo up; wait"], None, None) as child:
    child.wait()
"""


@contextmanager
def running(workdir: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """``harness ui`` on a free port, once it says that it is up; what is left of it afterwards is ended."""
    command = [sys.executable, "-c", UI, "--port", "0", "--workdir", str(workdir)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    assert process.stdout is not None
    try:
        url = next(line.split()[3] for line in process.stdout if line.startswith("MLflow is on"))
        yield process, url
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)


def get(url: str) -> Any:
    with urlopen(url, timeout=20) as answer:
        return answer.read()


def post(url: str, body: dict[str, Any]) -> Any:
    request = Request(url, data=json.dumps(body).encode(), headers={"Content-Type": "application/json"})
    with urlopen(request, timeout=20) as answer:
        return json.loads(answer.read())


def test_the_server_shows_the_runs_and_ends(
    workdir: Path, make: Callable[..., Result], put: Callable[[Result], Path]
) -> None:
    put(make())
    fill(workdir)
    with running(workdir) as (process, url):
        assert get(f"{url}/health") == b"OK"
        found = json.loads(get(f"{url}/api/2.0/mlflow/experiments/get-by-name?experiment_name={EXPERIMENT}"))
        experiment = found["experiment"]["experiment_id"]
        answer = post(f"{url}/api/2.0/mlflow/runs/search", {"experiment_ids": [experiment]})
        names = {run["info"]["run_name"]: run["info"]["run_id"] for run in answer["runs"]}
        assert set(names) == {"demo", "toy, seed 0"}
        shown = get(f"{url}/get-artifact?path=results.json&run_uuid={names['toy, seed 0']}")
        assert json.loads(shown)["row"] == "toy"
        family = psutil.Process(process.pid).children(recursive=True)
        assert family
        process.kill()  # the hardest end: it cannot clean up after itself
        process.wait()
        _, alive = psutil.wait_procs(family, timeout=20)
        assert not alive


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_child_and_its_children(number: signal.Signals) -> None:
    process = subprocess.Popen([sys.executable, "-c", CHILD], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) == 2
    process.send_signal(number)
    assert process.communicate(timeout=20)[0] == "stopped\n"
    assert process.returncode == 0
    assert not psutil.wait_procs(family, timeout=2)[1]


def test_no_store_says_what_to_do(
    tmp_path: Path, workdir: Path, make: Callable[..., Result], put: Callable[[Result], Path]
) -> None:
    outcome = CliRunner().invoke(ui, ["--workdir", str(tmp_path / "none")])
    assert isinstance(outcome.exception, InputError)
    assert "run a suite first" in str(outcome.exception)
    put(make())
    (workdir / "mlflow.db").unlink()
    outcome = CliRunner().invoke(ui, ["--workdir", str(workdir)])
    assert "fill it with `harness sync`" in str(outcome.exception)


def test_a_taken_port_says_what_to_do(workdir: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        outcome = CliRunner().invoke(ui, ["--workdir", str(workdir), "--port", port])
    assert isinstance(outcome.exception, InputError)
    assert f"port {port} is in use" in str(outcome.exception)


def test_a_server_that_runs_already_is_named(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking.example:5000")
    outcome = CliRunner().invoke(ui, ["--workdir", str(workdir)])
    assert outcome.exit_code == 0
    assert "http://tracking.example:5000" in outcome.output


def test_sync_command(workdir: Path, make: Callable[..., Result], put: Callable[[Result], Path]) -> None:
    outcome = CliRunner().invoke(sync, [], env={"HARNESS_WORKDIR": str(workdir)})
    assert isinstance(outcome.exception, InputError)
    put(make())
    outcome = CliRunner().invoke(sync, [], env={"HARNESS_WORKDIR": str(workdir)})
    assert "1 created, 0 updated, 0 unchanged" in outcome.output
