"""``harness ui`` shows MLflow's interface on the right store; ``harness sync`` fills the store from result files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from harness.cli.options import workdir_option
from harness.cli.signals import signals_raise
from harness.errors import HarnessError, InputError

HOST = "127.0.0.1"
START_LIMIT_S = 120.0
STOP_LIMIT_S = 10.0


@click.command()
@workdir_option
def sync(workdir: Path) -> None:
    """Fill MLflow from the result files. What is there and unchanged is left alone.

    A damaged result file is named and left out; the exit status is then 1.
    """
    from harness.tracking.mlflow import sync as fill

    if not (workdir / "results").is_dir():
        raise InputError(f"no results under {workdir / 'results'}; run a suite first or name its --workdir")
    report = fill(workdir)
    changes = f"{report.created} created, {report.updated} updated, {report.unchanged} unchanged"
    damaged = f", {len(report.damaged)} damaged and left out" if report.damaged else ""
    click.echo(f"{report.store}: {changes}{damaged}")
    sys.exit(1 if report.damaged else 0)


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=5000, show_default=True, help="0 takes any free port.")
@workdir_option
def ui(port: int, workdir: Path) -> None:
    """Show MLflow's interface on the store of the workdir, until Ctrl-C."""
    from harness.tracking.store import database_fault
    from harness.tracking.uris import is_server, own_store, shown, store_uri

    uri, database = store_uri(workdir), own_store(workdir)
    if is_server(uri):
        click.echo(f"MLFLOW_TRACKING_URI names a server that runs already: {shown(uri)}")
        return
    if database is not None and (not database.is_file() or database_fault(database)):
        filled = any((workdir / "results").glob("*/*/seed-*/results.json"))
        todo = "fill it with `harness sync`" if filled else "run a suite first or name its --workdir"
        raise InputError(f"no MLflow store at {database}; {todo}")
    serve(uri, _free_port(port), workdir)


def serve(uri: str, port: int, workdir: Path) -> None:
    """Run MLflow's server as a child until it ends or this process is told to; the child ends with this process."""
    from harness.tracking.uris import artifact_location, own_store, shown

    url = f"http://{HOST}:{port}"
    command = [sys.executable, "-P", "-m", "mlflow", "server", "--host", HOST]
    command += ["--port", str(port), "--workers", "1", "--uvicorn-opts", "--log-level warning"]
    if location := artifact_location(workdir):
        command += ["--default-artifact-root", location]
    settings = {
        "MLFLOW_BACKEND_STORE_URI": uri,  # not an argument: all users of the machine can read those
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_LOGGING_LEVEL": "WARNING",
        "PYTHONWARNINGS": "ignore",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # no second server for jobs that nobody starts here
    }
    folder = None if own_store(workdir) is None else workdir  # a relative URI is relative to this folder
    click.echo(f"MLflow starts on {url}, store {shown(uri)}")
    with signals_raise(), _child(command, {**os.environ, **settings}, folder, uri) as child:
        _wait_until_up(child, url)
        click.echo(f"MLflow is on {url} (Ctrl-C ends it)")
        if address := _leaderboard(url):
            click.echo(f"the leaderboard: {address}")
        if status := child.wait():
            raise HarnessError(f"MLflow's server ended with status {status}; what it printed stands above")


@contextmanager
def _child(
    command: list[str], env: dict[str, str] | None, folder: Path | None, uri: str = ""
) -> Iterator[subprocess.Popen[bytes]]:
    """A child in a process group of its own, which is gone when the context ends, however it ends.

    What it prints appears without the credentials of the URI.
    """
    from harness.tracking.uris import has_secrets

    out, err = (subprocess.PIPE, subprocess.STDOUT) if has_secrets(uri) else (None, None)
    stops = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, stops)  # until it is known which child has to end

    def prepare() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        _end_with_parent()

    try:
        child = subprocess.Popen(
            command, env=env, cwd=folder, stdout=out, stderr=err, start_new_session=True, preexec_fn=prepare
        )
    except BaseException:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        raise
    printer = threading.Thread(target=_print, args=(child, uri), daemon=True)
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if child.stdout is not None:
            printer.start()
        yield child
    except KeyboardInterrupt:
        click.echo("stopped")
    finally:
        _end_group(child)
        if printer.is_alive():
            printer.join(STOP_LIMIT_S)


def _print(child: subprocess.Popen[bytes], uri: str) -> None:
    """Pass on what the child prints."""
    from harness.tracking.uris import cleaned

    assert child.stdout is not None
    for line in child.stdout:
        click.echo(cleaned(line.decode(errors="replace"), uri), err=True, nl=False)


def _end_group(child: subprocess.Popen[bytes]) -> None:
    """Ask the child's group to end, and make it end if it does not."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, number)
        except ProcessLookupError:
            break
        try:
            child.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            continue
    child.wait()


def _end_with_parent() -> None:
    """In the child: ask Linux for SIGTERM when the parent is gone, even if it was killed. MLflow passes it on."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # 1 is PR_SET_PDEATHSIG


def _wait_until_up(child: subprocess.Popen[bytes], url: str) -> None:
    from urllib.error import URLError
    from urllib.request import urlopen

    end = time.monotonic() + START_LIMIT_S
    while child.poll() is None and time.monotonic() < end:
        try:
            with urlopen(f"{url}/health", timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.2)
    raise HarnessError(f"MLflow's server did not answer on {url}; what it printed stands above")


def _leaderboard(url: str) -> str:
    """The address of the saved view with the leaderboard; empty if there is none."""
    from urllib.error import URLError
    from urllib.parse import urlencode
    from urllib.request import urlopen

    from harness.tracking.experiment import experiment_name
    from harness.tracking.views import VIEW_TAG, view_address

    query = urlencode({"experiment_name": experiment_name()})
    try:
        with urlopen(f"{url}/api/2.0/mlflow/experiments/get-by-name?{query}", timeout=5) as answer:
            found = json.load(answer)["experiment"]
    except (URLError, OSError, ValueError, KeyError):
        return ""
    there = any(tag["key"] == f"{VIEW_TAG}leaderboard" for tag in found.get("tags", ()))
    return f"{url}/{view_address(found['experiment_id'], 'leaderboard')}" if there else ""


def _free_port(port: int) -> int:
    """The port itself if it is free; 0 stands for any free one."""
    import socket

    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise InputError(f"port {port} is in use ({error.strerror}); choose another with --port, or 0") from error
        return int(probe.getsockname()[1])
