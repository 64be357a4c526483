"""The main job, end to end, on the tiny suite."""

import math
import subprocess
import sys

import pytest
from suites import TINY, command, contents, environment, run_suite

from harness.faces.faceset import FaceSet
from harness.results import iterate_results
from harness.store.artifacts import Store
from harness.suites.read import load_suite

ROWS = {"authentic", "idiffface", "negfacediff", "id3", "toy"}


def test_every_row_gives_every_metric(tiny):
    workdir, _ = tiny
    results = {result.row: result for _, result in iterate_results(workdir)}
    assert set(results) == ROWS
    for result in results.values():
        assert result.status == "done", result.error
        names = {metric.name for metric in result.metrics}
        assert {
            "fw-lfw/accuracy",
            "separability/fdr",
            "separability/eer",
            "separability/fmr100",
            "separability/pixel_diversity",
            "alignment/detection_rate",
        } <= names
        assert all(math.isfinite(metric.value) and metric.protocol for metric in result.metrics)
        assert {stage.kind for stage in result.stages} >= {"generate", "align", "train", "evaluate"}
    assert len({result.recipe for result in results.values()}) == 1
    for name in ("fw-lfw/accuracy", "separability/fdr"):
        protocols = {metric.protocol for r in results.values() for metric in r.metrics if metric.name == name}
        assert len(protocols) == 1, f"{name} must be comparable between rows"


def test_leaderboard_and_places_are_printed(tiny):
    _, done = tiny
    for row in ROWS:
        assert row in done.stdout
    for place in ("mlflow", "results", "figures", "harness ui"):
        assert place in (done.stdout + done.stderr).lower()


def test_second_run_changes_nothing(tiny):
    workdir, _ = tiny
    before = {path: path.read_bytes() for path in sorted((workdir / "results").glob("**/results.json"))}
    made = contents(workdir)
    run_suite(workdir)
    assert contents(workdir) == made
    assert {path: path.read_bytes() for path in before} == before


def test_rows_share_model_and_contexts(tiny):
    workdir, _ = tiny
    by_row = {result.row: {s.kind: s.key for s in result.stages} for _, result in iterate_results(workdir)}
    assert by_row["idiffface"]["fit"] == by_row["negfacediff"]["fit"] != by_row["id3"]["fit"]
    assert by_row["idiffface"]["generate"] != by_row["negfacediff"]["generate"]


def test_resolved_suite_is_kept_and_is_a_suite(tiny):
    workdir, _ = tiny
    kept = workdir / "results" / "tiny" / "suite.yaml"
    assert load_suite(kept) == load_suite(TINY)


def test_datasets_open_in_any_parquet_reader(tiny):
    import pyarrow.dataset as ds

    workdir, _ = tiny
    folder = next((workdir / "store" / "generate").glob("*"))
    table = ds.dataset(folder / "shards").to_table()
    assert table.column_names == ["identity", "sample", "image"]
    assert table["image"][0]["bytes"].as_py().startswith(b"\x89PNG")


def test_a_row_is_exported_with_its_card(tiny, tmp_path):
    workdir, _ = tiny
    for args in (
        ("data", "export", "tiny/id3", str(tmp_path / "faces")),
        ("weights", "export", "id3", str(tmp_path / "w")),
    ):
        subprocess.run(
            command(*args), env=environment(workdir), capture_output=True, text=True, timeout=120, check=True
        )
    assert len(list((tmp_path / "faces").glob("*/*.png"))) == 10 * 20
    for folder in ("faces", "w"):
        card = (tmp_path / folder / "README.md").read_text()
        assert "license: apache-2.0\n" in card
        assert "drawn by id3" in card
        assert "| fw-lfw (%) |" in card


def test_sheets_and_histograms_lie_beside_the_results(tiny):
    workdir, _ = tiny
    for folder, result in iterate_results(workdir):
        assert any("samples" in name for name in result.figures)
        assert any("separability" in name for name in result.figures)
        assert all((folder / name).stat().st_size > 0 for name in result.figures + result.tables)


@pytest.mark.slow
def test_one_worker_and_reversed_shards_give_the_same_contents(tiny, tmp_path, monkeypatch):
    from harness.engine import Engine
    from harness.planning.planner import plan_suite
    from harness.store.workers import Pool

    submit = Pool.submit
    monkeypatch.setattr(Pool, "submit", lambda self, task, first=False: submit(self, task, first=True))
    Engine(plan_suite(load_suite(TINY), TINY), tmp_path, workers=1, device="cpu").run()
    assert contents(tmp_path) == contents(tiny[0])


def test_only_and_until(tmp_path):
    run_suite(tmp_path, "--only", "toy", "--until", "generate")
    kinds = {kind for kind, _ in contents(tmp_path)}
    assert "generate" in kinds
    assert kinds.isdisjoint({"align", "evaluate", "fit"})
    assert not list(iterate_results(tmp_path))


def test_a_failure_before_until_is_told(tmp_path):
    overrides = ["--set", "dataset.identities=5000", "--only", "authentic", "--until", "generate"]
    done = subprocess.run(
        command("run", str(TINY), *overrides), env=environment(tmp_path), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "error: authentic seed 0: generate (authentic): " in done.stderr


@pytest.mark.slow
def test_too_few_aligned_faces_fail_the_row_and_not_the_others(tmp_path):
    overrides = ["--set", "rows.toy.aligner=mtcnn", "--only", "toy", "--only", "authentic"]
    overrides += ["--set", "rows.toy.settings.spread=1.0", "--set", "dataset.spare.images=0"]
    done = subprocess.run(
        command("run", str(TINY), *overrides), env=environment(tmp_path), capture_output=True, text=True, check=False
    )
    results = {result.row: result for _, result in iterate_results(tmp_path)}
    if results["toy"].status == "done":
        pytest.skip("the detector found every toy face")
    assert done.returncode == 1
    assert "spare" in results["toy"].error
    assert results["authentic"].status == "done"


def test_tiny_artifacts_open_as_torch_datasets(tiny):
    workdir, _ = tiny
    store = Store(workdir / "store")
    folder = next((workdir / "store" / "align").glob("*"))
    artifact = store.get("align", folder.name)
    from harness.stages.opening import open_faces

    faces: FaceSet = open_faces(artifact)
    image, label = faces.dataset()[0]
    assert tuple(image.shape) == (3, 32, 32)
    assert label == 0


PLAN_ONLY = """
import sys
from pathlib import Path
from harness.planning.planner import plan_suite
from harness.suites.read import load_suite

path = Path(sys.argv[1])
plan_suite(load_suite(path), path)
sys.exit("torch" in sys.modules or "mlflow" in sys.modules)
"""


def test_planning_loads_nothing_heavy():
    assert subprocess.run([sys.executable, "-c", PLAN_ONLY, str(TINY)], check=False).returncode == 0
