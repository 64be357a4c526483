"""Faults planted in drawn faces are found by the evaluators with the shipped judge, and a sound dataset has none."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.builtin.consistency import Consistency
from harness.builtin.crops import Crops
from harness.builtin.diversity import Diversity
from harness.builtin.leakage import Leakage
from harness.components import Crop, Evaluator, Given, PairSet, Recognizer, Report, Run
from harness.faces.faceset import FaceSet, ShardWriter, write_items
from harness.plugins import registry
from harness.stages.opening import load_recognizer
from harness.store.shipped import demo_path
from harness.suites.read import load_suite

STUDY = Path(__file__).parents[3] / "benchmarks" / "faceworld-evaluation"
IDENTITIES, EACH = 150, 6
PAIRS = PairSet(np.array([0]), np.array([1]), np.array([True]), np.array([0]))

Planted = dict[str, tuple[FaceSet, dict[str, Any]]]


@pytest.fixture(scope="module")
def script(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("faceworld-evaluation/planted.py")


def face_set(folder: Path, identities: np.ndarray, images: np.ndarray) -> FaceSet:
    writer = ShardWriter(folder, 0)
    for row, (identity, image) in enumerate(zip(identities, images, strict=True)):
        writer.add(int(identity), row, image)
    writer.close()
    write_items(folder, 1)
    return FaceSet(folder, Crop("arcface", images.shape[1]))


@pytest.fixture(scope="module")
def planted(script: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Planted:
    root = tmp_path_factory.mktemp("planted")
    return {
        name: (face_set(root / name, labels.identity, images), faults)
        for name, labels, images, faults in script.datasets(IDENTITIES, EACH)
    }


@pytest.fixture(scope="module")
def world(script: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> FaceSet:
    """The authentic source: the people whom the leaked identities show are among them."""
    people = np.repeat(np.arange(360), 4)
    shown = script.Dataset(people, script.AUTHENTIC + people, np.tile(np.arange(4), 360))
    return face_set(tmp_path_factory.mktemp("world"), people, script.crops(shown))


@pytest.fixture(scope="module")
def measure(world: FaceSet) -> Callable[..., tuple[dict[str, float], Report]]:
    judge: Recognizer = load_recognizer(demo_path("judge"))

    def run(evaluator: Evaluator, dataset: FaceSet, **more: Any) -> tuple[dict[str, float], Report]:
        report = evaluator.evaluate(Given(dataset=dataset, judge=judge, source=world, **more), Run(0))
        return {metric.name.partition("/")[2]: metric.value for metric in report.metrics}, report

    return run


def test_leaked_identities(planted: Planted, measure: Any) -> None:
    dataset, faults = planted["faulty"]
    assert len(faults["leaked"]) == 50
    found, report = measure(Leakage(Leakage.Settings(far=0.01)), dataset)
    table = report.tables["leakage-identities"]
    above = set(table["identity"][table["above"]].tolist())
    assert len(above & set(faults["leaked"])) >= 48
    assert len(above - set(faults["leaked"])) <= 5
    right = table["authentic_identity"][faults["leaked"]] == faults["victims"]
    assert right.sum() >= 48
    clean, _ = measure(Leakage(Leakage.Settings(far=0.01)), planted["sound"][0])
    assert clean["identities_above"] < 0.05 < 0.3 < found["identities_above"]


def test_wrong_labels_and_a_duplicated_identity(planted: Planted, measure: Any) -> None:
    dataset, faults = planted["faulty"]
    found, report = measure(Consistency(), dataset)
    table, wrong = report.tables["consistency-images"], np.array(faults["wrong"])
    assert len(wrong) == round(0.05 * IDENTITIES * EACH)
    assert table["wrong"][wrong].mean() > 0.95
    first, double = faults["doubled"]
    doubled = np.isin(table["identity"], (first, double))
    assert np.isin(table["rival"][doubled & table["wrong"]], (first, double)).mean() > 0.8
    assert found["doubled_identities"] == pytest.approx(2 / IDENTITIES)
    clean, _ = measure(Consistency(), planted["sound"][0])
    assert clean["doubled_identities"] == 0
    assert clean["wrong_images"] < found["wrong_images"] - 0.03


def test_the_script_counts_what_was_found(script: ModuleType, planted: Planted, measure: Any, tmp_path: Path) -> None:
    dataset, faults = planted["faulty"]
    (tmp_path / "tables").mkdir()
    for evaluator in (Leakage(), Consistency()):
        for name, table in measure(evaluator, dataset)[1].tables.items():
            pq.write_table(pa.table(dict(table)), tmp_path / "tables" / f"{name}.parquet")
    leaked, wrong, doubled = script.found(faults, tmp_path)
    assert int(re.findall(r"\d+", leaked)[0]) >= 45
    assert wrong.startswith(f"wrong labels: {len(faults['wrong'])} of {len(faults['wrong'])}, and ")
    assert doubled.startswith("doubled: identities {} and {} lose ".format(*faults["doubled"]))


def test_a_collapsed_generator(planted: Planted, measure: Any) -> None:
    found, _ = measure(Diversity(), planted["collapsed"][0])
    sound, _ = measure(Diversity(), planted["sound"][0])
    assert found["spread_deg"] < 0.2 * sound["spread_deg"]
    assert found["coverage"] < 0.2 * sound["coverage"]
    assert found["recall"] < 0.2 * sound["recall"]
    assert sound["near_duplicates"] < 0.05 < 0.95 < found["near_duplicates"]


@pytest.mark.parametrize(
    ("name", "metric", "least"),
    [("bgr", "warmth", 0.5), ("shifted", "offset_px", 4.0), ("shifted", "residual_px", 4.0)],
)
def test_crops_that_differ_from_the_benchmark(
    name: str, metric: str, least: float, planted: Planted, world: FaceSet, measure: Any
) -> None:
    """The limits are those of the suite's gates."""
    protocols = {"fw": (world, PAIRS)}
    assert measure(Crops(), planted[name][0], pairs=protocols)[0][metric] > least
    assert measure(Crops(), planted["sound"][0], pairs=protocols)[0][metric] < least / 2


def test_what_is_written_is_what_was_drawn(script: ModuleType, tmp_path: Path, planted: Planted) -> None:
    script.main(["make", str(tmp_path), "--identities", "60", "--per-identity", "2"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bgr", "collapsed", "faulty", "shifted", "sound"]
    for folder in tmp_path.iterdir():
        table = pq.read_table(folder / "images.parquet").to_pydict()
        assert list(zip(table["identity"], table["sample"], strict=True)) == [(i, s) for i in range(60) for s in (0, 1)]
    labels, faults = script.faulty(script.sound(IDENTITIES, EACH))
    assert np.bincount(labels.identity).tolist() == [EACH] * IDENTITIES
    wrong = np.array(faults["wrong"])
    assert (labels.identity[wrong] != script.sound(IDENTITIES, EACH).identity[wrong]).all()
    assert not np.isin(labels.identity[wrong], [*faults["leaked"], *faults["doubled"]]).any()


def test_the_suite_asks_every_evaluator(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path))
    for name in ("sound", "faulty", "collapsed", "bgr", "shifted"):
        (tmp_path / name).mkdir()
    suite = load_suite(STUDY / "suite.yaml")
    others = {
        "distributions",  # draws scores that separability judges, and looks for no fault
        "fairness",  # finds faults of recognizers; tests/unit/builtin/test_fairness.py plants one
        "identification",
    }
    assert {entry.use for entry in suite.evaluate} == set(registry().names["evaluators"]) - others
