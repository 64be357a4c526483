"""A real run's MLflow store, read back through the client, deleted and filled again."""

import shutil
import socket
import subprocess
import time

import pytest
from suites import TINY, command, environment

from harness.results import iterate_results
from harness.tracking.experiment import EXPERIMENT
from harness.tracking.uris import store_uri


@pytest.fixture
def client(tiny, monkeypatch):
    from mlflow import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    return MlflowClient(store_uri(tiny[0]))


def all_runs(client):
    experiment = client.get_experiment_by_name(EXPERIMENT)
    return client.search_runs([experiment.experiment_id])


def test_parent_and_children_hold_what_the_result_files_say(tiny, client):
    results = {result.row: result for _, result in iterate_results(tiny[0])}
    runs = all_runs(client)
    (parent,) = [run for run in runs if run.data.tags["harness.kind"] == "suite"]
    children = {run.data.tags["harness.row"]: run for run in runs if run.data.tags["harness.kind"] == "row"}
    assert set(children) == set(results)
    assert "suite.yaml" in {item.path for item in client.list_artifacts(parent.info.run_id)}
    for row, run in children.items():
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.data.params["generator"] == results[row].generator
        for metric in results[row].metrics:
            if metric.headline:
                assert run.data.metrics[metric.name] == pytest.approx(metric.value)
            else:
                assert metric.name not in run.data.metrics
        paths = {item.path for item in client.list_artifacts(run.info.run_id)}
        assert "results.json" in paths
        figures = {item.path for item in client.list_artifacts(run.info.run_id, "figures")}
        assert any("samples" in path for path in figures)
        assert any("scores" in path for path in figures)


def test_sync_rebuilds_a_deleted_store_and_then_changes_nothing(tiny, tmp_path):
    from mlflow import MlflowClient

    workdir = tmp_path / "copy"
    (workdir / "results").parent.mkdir()
    shutil.copytree(tiny[0] / "results", workdir / "results")
    for _ in range(2):
        done = subprocess.run(
            command("sync"), env=environment(workdir), capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr
    assert "unchanged" in (done.stdout + done.stderr)
    client = MlflowClient(store_uri(workdir))
    runs = all_runs(client)
    assert len(runs) == 1 + len(list(iterate_results(workdir)))
    for run in runs:
        for name in run.data.metrics:
            steps = [point.step for point in client.get_metric_history(run.info.run_id, name)]
            assert len(steps) == len(set(steps))


def test_a_server_that_never_answers_does_not_hold_up_a_run(tiny, tmp_path):
    workdir = tmp_path / "copy"
    shutil.copytree(tiny[0], workdir)
    before = dict(iterate_results(workdir))
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the system takes the connections
        uri = f"http://me:hunter22@127.0.0.1:{silent.getsockname()[1]}"
        started = time.monotonic()
        done = subprocess.run(
            command("run", str(TINY), "--workers", "2"),
            env={**environment(workdir), "MLFLOW_TRACKING_URI": uri},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert time.monotonic() - started < 100
    assert done.returncode == 0, done.stderr
    assert "MLflow tracking is off for this run" in done.stderr
    assert "http://***@127.0.0.1" in done.stdout
    assert "hunter22" not in done.stdout + done.stderr
    assert dict(iterate_results(workdir)) == before
