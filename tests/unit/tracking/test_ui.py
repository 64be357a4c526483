"""``harness ui`` and ``harness sync`` from the outside: the server answers, and nothing of it stays behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.request import Request, urlopen

import psutil
import pytest
from click.testing import CliRunner

from harness.cli.ui import sync, ui
from harness.errors import InputError
from harness.results import Result
from harness.tracking.experiment import EXPERIMENT
from harness.tracking.mlflow import MlflowTracking
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
    assert not psutil.wait_procs(family, timeout=20)[1]


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


@pytest.mark.parametrize(
    "uri", ["http://me:hunter22@tracking.example:5000", "http://tracking.example:5000/?x=hunter22"]
)
def test_a_server_is_named_without_credentials(workdir: Path, monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    outcome = CliRunner().invoke(ui, ["--workdir", str(workdir)])
    assert outcome.exit_code == 0
    assert "tracking.example:5000" in outcome.output
    assert "hunter22" not in outcome.output


def test_no_process_is_told_the_uri_on_its_command_line(
    workdir: Path, make: Callable[..., Result], put: Callable[[Result], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(make())
    fill(workdir)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{workdir}/mlflow.db?timeout=7654321")
    with running(workdir) as (process, url):
        found = json.loads(get(f"{url}/api/2.0/mlflow/experiments/get-by-name?experiment_name={EXPERIMENT}"))
        assert found["experiment"]["name"] == EXPERIMENT
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        assert len(family) > 2
        assert not [one for one in family if "7654321" in " ".join(one.cmdline())]
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        assert "7654321" not in process.stdout.read()


@pytest.mark.parametrize("command", [["ui", "--port", "0"], ["sync"]])
def test_what_mlflow_says_of_a_wrong_uri_is_told_without_credentials(
    workdir: Path, make: Callable[..., Result], put: Callable[[Result], Path], command: list[str]
) -> None:
    put(make())
    done = subprocess.run(
        [sys.executable, "-m", "harness", "--debug", *command, "--workdir", str(workdir)],
        env={**os.environ, "MLFLOW_TRACKING_URI": "nonsense://me:hunter22@host/db"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode
    assert "nonsense://***@host/db" in done.stdout + done.stderr
    assert "hunter22" not in done.stdout + done.stderr


@pytest.mark.slow
def test_a_workdir_of_any_name_is_shown(
    workdir: Path, make: Callable[..., Result], put: Callable[[Result], Path]
) -> None:
    put(make())
    odd = workdir.rename(workdir.with_name("50%25 #1?"))
    fill(odd)
    with running(odd) as (_, url):
        found = json.loads(get(f"{url}/api/2.0/mlflow/experiments/get-by-name?experiment_name={EXPERIMENT}"))
        answer = post(f"{url}/api/2.0/mlflow/runs/search", {"experiment_ids": [found["experiment"]["experiment_id"]]})
        (run,) = [run["info"]["run_id"] for run in answer["runs"] if run["info"]["run_name"] == "toy, seed 0"]
        assert json.loads(get(f"{url}/get-artifact?path=results.json&run_uuid={run}"))["row"] == "toy"
    assert [path.name for path in odd.parent.iterdir()] == [odd.name]


@pytest.mark.slow
def test_two_workdirs_on_one_server(
    workdir: Path,
    tmp_path: Path,
    make: Callable[..., Result],
    put: Callable[[Result], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = put(make())
    second = tmp_path / "second"
    shutil.copytree(workdir / "results", second / "results")
    with running(workdir) as (_, url):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        assert fill(workdir).created == 1
        plugin = MlflowTracking()
        plan = SimpleNamespace(suite=SimpleNamespace(name="demo"), resolved_yaml="name: demo")
        plugin.suite_started(plan, second)  # type: ignore[arg-type]
        plugin.row_finished(make(), second / folder.relative_to(workdir))
        plugin.suite_finished(plan, second, [make()])  # type: ignore[arg-type]
        assert fill(second).unchanged == 1
        assert fill(workdir).unchanged == 1
        assert len(list((workdir / "mlartifacts").rglob("results.json"))) == 2  # the server decides
        assert not (second / "mlartifacts").exists()


def test_sync_command(workdir: Path, make: Callable[..., Result], put: Callable[[Result], Path]) -> None:
    outcome = CliRunner().invoke(sync, [], env={"HARNESS_WORKDIR": str(workdir)})
    assert isinstance(outcome.exception, InputError)
    put(make())
    outcome = CliRunner().invoke(sync, [], env={"HARNESS_WORKDIR": str(workdir)})
    assert "1 created, 0 updated, 0 unchanged" in outcome.output


def test_sync_ends_with_status_1_after_a_damaged_file(
    workdir: Path, make: Callable[..., Result], put: Callable[[Result], Path]
) -> None:
    (put(make("broken")) / "results.json").write_text("{")
    put(make())
    outcome = CliRunner().invoke(sync, ["--workdir", str(workdir)])
    assert "1 created, 0 updated, 0 unchanged, 1 damaged and left out" in outcome.output
    assert outcome.exit_code == 1


def test_a_half_made_store_is_not_shown(
    workdir: Path, make: Callable[..., Result], put: Callable[[Result], Path]
) -> None:
    put(make())
    (workdir / "mlflow.db").write_bytes(b"")
    outcome = CliRunner().invoke(ui, ["--workdir", str(workdir)])
    assert "fill it with `harness sync`" in str(outcome.exception)
