"""Scores of synthetic and authentic pairs, on pictures of people that are known."""

from __future__ import annotations

import csv
import io
import subprocess
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.builtin.distributions import Distributions, DistributionsSettings
from harness.components import Given, Metric, Report, Run
from harness.errors import StageError
from harness.faces.faceset import FaceSet
from harness.stats.verification import unit
from tests.unit.builtin.conftest import MakeFaces
from tests.unit.builtin.test_dataset_evaluators import PNG, Pattern, drawn, patterns

PEOPLE = np.random.default_rng(5).permutation(60)[:40]  # whose embedding the context of each synthetic identity is


@pytest.fixture
def source(make_faces: MakeFaces) -> FaceSet:
    """60 people x 6, numbered from 100."""
    images, labels = drawn(patterns(0, 60), 6, 1)
    return make_faces(images, labels + 100)


@pytest.fixture
def dataset(make_faces: MakeFaces) -> FaceSet:
    """40 synthetic identities x 4, drawn from people of the source; 10 of their numbers were left out."""
    images, labels = drawn(patterns(0, 60)[PEOPLE], 4, 2, noise=90)
    kept = labels % 4 != 3
    return make_faces(images[kept], labels[kept])


def evaluate(dataset: FaceSet, source: FaceSet, people: np.ndarray | None, **settings: Any) -> Report:
    given = Given(dataset=dataset, source=source, judge=Pattern(), people=people)
    return Distributions(DistributionsSettings(**{"replicates": 100, **settings})).evaluate(given, Run(0))


def values(report: Report) -> dict[str, Metric]:
    return {metric.name.removeprefix("distributions/"): metric for metric in report.metrics}


def test_three_kinds_of_pairs_with_their_scores(dataset: FaceSet, source: FaceSet) -> None:
    report = evaluate(dataset, source, PEOPLE + 100)
    counts = {"synthetic": 30 * 6, "authentic": 60 * 15, "cross": 30 * 4 * 6}
    embedded = [unit(Pattern().embed(faces.images())) for faces in (dataset, source)]
    for kind, count in counts.items():
        table = report.tables[f"distributions-{kind}-pairs"]
        assert table["same"].sum() == count == (~table["same"]).sum()
        left, right = (dataset, source) if kind == "cross" else 2 * (dataset if kind == "synthetic" else source,)
        x, y = (embedded[0 if faces is dataset else 1].astype(np.float64) for faces in (left, right))
        for row in range(0, 2 * count, 7):
            face = [
                np.flatnonzero((f.identities == table[f"identity_{s}"][row]) & (f.samples == table[f"sample_{s}"][row]))
                for f, s in ((left, "a"), (right, "b"))
            ]
            assert table["score"][row] == pytest.approx(float(x[face[0][0]] @ y[face[1][0]]), abs=1e-6)
        whose = PEOPLE[table["identity_a"]] + 100 if kind == "cross" else table["identity_a"]
        assert ((whose == table["identity_b"]) == table["same"]).all()
        genuine, impostor = table["score"][table["same"]], table["score"][~table["same"]]
        fdr = (genuine.mean() - impostor.mean()) ** 2 / (genuine.var() + impostor.var())
        assert values(report)[f"{kind}_fdr"].value == pytest.approx(fdr)
        low, high = values(report)[f"{kind}_fdr"].uncertainty.interval or (0, 0)
        assert low < fdr < high


def test_images_of_a_person_are_near_to_that_person_and_to_no_other(dataset: FaceSet, source: FaceSet) -> None:
    right = values(evaluate(dataset, source, PEOPLE + 100))
    wrong = values(evaluate(dataset, source, np.roll(PEOPLE, 1) + 100))
    assert right["cross_genuine_mean"].value > right["cross_impostor_mean"].value + 0.3
    assert wrong["cross_genuine_mean"].value == pytest.approx(wrong["cross_impostor_mean"].value, abs=0.05)
    assert right["nearest_authentic"].value == wrong["nearest_authentic"].value > right["cross_genuine_mean"].value
    assert right["nearest_authentic"].n == 30


def test_nobodys_contexts_have_no_cross_pairs(dataset: FaceSet, source: FaceSet) -> None:
    for people in (None, PEOPLE + 5000):  # no such contexts; people in none of whose images a face was found
        report = evaluate(dataset, source, people)
        assert {name.partition("_")[0] for name in values(report)} == {"synthetic", "authentic", "nearest"}
        assert set(report.figures) == {"distributions-scores", "distributions-neighbors"}


def test_the_subset_is_that_of_the_settings(dataset: FaceSet, source: FaceSet) -> None:
    report = evaluate(dataset, source, PEOPLE + 100, max_identities=20, max_per_identity=3, shown=2)
    found = values(report)
    assert found["synthetic_genuine_mean"].n == 20 * 3
    assert found["authentic_genuine_mean"].n == 20 * 3
    assert set(report.tables["distributions-authentic-pairs"]["identity_a"]) == set(range(100, 120))
    assert all(data.startswith(PNG) for data in report.figures.values())
    assert set(report.figures) == {"distributions-scores", "distributions-neighbors", "distributions-variation"}


def test_the_same_run_gives_the_same_numbers(dataset: FaceSet, source: FaceSet) -> None:
    one, two = (evaluate(dataset, source, PEOPLE + 100) for _ in range(2))
    assert one.metrics == two.metrics
    assert one.texts == two.texts


def test_sets_without_pairs_are_refused(dataset: FaceSet, source: FaceSet, make_faces: MakeFaces) -> None:
    singles = make_faces(*drawn(patterns(0, 6), 1, 1))
    with pytest.raises(StageError, match="distributions: the source has 6 images of 6 identities; expected at least 2"):
        evaluate(dataset, singles, None)
    with pytest.raises(StageError, match="distributions: the dataset has 6 images of 6 identities"):
        evaluate(singles, source, None)


def test_geteerinf_reads_the_score_files_and_agrees(dataset: FaceSet, source: FaceSet, tmp_path: Path) -> None:
    report = evaluate(dataset, source, PEOPLE + 100)
    for name, text in report.texts.items():
        (tmp_path / name).write_text(text)
    kinds = ("synthetic", "authentic", "cross")
    files = {part: ",".join(f"distributions-{kind}-{part}.txt" for kind in kinds) for part in ("genuine", "impostor")}
    names = "SYN v SYN,REAL v REAL,SYN v REAL"
    installed = next(file for file in distribution("pyeer").files or [] if file.stem == "geteerinf")
    call = [str(installed.locate()), "-p", str(tmp_path), "-np", "-sp", str(tmp_path)]
    call += ["-g", files["genuine"], "-i", files["impostor"], "-e", names]
    done = subprocess.run(call, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    theirs = read_report((tmp_path / "pyeer_report.csv").read_text())
    assert list(theirs) == names.split(",")
    assert theirs == read_report(report.texts["distributions-pyeer.csv"])
    for kind, name in zip(kinds, names.split(","), strict=True):
        for quantity, column in {"eer": "EER", "genuine_mean": "GMean", "impostor_std": "ISTD"}.items():
            assert float(theirs[name][column]) == values(report)[f"{kind}_{quantity}"].value


def read_report(text: str) -> dict[str, dict[str, str]]:
    """The lines of pyeer's report by experiment."""
    lines = list(csv.reader(io.StringIO(text)))
    assert lines[0][0].startswith("Generated using PyEER")
    rows = [dict(zip(lines[1], line, strict=True)) for line in lines[2 : lines.index([])]]
    return {row["Experiment ID"]: row for row in rows}
