"""MLflow holds what the result files say, and filling it again changes nothing."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pluggy
import pytest

from harness import hookspecs
from harness.errors import DataError
from harness.results import Result, result_folder, write_result
from harness.tracking.content import MAX_KEY_CHARS, clean_name
from harness.tracking.experiment import EXPERIMENT
from harness.tracking.mlflow import MlflowTracking, sync
from harness.tracking.store import client as open_store
from harness.tracking.uris import STORE_FILE, store_uri

Make = Callable[..., Result]
Put = Callable[[Result], Path]


def runs(workdir: Path, **tags: str) -> list[Any]:
    """The runs with these tags, oldest first."""
    wanted = " and ".join([f"tags.\"harness.{name}\" = '{value}'" for name, value in tags.items()])
    return runs_of(open_store(store_uri(workdir)), wanted)


def runs_of(client: Any, wanted: str = "") -> list[Any]:
    """The runs of the harness that a client finds, oldest first."""
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        return []
    return list(client.search_runs([experiment.experiment_id], wanted, order_by=["attributes.start_time ASC"]))


def files(workdir: Path, run: Any) -> list[str]:
    client = open_store(store_uri(workdir))
    found = []
    for item in client.list_artifacts(run.info.run_id):
        found += [i.path for i in client.list_artifacts(run.info.run_id, item.path)] if item.is_dir else [item.path]
    return sorted(found)


def snapshot(workdir: Path) -> dict[str, Any]:
    """Everything a user can see in the store."""
    client = open_store(store_uri(workdir))
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
    assert metrics["ijbc/tar_far_1e-4"] == 0.5
    assert (metrics["stages/generate/seconds"], metrics["stages/seconds"]) == (4.5, 6.5)
    helpers = {name for name in metrics if name.endswith(("std_folds", "images", "rejected"))}
    assert not helpers | (metrics.keys() & {"ijbc/genuine_mean"}), "they stay in the result file"
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
    client = open_store(store_uri(workdir))
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
    history = open_store(store_uri(workdir)).get_metric_history(after.info.run_id, "fw-lfw/accuracy")
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
    assert "superseded" in open_store(store_uri(workdir)).get_run(old.info.run_id).info.run_name


def plan(name: str = "demo") -> Any:
    suite = SimpleNamespace(name=name, seeds=[0])
    return SimpleNamespace(suite=suite, resolved_yaml="name: demo\nseeds: [0]\n", rows=["toy"], labels=["generate toy"])


def test_the_event_plugin_leaves_nothing_for_sync(workdir: Path, make: Make, put: Put) -> None:
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(MlflowTracking())
    manager.check_pending()
    result = make()
    manager.hook.suite_started(plan=plan(), workdir=workdir, missing=frozenset(), workers=1)
    end = time.monotonic() + 30
    while not (seen := runs(workdir, kind="suite")) and time.monotonic() < end:
        time.sleep(0.1)
    assert [run.info.status for run in seen] == ["RUNNING"]
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
    (record,) = [r for r in caplog.records if "is still being filled" not in r.getMessage()]
    assert "`harness sync` fills it later" in record.getMessage()
    assert len(record.getMessage().splitlines()) == 1
    with pytest.raises(DataError, match="nonsense") as caught:
        sync(workdir)
    assert len(str(caught.value).splitlines()) == 1


@pytest.fixture
def shared(workdir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A second workdir with the same results, on the database of the first."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{workdir / STORE_FILE}")
    second = tmp_path / "second"
    second.mkdir()
    return second


def test_two_workdirs_in_one_database_are_told_apart(
    workdir: Path, make: Make, put: Put, tmp_path: Path, shared: Path
) -> None:
    put(make())
    shutil.copytree(workdir / "results", shared / "results")
    assert sync(workdir).created == 1
    assert sync(shared).created == 1
    moved = tmp_path / "moved"
    shutil.copytree(shared / "results", moved / "results")
    assert sync(moved).unchanged == 1  # the same results, copied from a cluster node for instance


def test_two_workdirs_in_one_database_keep_their_own_files(workdir: Path, make: Make, put: Put, shared: Path) -> None:
    put(make())
    shutil.copytree(workdir / "results", shared / "results")
    sync(workdir)
    first = sorted(workdir.rglob("*"))
    sync(shared)
    assert sorted(workdir.rglob("*")) == first
    for folder in (workdir, shared):
        names = sorted(path.name for path in (folder / "mlartifacts").rglob("*") if path.is_file())
        assert names == ["pairs.csv", "results.json", "scores.png", "suite.yaml"]


def test_a_copy_of_results_puts_new_files_into_its_own_folder(
    workdir: Path, make: Make, put: Put, shared: Path
) -> None:
    put(make())
    sync(workdir)
    shutil.copytree(workdir / "results", shared / "results")
    first = sorted(workdir.rglob("*"))
    write_result(result_folder(shared, "demo", "toy", 1), make(seed=1, figures=[], tables=[]))
    report = sync(shared)
    assert (report.created, report.unchanged) == (1, 1)
    assert sorted(workdir.rglob("*")) == first
    names = sorted(path.name for path in (shared / "mlartifacts").rglob("*") if path.is_file())
    assert names == ["results.json", "suite.yaml"]
    assert sync(shared).unchanged == 2
    assert sorted(workdir.rglob("*")) == first


@pytest.mark.parametrize("name", ["with space", "50%", "a%23b", "a#b", "who?", "a?mode=ro#%41@b"])
def test_a_workdir_of_any_name_keeps_everything_inside(
    tmp_path: Path, workdir: Path, make: Make, put: Put, name: str
) -> None:
    put(make())
    odd = workdir.rename(tmp_path / name)
    assert sync(odd).created == 1
    assert sync(odd).unchanged == 1
    assert [run.info.status for run in runs_of(open_store(store_uri(odd)))] == ["FINISHED", "FINISHED"]
    assert {path.name for path in tmp_path.iterdir()} == {name}
    assert {path.name for path in odd.iterdir()} == {STORE_FILE, "mlartifacts", "results"}
    assert len(list((odd / "mlartifacts").rglob("results.json"))) == 1


def test_a_moved_workdir_says_what_to_do(workdir: Path, make: Make, put: Put) -> None:
    put(make())
    sync(workdir)
    moved = workdir.rename(workdir.with_name("moved"))
    with pytest.raises(DataError, match="made for another folder"):
        sync(moved)


@pytest.mark.parametrize("damage", [b"{", b"", b"\xff\xfe", b'{"schema": 9}'])
def test_a_damaged_result_file_is_named_and_the_others_go_on(
    workdir: Path, make: Make, put: Put, caplog: pytest.LogCaptureFixture, damage: bytes
) -> None:
    put(make("first"))
    put(make("third"))
    broken = put(make("second")) / "results.json"
    broken.write_bytes(damage)
    report = sync(workdir)
    assert (report.created, report.damaged) == (2, (broken,))
    (record,) = caplog.records
    assert str(broken) in record.getMessage()
    assert len(record.getMessage().splitlines()) == 1
    assert sync(workdir).unchanged == 2


def test_a_damaged_file_of_another_row_does_not_stop_the_event_plugin(
    workdir: Path, make: Make, put: Put, caplog: pytest.LogCaptureFixture
) -> None:
    (put(make("broken")) / "results.json").write_text("{")
    plugin = MlflowTracking()
    plugin.suite_started(plan(), workdir)
    plugin.row_finished(make(), put(make()))
    plugin.suite_finished(plan(), workdir, [make()])
    assert [run.info.status for run in runs(workdir)] == ["FINISHED", "FINISHED"]
    assert "off for this run" not in caplog.text


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
