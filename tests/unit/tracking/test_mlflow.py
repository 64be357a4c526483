"""MLflow holds what the result files say, and filling it again changes nothing."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pluggy
import pytest

from harness import hookspecs
from harness.errors import DataError
from harness.results import Result
from harness.tracking.content import MAX_KEY_CHARS, clean_name
from harness.tracking.mlflow import EXPERIMENT, STORE_FILE, MlflowTracking, _client, store_uri, sync

Make = Callable[..., Result]
Put = Callable[[Result], Path]


def runs(workdir: Path, where: str = "", **tags: str) -> list[Any]:
    """The runs with these tags, oldest first."""
    client = _client(store_uri(workdir))
    experiment = client.get_experiment_by_name(EXPERIMENT)
    wanted = " and ".join([f"tags.\"harness.{name}\" = '{value}'" for name, value in tags.items()])
    return list(client.search_runs([experiment.experiment_id], wanted, order_by=["attributes.start_time ASC"]))


def files(workdir: Path, run: Any) -> list[str]:
    client = _client(store_uri(workdir))
    found = []
    for item in client.list_artifacts(run.info.run_id):
        found += [i.path for i in client.list_artifacts(run.info.run_id, item.path)] if item.is_dir else [item.path]
    return sorted(found)


def snapshot(workdir: Path) -> dict[str, Any]:
    """Everything a user can see in the store."""
    client = _client(store_uri(workdir))
    seen = {}
    for run in runs(workdir):
        history = {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
        points = {name: [(p.step, p.value, p.timestamp) for p in points] for name, points in history.items()}
        info = (run.info.status, run.info.start_time, run.info.end_time, run.info.run_name)
        seen[run.info.run_id] = (info, run.data.params, run.data.tags, points, files(workdir, run))
    return seen


def without_ids(seen: dict[str, Any]) -> list[Any]:
    """A snapshot without what MLflow itself makes up."""
    made_up = {"mlflow.parentRunId"}
    found = [(i, p, {k: v for k, v in t.items() if k not in made_up}, m, f) for i, p, t, m, f in seen.values()]
    return sorted(found, key=lambda item: str(item[0]))


def test_a_result_reads_back(workdir: Path, make: Make, put: Put) -> None:
    put(make())
    report = sync(workdir)
    assert (report.created, report.updated, report.unchanged) == (1, 0, 0)
    (parent,), (child,) = runs(workdir, kind="suite"), runs(workdir, kind="row")
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert (parent.info.run_name, child.info.run_name) == ("demo", "toy, seed 0")
    assert (parent.info.status, child.info.status) == ("FINISHED", "FINISHED")
    assert (child.info.start_time, child.info.end_time) == (1_700_000_000_000, 1_700_000_100_500)
    params = child.data.params
    assert (params["settings.gamma"], params["trainer.margin"], params["seed"]) == ("0.1", "cos@0.35", "0")
    assert len(params["long"]) == 6000
    metrics = child.data.metrics
    assert metrics["fw-lfw/accuracy"] == 0.8
    assert (metrics["fw-lfw/accuracy.low"], metrics["fw-lfw/accuracy.high"]) == pytest.approx((0.78, 0.82))
    assert metrics["fw-lfw/accuracy.std_folds"] == 0.01
    assert metrics["ijbc/tar_far_1e-4"] == 0.5
    assert (metrics["stages/generate/seconds"], metrics["stages/seconds"]) == (4.5, 6.5)
    tags = child.data.tags
    assert (tags["harness.suite"], tags["harness.row"], tags["harness.seed"]) == ("demo", "toy", "0")
    assert (tags["harness.recipe"], tags["harness.commercial_use"]) == ("sha256:recipe", "no")
    assert (tags["harness.shipped"], tags["harness.status"]) == ("ldm, judge", "done")
    assert (tags["harness.protocol.fw-lfw"], tags["harness.content.train"]) == ("sha256:lfw", "sha256:rec")
    assert files(workdir, child) == ["figures/scores.png", "results.json", "tables/pairs.csv"]
    assert files(workdir, parent) == ["suite.yaml"]


def test_curves_have_steps_and_times_come_from_the_result(workdir: Path, make: Make, put: Put) -> None:
    put(make())
    sync(workdir)
    (child,) = runs(workdir, kind="row")
    client = _client(store_uri(workdir))
    history = client.get_metric_history(child.info.run_id, "train/loss")
    assert [(point.step, point.value) for point in history] == [(0, 3.0), (10, 2.0), (20, 1.5)]
    assert {point.timestamp for point in history} == {1_700_000_100_500}


def test_twice_changes_nothing(workdir: Path, make: Make, put: Put) -> None:
    put(make())
    put(make(seed=1))
    put(make("other", status="failed", error="no faces", metrics=[], stages=[], curves={}))
    sync(workdir)
    before = snapshot(workdir)
    report = sync(workdir)
    assert (report.created, report.updated, report.unchanged) == (0, 0, 3)
    assert snapshot(workdir) == before


def test_a_deleted_store_is_rebuilt(tmp_path: Path, workdir: Path, make: Make, put: Put, empty_store: Path) -> None:
    put(make())
    put(make(seed=1))
    sync(workdir)
    before = without_ids(snapshot(workdir))
    shutil.copy(empty_store, workdir / STORE_FILE)
    shutil.rmtree(workdir / "mlartifacts")
    assert sync(workdir).created == 2
    assert without_ids(snapshot(workdir)) == before


def test_artifacts_lie_in_the_workdir(workdir: Path, make: Make, put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = workdir.parent / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    put(make())
    sync(workdir)
    assert not list(elsewhere.iterdir())
    assert len(list((workdir / "mlartifacts").rglob("results.json"))) == 1


def test_a_failed_row_is_a_failed_run_and_reopens_when_it_succeeds(workdir: Path, make: Make, put: Put) -> None:
    some = {"fit/loss": [(0, 1.0)]}
    put(make(status="failed", error="too few identities", metrics=[], curves=some, figures=[], tables=[]))
    sync(workdir)
    (failed,), (parent,) = runs(workdir, kind="row"), runs(workdir, kind="suite")
    assert (failed.info.status, parent.info.status) == ("FAILED", "FAILED")
    assert failed.data.tags["harness.error"] == "too few identities"
    put(make(curves={**some, "train/loss": [(0, 2.0), (1, 1.5)]}))
    assert sync(workdir).updated == 1
    (done,), (parent,) = runs(workdir, kind="row"), runs(workdir, kind="suite")
    assert done.info.run_id == failed.info.run_id
    assert (done.info.status, done.data.tags["harness.error"], parent.info.status) == ("FINISHED", "", "FINISHED")
    assert (done.data.metrics["fit/loss"], done.data.metrics["train/loss"]) == (1.0, 1.5)


def test_a_result_that_only_adds_reopens_its_run(workdir: Path, make: Make, put: Put) -> None:
    put(make())
    sync(workdir)
    (before,) = runs(workdir, kind="row")
    more = make().metrics + make(accuracy=0.7).model_copy().metrics[:1]
    more[-1] = more[-1].model_copy(update={"name": "fw-cfp/accuracy"})
    put(make(metrics=more, finished=1_700_000_200.0))
    assert sync(workdir).updated == 1
    (after,) = runs(workdir, kind="row")
    assert after.info.run_id == before.info.run_id
    assert after.data.metrics["fw-cfp/accuracy"] == 0.7
    history = _client(store_uri(workdir)).get_metric_history(after.info.run_id, "fw-lfw/accuracy")
    assert [point.value for point in history] == [0.8]


@pytest.mark.parametrize(
    "change", [{"accuracy": 0.9}, {"parameters": {"settings.gamma": 0.2}}, {"curves": {"train/loss": [(0, 1.0)]}}]
)
def test_a_result_that_contradicts_its_run_gets_a_new_one(
    workdir: Path, make: Make, put: Put, change: dict[str, Any]
) -> None:
    put(make())
    sync(workdir)
    (old,) = runs(workdir, kind="row")
    put(make(finished=1_700_000_300.0, **change))
    assert sync(workdir).updated == 1
    assert sync(workdir).unchanged == 1
    found = {run.info.run_id: run for run in runs(workdir, kind="row")}
    assert len(found) == 2
    new = found[found.pop(old.info.run_id).data.tags["harness.superseded_by"]]
    assert new.data.tags["harness.supersedes"] == old.info.run_id
    assert "superseded" in _client(store_uri(workdir)).get_run(old.info.run_id).info.run_name


def plan(name: str = "demo") -> Any:
    suite = SimpleNamespace(name=name, seeds=[0])
    return SimpleNamespace(suite=suite, resolved_yaml="name: demo\nseeds: [0]\n", rows=["toy"], labels=["generate toy"])


def test_the_event_plugin_leaves_nothing_for_sync(workdir: Path, make: Make, put: Put) -> None:
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(MlflowTracking())
    manager.check_pending()
    result = make()
    manager.hook.suite_started(plan=plan(), workdir=workdir)
    assert [run.info.status for run in runs(workdir, kind="suite")] == ["RUNNING"]
    folder = put(result)
    manager.hook.row_finished(result=result, folder=folder)
    manager.hook.suite_finished(plan=plan(), workdir=workdir, results=[result])
    before = snapshot(workdir)
    assert [run.info.status for run in runs(workdir)] == ["FINISHED", "FINISHED"]
    assert sync(workdir).unchanged == 1
    assert snapshot(workdir) == before


def test_a_broken_store_is_one_warning(
    workdir: Path, make: Make, put: Put, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://nowhere")
    plugin = MlflowTracking()
    with caplog.at_level(logging.WARNING, "harness"):
        plugin.suite_started(plan(), workdir)
        plugin.row_finished(make(), put(make()))
        plugin.suite_finished(plan(), workdir, [make()])
    (record,) = [r for r in caplog.records if r.name.startswith("harness")]
    assert "`harness sync` fills it later" in record.getMessage()
    assert len(record.getMessage().splitlines()) == 1
    with pytest.raises(DataError, match="nonsense") as caught:
        sync(workdir)
    assert len(str(caught.value).splitlines()) == 1


def test_two_workdirs_on_one_store_are_told_apart(
    workdir: Path, make: Make, put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{workdir / STORE_FILE}")
    put(make())
    second = tmp_path / "second"
    shutil.copytree(workdir / "results", second / "results")
    assert sync(workdir).created == 1
    assert sync(second).created == 1
    moved = tmp_path / "moved"
    shutil.copytree(second / "results", moved / "results")
    assert sync(moved).unchanged == 1  # the same results, copied from a cluster node for instance


def test_a_moved_workdir_says_what_to_do(workdir: Path, make: Make, put: Put) -> None:
    put(make())
    sync(workdir)
    moved = workdir.rename(workdir.with_name("moved"))
    with pytest.raises(DataError, match="made for another folder"):
        sync(moved)


def test_a_damaged_result_file_is_one_line(workdir: Path, make: Make, put: Put) -> None:
    (put(make()) / "results.json").write_text("{")
    with pytest.raises(DataError, match="not a result file") as caught:
        sync(workdir)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [
        ("ijbc/tar@far=1e-4", "ijbc/tar_far_1e-4"),
        ("/a//b/", "a/b"),
        ("../a", "_/a"),
        ("..", "_"),
        ("", "_"),
        ("größe", "gr__e"),
        ("plain name.x_y-z", "plain name.x_y-z"),
    ],
)
def test_names_are_made_fit_for_mlflow(name: str, cleaned: str) -> None:
    from mlflow.utils.validation import _validate_metric_name, _validate_param_name

    assert clean_name(name) == cleaned
    _validate_metric_name(clean_name(name))
    _validate_param_name(clean_name(name))


def test_long_names_are_cut_and_stay_apart() -> None:
    first, second = clean_name("a" * 300), clean_name("a" * 301)
    assert first != second
    assert len(first) == len(second) == MAX_KEY_CHARS


def test_importing_the_plugin_imports_no_mlflow() -> None:
    code = (
        "import sys, harness.tracking.mlflow, harness.tracking.terminal, harness.cli.ui, harness.cli.leaderboard;"
        "sys.exit(any(name in sys.modules for name in ('mlflow', 'torch', 'pandas', 'scipy', 'rich')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
