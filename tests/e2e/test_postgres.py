"""A real MLflow server on PostgreSQL: two runs at once, and a server that dies in the middle."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from rows import put

from harness.results import result_folder
from harness.tracking.experiment import EXPERIMENT
from harness.tracking.mlflow import sync

pytestmark = pytest.mark.slow
PATIENCE_S = 120.0

# What a run tells MLflow: the rows that lie in its workdir, one after another. A line per row goes to the output.
RUN = """
import sys
from pathlib import Path
from types import SimpleNamespace
from harness.results import iterate_results
from harness.tracking.mlflow import MlflowTracking

workdir, plugin = Path(sys.argv[1]), MlflowTracking()
results = list(iterate_results(workdir))
plan = SimpleNamespace(suite=SimpleNamespace(name=results[0][1].suite, seeds=[0]), resolved_yaml="name: x", rows=["x"])
plugin.suite_started(plan, workdir)
for number, (folder, result) in enumerate(results):
    plugin.row_finished(result, folder)
    print(number, flush=True)
    if number >= int(sys.argv[2]):
        sys.stdin.readline()
plugin.suite_finished(plan, workdir, [result for _, result in results])
"""


def programs() -> Path | None:
    """Where PostgreSQL's programs are; Debian does not put them on the path."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    return max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URI of a PostgreSQL of our own, which ends with the tests."""
    pytest.importorskip("psycopg2", reason="psycopg2 is not installed")
    where = programs()
    if where is None or not (where / "initdb").exists():
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    user = None
    if os.geteuid() == 0:  # it refuses to run as root
        try:
            user = pwd.getpwnam("postgres").pw_name
        except KeyError:
            pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
    folder = Path(tmp_path_factory.mktemp("postgres", numbered=True))
    if user is not None:
        folder = Path(
            subprocess.run(["mktemp", "-d"], user=user, capture_output=True, text=True, check=True).stdout.strip()
        )
    data, port = folder / "data", free_port()
    make = [str(where / "initdb"), "-D", str(data), "-U", "mlflow", "-A", "trust", "--no-sync"]
    done = subprocess.run(make, user=user, cwd="/", capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"PostgreSQL cannot be started here: {done.stderr.strip()}")
    serve = [str(where / "postgres"), "-D", str(data), "-p", str(port), "-k", str(folder), "-h", "127.0.0.1"]
    with subprocess.Popen(serve, user=user, cwd="/", stderr=subprocess.DEVNULL) as server:
        try:
            ready = [str(where / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
            wait_until(lambda: subprocess.run(ready, check=False).returncode == 0)
            yield f"postgresql+psycopg2://mlflow@127.0.0.1:{port}/postgres"
        finally:
            server.send_signal(signal.SIGINT)  # ends at once, in order
            server.wait(60)
            shutil.rmtree(folder, ignore_errors=True)


def wait_until(true: Any) -> None:
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.2)


@contextmanager
def mlflow_server(database: str, files: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """MLflow's own server process with two workers, whose clients send files to it."""
    call = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "2"]
    call += ["--backend-store-uri", database, "--artifacts-destination", str(files)]
    env = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    env.pop("MLFLOW_TRACKING_URI", None)

    def up() -> bool:
        assert server.poll() is None, "MLflow's server ended"
        try:
            with urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                return True
        except OSError:
            return False

    log = files.parent / "server.log"
    with (
        log.open("ab") as out,
        subprocess.Popen(call, env=env, stdout=out, stderr=out, start_new_session=True) as server,
    ):
        try:
            wait_until(up)
            yield server
        finally:
            kill(server)


def kill(server: subprocess.Popen[bytes]) -> None:
    """As the kernel does when memory runs out: without a word, its workers too."""
    if server.poll() is None:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait(30)


@pytest.fixture
def uri(monkeypatch: pytest.MonkeyPatch) -> str:
    """The address that a server is going to have; runs and ``sync`` write to it."""
    address = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", f"{EXPERIMENT}-{address.rpartition(':')[2]}")
    return address


def workdir_of(folder: Path, suite: str, rows: int) -> Path:
    for number in range(rows):
        put(folder, f"row-{number}", 0, 0.9 - 0.05 * number, suite=suite)
    return folder


def start(workdir: Path, pause_after: int) -> subprocess.Popen[str]:
    """A run in a process of its own; it waits for a line of input after that many rows."""
    call = [sys.executable, "-c", RUN, str(workdir), str(pause_after)]
    return subprocess.Popen(call, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def current(uri: str) -> tuple[Any, list[Any]]:
    """The experiment, and its current runs of rows."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(os.environ["MLFLOW_EXPERIMENT_NAME"])
    if experiment is None:
        return None, []
    wanted = "tags.\"harness.kind\" = 'row' and tags.\"harness.current\" = 'yes'"
    return experiment, list(client.search_runs([experiment.experiment_id], wanted))


def is_whole(client: Any, run: Any, workdir: Path) -> None:
    """A run holds its metrics, curve, datasets, model, files and status."""
    assert run.info.status == "FINISHED"
    assert {"fw-lfw/accuracy", "fw-cfp/accuracy", "average/accuracy"} <= run.data.metrics.keys()
    assert [point.step for point in client.get_metric_history(run.info.run_id, "train/loss")] == list(range(20))
    assert {given.dataset.name for given in run.inputs.dataset_inputs} == {"fw-lfw", "fw-cfp"}
    assert len(run.outputs.model_outputs) == 1
    tags = run.data.tags
    assert result_folder(workdir, tags["harness.suite"], tags["harness.row"], 0).is_dir()
    name = f"{tags['harness.suite']}.{tags['harness.row']}"
    assert client.get_model_version_by_alias(name, "seed-0").run_id == run.info.run_id
    paths = {item.path for item in client.list_artifacts(run.info.run_id)}
    assert paths == {"results.json", "figures", "tables"}


def test_two_runs_at_once_on_postgres(database: str, uri: str, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    workdirs = [workdir_of(tmp_path / name, name, 4) for name in ("one", "two")]
    with mlflow_server(database, tmp_path / "files", int(uri.rpartition(":")[2])):
        both = [start(workdir, 99) for workdir in workdirs]
        for run in both:
            _, said = run.communicate(timeout=PATIENCE_S)
            assert "off for this run" not in said, said
            assert run.returncode == 0, said
        experiment, found = current(uri)
        assert len(found) == 8
        client = MlflowClient(uri)
        for run in found:
            is_whole(client, run, tmp_path / run.data.tags["harness.suite"])
        note = experiment.tags["mlflow.note.content"]
        assert "### [one](" in note
        assert "### [two](" in note
        for workdir in workdirs:
            assert sync(workdir).unchanged == 4
        assert current(uri)[0].tags == experiment.tags


def test_a_server_that_dies_in_the_middle_loses_nothing(database: str, uri: str, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    workdir = workdir_of(tmp_path / "run", "run", 4)
    port = int(uri.rpartition(":")[2])
    with mlflow_server(database, tmp_path / "files", port) as server:
        run = start(workdir, 1)
        wait_until(lambda: current(uri)[1])  # in the middle of the first two rows
        kill(server)
    _, said = run.communicate("\n" * 9, timeout=PATIENCE_S)
    assert run.returncode == 0, said
    assert said.count("MLflow tracking is off for this run") == 1, said
    assert "`harness sync` fills it later" in said
    with mlflow_server(database, tmp_path / "files", port):
        assert len(current(uri)[1]) < 4
        report = sync(workdir)
        assert report.created + report.updated + report.unchanged == 4
        assert report.created > 0
        client, (_, found) = MlflowClient(uri), current(uri)
        assert sorted(each.info.run_name for each in found) == [f"row-{number}, seed 0" for number in range(4)]
        for each in found:
            is_whole(client, each, workdir)
        assert sync(workdir).unchanged == 4
