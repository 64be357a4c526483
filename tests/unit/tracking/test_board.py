"""What a person sees of a store: saved views, descriptions, datasets, models, and the machine."""

from __future__ import annotations

import base64
import json
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rows import put as put_row

from harness.results import MetricRecord, Result, StageRecord
from harness.tracking import mlflow as tracking
from harness.tracking.experiment import EXPERIMENT
from harness.tracking.machine import Machine
from harness.tracking.mlflow import MlflowTracking, sync
from harness.tracking.store import client
from harness.tracking.uris import STORE_FILE, store_uri
from harness.tracking.views import MAX_CHARS, Summary, experiment_tags

Make = Callable[..., Result]
Put = Callable[[Result], Path]


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Path:
    """Three rows over three seeds, in MLflow; only to be read."""
    workdir = tmp_path_factory.mktemp("board")
    shutil.copy(empty_store, workdir / STORE_FILE)
    for row, accuracy in {"good": 0.95, "middle": 0.85, "poor": 0.6}.items():
        for seed in range(3):
            put_row(workdir, row, seed, accuracy)
    assert sync(workdir).created == 9
    return workdir


def opened(workdir: Path) -> tuple[Any, Any]:
    """A client, and the experiment."""
    made = client(store_uri(workdir))
    return made, made.get_experiment_by_name(EXPERIMENT)


def runs(workdir: Path, kind: str = "row") -> list[Any]:
    made, experiment = opened(workdir)
    wanted = f"tags.\"harness.kind\" = '{kind}' and tags.\"harness.current\" = 'yes'"
    return list(made.search_runs([experiment.experiment_id], wanted))


def state(tag: str) -> dict[str, Any]:
    """The state of a saved view, unpacked as the interface does."""
    kept = json.loads(tag)
    assert isinstance(kept["name"], str)
    assert isinstance(kept["createdAt"], int)
    mark, _, packed = kept["state"].partition(";")
    assert mark == "deflate"
    unpacked: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(packed)))
    return unpacked


def test_the_experiment_is_one_of_models_with_three_views_and_a_primary_metric(board: Path) -> None:
    _, experiment = opened(board)
    tags = experiment.tags
    assert tags["mlflow.experimentKind"] == "custom_model_development"
    assert tags["mlflow.experiment.primaryMetric.name"] == "average/accuracy"
    assert tags["mlflow.experiment.primaryMetric.greaterIsBetter"] == "True"
    params = ["params.`row`", "params.`suite`", "params.`seed`"]
    views = {name: state(tags[f"mlflow.sharedViewState.{name}"]) for name in ("leaderboard", "separability", "cost")}
    ranked = ["average/accuracy", "fw-lfw/accuracy", "fw-cfp/accuracy"]
    assert views["leaderboard"]["selectedColumns"] == params + [f"metrics.`{name}`" for name in ranked]
    assert views["separability"]["selectedColumns"] == [*params, "metrics.`separability/fdr`"]
    assert "metrics.`stages/train/seconds`" in views["cost"]["selectedColumns"]
    assert (views["leaderboard"]["orderByKey"], views["leaderboard"]["orderByAsc"]) == (
        "metrics.`average/accuracy`",
        False,
    )
    found = {run.data.tags["harness.kind"] for run in searched(board, views["leaderboard"]["searchFilter"])}
    assert found == {"row"}


def searched(workdir: Path, wanted: str) -> list[Any]:
    made, experiment = opened(workdir)
    return list(made.search_runs([experiment.experiment_id], wanted))


def test_descriptions_hold_the_board(board: Path) -> None:
    _, experiment = opened(board)
    (suite,) = runs(board, "suite")
    note = experiment.tags["mlflow.note.content"]
    assert f"/experiments/{experiment.experiment_id}/runs?viewStateShareKey=leaderboard" in note
    assert f"[demo](#/experiments/{experiment.experiment_id}/runs/{suite.info.run_id}" in note
    for text in (note, suite.data.tags["mlflow.note.content"]):
        lines = [line for line in text.splitlines() if line.startswith(("| good", "| middle", "| poor"))]
        assert [line.split()[1] for line in lines[:3]] == ["good", "middle", "poor"]
    (row,) = [run for run in runs(board) if run.info.run_name == "good, seed 1"]
    about = row.data.tags["mlflow.note.content"]
    assert about.startswith("**good**, seed 1, of the suite demo: generator made, 12 identities x 4 images")
    assert f"fw-lfw {100 * row.data.metrics['fw-lfw/accuracy']:.1f} % [" in about


def test_the_report_is_an_artifact_that_the_descriptions_link(workdir: Path) -> None:
    put_row(workdir, "good", 0, 0.9)
    sync(workdir)
    (workdir / "results" / "demo" / "report.html").write_text("<p>the report</p>")
    assert sync(workdir).unchanged == 1
    made, experiment = opened(workdir)
    (suite,) = runs(workdir, "suite")
    assert "report.html" in {item.path for item in made.list_artifacts(suite.info.run_id)}
    link = f"#/experiments/{experiment.experiment_id}/runs/{suite.info.run_id}/artifacts/report.html"
    assert link in suite.data.tags["mlflow.note.content"]
    assert link in experiment.tags["mlflow.note.content"]


def test_names_are_text_in_descriptions(workdir: Path) -> None:
    name = "<script>alert(1)</script>"
    put_row(workdir, name, 0, 0.9, folder="odd", generator=name, warnings=[f"{name} | ![x](http://a)"])
    assert sync(workdir).created == 1
    _, experiment = opened(workdir)
    notes = [run.data.tags["mlflow.note.content"] for kind in ("row", "suite") for run in runs(workdir, kind)]
    for note in (*notes, experiment.tags["mlflow.note.content"]):
        assert "<script" not in note
        assert "![x](" not in note


def test_datasets_have_source_digest_and_role(board: Path) -> None:
    (row,) = [run for run in runs(board) if run.info.run_name == "poor, seed 2"]
    found = {given.dataset.name: given for given in row.inputs.dataset_inputs}
    roles = {name: [(tag.key, tag.value) for tag in given.tags] for name, given in found.items()}
    assert roles == {name: [("mlflow.data.context", "evaluation")] for name in ("fw-lfw", "fw-cfp")}
    assert found["fw-lfw"].dataset.digest == "sha256:fw-lfw"


def test_the_training_set_is_a_dataset_too(workdir: Path, make: Make, put: Put) -> None:
    digest = "5ed47d97f157f706422616a7bcd132f7d722d057c104e1bcb58c62a243b6c88c"
    align = StageRecord(kind="align", key="a871", content=digest, seconds=1.0, images=24)
    folder = put(make(stages=[*make().stages, align]))
    suite = "protocols:\n  fw-lfw: {use: fw-lfw, settings: {seed: 7}}\n"
    (folder.parents[1] / "suite.yaml").write_text(suite)
    sync(workdir)
    (row,) = runs(workdir)
    found = {given.dataset.name: given for given in row.inputs.dataset_inputs}
    training, protocol = found["toy"], found["fw-lfw"]
    assert [tag.value for tag in training.tags] == ["training"]
    assert training.dataset.digest == digest[:36]
    assert json.loads(training.dataset.profile)["content"] == digest
    assert json.loads(training.dataset.source) == {"uri": "store/align/a871"}
    assert json.loads(protocol.dataset.source)["protocol"] == {"use": "fw-lfw", "settings": {"seed": 7}}


def test_recognizers_are_models_with_metrics_and_an_alias_and_without_weights(board: Path) -> None:
    made, experiment = opened(board)
    models = made.search_logged_models([experiment.experiment_id])
    assert len(models) == 9
    (row,) = [run for run in runs(board) if run.info.run_name == "good, seed 1"]
    (output,) = row.outputs.model_outputs
    model = made.get_logged_model(output.model_id)
    assert str(model.status) == "READY"
    numbers = {metric.key: metric.value for metric in model.metrics}
    assert numbers["fw-lfw/accuracy"] == row.data.metrics["fw-lfw/accuracy"]
    assert numbers["average/accuracy"] == row.data.metrics["average/accuracy"]
    version = made.get_model_version_by_alias("demo.good", "seed-1")
    assert version.run_id == row.info.run_id
    assert version.tags["harness.weights"] == "store/train/k2"
    assert "not kept here" in version.description
    assert not list((board / "mlartifacts").rglob("*.safetensors"))
    assert not list((board / "mlartifacts").glob("models/*/artifacts/*"))


def test_a_superseded_result_moves_its_alias(workdir: Path, make: Make, put: Put) -> None:
    put(make())
    sync(workdir)
    made, _ = opened(workdir)
    before = made.get_model_version_by_alias("demo.toy", "seed-0")
    put(make(accuracy=0.5))
    assert sync(workdir).updated == 1
    (row,) = runs(workdir)
    after = made.get_model_version_by_alias("demo.toy", "seed-0")
    assert (int(before.version), int(after.version), after.run_id) == (1, 2, row.info.run_id)


def test_failed_rows_have_no_model(workdir: Path, make: Make, put: Put) -> None:
    put(make(status="failed", error="no faces", metrics=[]))
    sync(workdir)
    made, experiment = opened(workdir)
    assert not made.search_logged_models([experiment.experiment_id])
    assert not made.search_registered_models()
    (row,) = runs(workdir)
    assert "**Failed**: no faces" in row.data.tags["mlflow.note.content"]


def test_a_mean_follows_its_members(workdir: Path, make: Make, put: Put) -> None:
    first, second = (
        MetricRecord(
            name=f"{name}/accuracy",
            value=value,
            n=9,
            protocol=name,
            headline=True,
            ranked=True,
            better="higher",
            average="average/accuracy",
        )
        for name, value in (("lfw", 0.9), ("cfp", 0.7))
    )
    third = first.model_copy(update={"name": "agedb/accuracy", "value": 0.2})
    put(make(metrics=[first, second]))
    sync(workdir)
    put(make(metrics=[first, second, third]))
    assert sync(workdir).updated == 1
    (row,) = runs(workdir)
    assert row.data.metrics["average/accuracy"] == pytest.approx(0.6)
    assert "superseded" not in row.info.run_name
    assert sync(workdir).unchanged == 1


def summary(name: str, finished: float, table: str = "| row |") -> str:
    primary = f"{name}/eer"
    return Summary(name, "r" + name, finished, False, [primary], [], ["stages/seconds"], primary, True, table).text()


def test_suites_share_an_experiment() -> None:
    tags = {"harness.board.a": summary("old", 1.0), "harness.board.b": summary("new", 2.0)}
    made = experiment_tags(tags, "7")
    assert state(made["mlflow.sharedViewState.leaderboard"])["selectedColumns"][3:] == [
        "metrics.`new/eer`",
        "metrics.`old/eer`",
    ]
    assert state(made["mlflow.sharedViewState.leaderboard"])["orderByAsc"] is True
    assert made["mlflow.experiment.primaryMetric.name"] == "new/eer"
    assert made["mlflow.experiment.primaryMetric.greaterIsBetter"] == "False"
    note = made["mlflow.note.content"]
    assert note.index("[new](#/experiments/7/runs/rnew") < note.index("[old](#/experiments/7/runs/rold")
    assert experiment_tags(tags | made, "7") == made
    foreign = {"harness.board.c": "{", "harness.board.d": '{"suite": "later version"}'}
    assert experiment_tags(tags | foreign, "7") == made
    chosen = {"mlflow.experiment.primaryMetric.name": "fdr", "mlflow.experiment.primaryMetric.greaterIsBetter": "True"}
    assert experiment_tags(tags | made | chosen, "7").items() >= chosen.items()


def test_many_suites_fit_into_a_description() -> None:
    tags = {f"harness.board.{number}": summary(f"s{number}", number, "| row |\n" * 99) for number in range(40)}
    made = experiment_tags(tags, "7")
    assert all(len(text) <= MAX_CHARS for text in made.values())
    assert "more suites" in made["mlflow.note.content"]


def test_the_machine_is_watched_while_stages_run(
    workdir: Path, make: Make, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("psutil")
    monkeypatch.setattr(tracking, "SAMPLE_S", 0.0)
    suite = SimpleNamespace(name="demo", seeds=[0])
    plan: Any = SimpleNamespace(suite=suite, resolved_yaml="name: demo\nseeds: [0]\n", rows=["toy"], labels=["toy"])
    plugin = MlflowTracking()
    plugin.suite_started(plan, workdir)
    assert plugin._work is not None
    assert plugin._work.wait(60, 60)
    plugin.stage_progress("train toy", 1, 10, "steps")
    plugin.row_finished(make(), put(make()))
    plugin.suite_finished(plan, workdir, [make()])
    (parent,) = runs(workdir, "suite")
    seen = {name: value for name, value in parent.data.metrics.items() if name.startswith("system/")}
    assert 0 < seen["system/system_memory_usage_percentage"] < 100
    assert seen["system/cpu_utilization_percentage"] >= 0


def test_without_the_packages_nothing_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    import harness.tracking.machine as machine

    monkeypatch.setattr(machine, "_READERS", (("no_such_package.monitor", "CPUMonitor"),))
    assert Machine().sample() == {}
