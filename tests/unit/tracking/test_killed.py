"""Processes that are killed while they write MLflow's database leave nothing that ``sync`` does not mend."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.errors import DataError
from harness.results import Result
from harness.tracking.experiment import EXPERIMENT
from harness.tracking.mlflow import sync
from harness.tracking.store import client, database_fault
from harness.tracking.tracker import OWNER_FILE
from harness.tracking.uris import STORE_FILE, store_uri

Make = Callable[..., Result]
Put = Callable[[Result], Path]

# Does one thing per line of input, "VERB PATH STATEMENT", in a fork that is killed after that many SQL statements.
CHILD = """
import os, signal, sys
from pathlib import Path
from sqlalchemy import event
from sqlalchemy.engine import Engine
from harness.tracking.mlflow import sync
from harness.tracking.store import client, set_environment

set_environment(Path("runs"))
import mlflow.store.tracking.sqlalchemy_store

for line in sys.stdin:
    verb, path, last = line.split()
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        continue
    count = 0

    @event.listens_for(Engine, "after_cursor_execute")
    def _kill(*_):
        global count
        count += 1
        if count == int(last):
            os.kill(os.getpid(), signal.SIGKILL)

    client(f"sqlite:///{path}") if verb == "make" else sync(Path(path))
    os._exit(0)
"""


def kill(*lines: str) -> None:
    """Do what the lines say, each in a process that is killed on the way."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD], input="\n".join(lines), text=True, timeout=300, check=False, capture_output=True
    )
    assert done.returncode == 0, done.stderr


def model_of(opened: Any, output: Any) -> Any:
    return opened.get_logged_model(output.model_id)


def current(workdir: Path) -> dict[str, Any]:
    """What the current runs say, by name."""
    opened = client(store_uri(workdir))
    experiment = opened.get_experiment_by_name(EXPERIMENT)
    found = opened.search_runs([experiment.experiment_id], "tags.\"harness.current\" = 'yes'")
    assert len({run.info.run_name for run in found}) == len(found)
    points = {run.info.run_name: opened.get_metric_history(run.info.run_id, "train/loss") for run in found}
    return {
        run.info.run_name: (
            run.info.status,
            run.info.start_time,
            run.info.end_time,
            run.data.params,
            run.data.metrics,
            [(point.step, point.value) for point in points[run.info.run_name]],
            {
                name: text
                for name, text in run.data.tags.items()
                if name.startswith("harness.") and "supers" not in name
            },
            sorted(item.path for item in opened.list_artifacts(run.info.run_id)),
            sorted((given.dataset.name, given.dataset.digest) for given in run.inputs.dataset_inputs),
            [sorted(metric.key for metric in model_of(opened, output).metrics) for output in run.outputs.model_outputs],
            [version.aliases for version in opened.search_model_versions(f"run_id = '{run.info.run_id}'")],
        )
        for run in found
    }


@pytest.mark.slow
def test_a_database_that_mlflow_was_killed_over_is_made_anew(tmp_path: Path, make: Make, put: Put) -> None:
    moments = (1, 30, 90, 400, 800, 1500)
    folders = [tmp_path / f"at-{moment}" for moment in moments]
    for folder in folders:
        folder.mkdir()
    kill(*(f"make {folder / STORE_FILE} {moment}" for folder, moment in zip(folders, moments, strict=True)))
    faults = [database_fault(folder / STORE_FILE) for folder in folders]
    assert faults == ["is empty", *["is half made"] * 5]
    put(make())
    for folder in (folders[0], folders[2]):
        (tmp_path / "runs" / "results").rename(folder / "results")
        assert sync(folder).created == 1
        assert sync(folder).unchanged == 1
        assert len(current(folder)) == 2
        names = {path.name for path in folder.iterdir()}
        assert names - {f"{STORE_FILE}.unusable-1-journal"} == {
            STORE_FILE,
            f"{STORE_FILE}.unusable-1",
            "mlartifacts",
            "results",
        }
        (folder / "results").rename(tmp_path / "runs" / "results")


@pytest.mark.slow
def test_a_sync_that_was_killed_while_it_made_the_database_is_repeated(workdir: Path, make: Make, put: Put) -> None:
    put(make())
    (workdir / STORE_FILE).unlink()
    kill(*(f"sync {workdir} {moment}" for moment in (90, 1500)))
    assert not (workdir / STORE_FILE).exists()
    assert sync(workdir).created == 1
    assert {path.name for path in workdir.iterdir()} == {STORE_FILE, "mlartifacts", "results"}


@pytest.mark.slow
@pytest.mark.parametrize("again", [False, True], ids=["first", "superseding"])
def test_a_sync_that_was_killed_while_it_filled_is_repeated(
    workdir: Path, tmp_path: Path, make: Make, put: Put, again: bool
) -> None:
    (workdir / "results").mkdir()
    (workdir / "results" / OWNER_FILE).write_text("owner")
    moments = range(4, 160, 20)
    folders = [tmp_path / f"at-{moment}" for moment in moments]
    put(make())
    for folder in folders:
        shutil.copytree(workdir, folder)
        if again:
            sync(folder)
    if again:
        put(make(accuracy=0.9, finished=1_700_000_300.0))
    sync(workdir)
    for folder in folders:
        shutil.copytree(workdir / "results", folder / "results", dirs_exist_ok=True)
    kill(*(f"sync {folder} {moment}" for folder, moment in zip(folders, moments, strict=True)))
    for folder in folders:
        sync(folder)
        assert current(folder) == current(workdir), folder
        assert sync(folder).unchanged == 1


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, empty_store: Path) -> None:
    """A new database is a copy of one that MLflow made."""

    def copy(uri: str) -> None:
        shutil.copy(empty_store, uri.removeprefix("sqlite:///"))

    monkeypatch.setattr("harness.tracking.store.client", copy)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("damage", ["junk", "zeros in the middle", "cut"])
def test_a_damaged_database_is_made_anew(
    workdir: Path, make: Make, put: Put, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    put(make())
    sync(workdir)
    path = workdir / STORE_FILE
    whole = path.read_bytes()
    middle = len(whole) // 2
    bad = {
        "junk": b"no database" * 1000,
        "zeros in the middle": whole[:middle] + bytes(100_000) + whole[middle + 100_000 :],
        "cut": whole[:middle],
    }[damage]
    path.write_bytes(bad)
    assert sync(workdir).created == 1
    assert len(current(workdir)) == 2
    assert path.with_name(f"{STORE_FILE}.unusable-1").read_bytes() == bad
    (record,) = caplog.records
    assert f"is damaged; it is now {STORE_FILE}.unusable-1" in record.getMessage()


@pytest.mark.usefixtures("quick")
def test_a_journal_without_its_database_is_not_applied_to_the_next(workdir: Path, make: Make, put: Put) -> None:
    put(make())
    (workdir / STORE_FILE).unlink()
    (workdir / f"{STORE_FILE}-journal").write_bytes(b"of another database")
    assert sync(workdir).created == 1
    assert {path.name for path in workdir.iterdir()} == {STORE_FILE, "mlartifacts", "results"}


def test_a_locked_database_is_left_where_it_is(workdir: Path, make: Make, put: Put) -> None:
    put(make())
    code = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('BEGIN EXCLUSIVE'); print(); input()"
    command = [sys.executable, "-uc", code, str(workdir / STORE_FILE)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(DataError, match="database is locked"):
            sync(workdir)
        holder.stdin.close()
    assert sync(workdir).created == 1
    assert not list(workdir.glob("*unusable*"))
