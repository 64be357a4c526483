"""Leakage, diversity, fidelity and consistency on small pictures with planted faults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

from harness.builtin.consistency import Consistency
from harness.builtin.diversity import Diversity, DiversitySettings
from harness.builtin.fidelity import Fidelity
from harness.builtin.leakage import Leakage, LeakageSettings
from harness.components import Crop, Evaluator, Given, Metric, Recognizer, Report, Run
from harness.errors import StageError
from harness.faces.faceset import FaceSet
from tests.unit.builtin.conftest import MakeFaces, described, said

Pictures = tuple[np.ndarray, np.ndarray]
PNG = b"\x89PNG"


class Pattern(Recognizer):
    """Embeds an image by its 4 x 4 mean colors."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__(takes=Crop("arcface", 16))
        self.digest, self.scale = "0123456789abcdef", scale

    @property
    def width(self) -> int:
        return 48

    def features(self, x: torch.Tensor) -> torch.Tensor:
        return self.scale * torch.nn.functional.adaptive_avg_pool2d(x, 4).flatten(1)

    def state(self) -> dict[str, torch.Tensor]:
        return {}

    def load(self, tensors: Mapping[str, torch.Tensor], device: str = "cpu") -> None:
        pass


def patterns(seed: int, people: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 255, (people, 4, 4, 3))


def drawn(people: np.ndarray, each: int, seed: int, noise: float = 60) -> Pictures:
    """Pictures [N, 16, 16, 3] of people given by their patterns, and who they show."""
    labels = np.repeat(np.arange(len(people)), each)
    rng = np.random.default_rng(seed)
    coarse = people[labels] + rng.normal(0, noise, (len(labels), 4, 4, 3))
    return np.clip(coarse, 0, 255).astype(np.uint8).repeat(4, axis=1).repeat(4, axis=2), labels


def evaluate(evaluator: Evaluator, dataset: FaceSet, source: FaceSet | None = None, scale: float = 1.0) -> Report:
    given = {"dataset": dataset, "judge": Pattern(scale)} | ({} if source is None else {"source": source})
    return evaluator.evaluate(Given(**given), Run(0))  # type: ignore[arg-type]


def named(report: Report) -> dict[str, Metric]:
    for metric in report.metrics:
        assert np.isfinite(metric.value)
        interval = metric.uncertainty.interval
        assert interval or metric.uncertainty.note.startswith("no interval"), metric
        if interval:
            assert interval[0] <= metric.value + 1e-9
            assert interval[1] >= metric.value - 1e-9
    return {metric.name.partition("/")[2]: metric for metric in report.metrics}


@pytest.fixture
def source(make_faces: MakeFaces) -> FaceSet:
    return make_faces(*drawn(patterns(0, 60), 6, 1))


@pytest.fixture
def clean(make_faces: MakeFaces) -> FaceSet:
    return make_faces(*drawn(patterns(2, 60), 6, 3))


def test_leakage_names_the_leaked_people_and_shows_them(make_faces: MakeFaces, source: FaceSet, clean: FaceSet) -> None:
    people = patterns(2, 60)
    leaked = [4, 9, 23, 31, 58]
    people[leaked] = patterns(0, 60)[[50, 3, 3, 17, 8]]
    images, labels = drawn(people, 6, 3)
    settings = LeakageSettings(far=0.02, shown=5)
    report = evaluate(Leakage(settings), make_faces(images, labels + 1000), source)
    found = named(report)
    assert found["identities_above"].value == pytest.approx(5 / 60, abs=1.1 / 60)
    assert found["identities_above"].uncertainty.method == "wilson"
    assert found["authentic_reproduced"].value == pytest.approx(4 / 60, abs=1.1 / 60)
    assert found["image_authentic_above"].value <= 0.02
    table = report.tables["leakage-identities"]
    hit = table["above"]
    assert {1000 + k for k in leaked} <= set(table["identity"][hit])
    by_identity = dict(zip(table["identity"], table["authentic_identity"], strict=True))
    assert [by_identity[1000 + k] for k in leaked] == [50, 3, 3, 17, 8]
    assert len(report.tables["leakage-images"]["cosine"]) == 360
    assert all(data.startswith(PNG) for data in report.figures.values())
    assert set(report.figures) == {"leakage-pairs", "leakage-scores"}
    fine = named(evaluate(Leakage(settings), clean, source))
    assert fine["identities_above"].value <= 0.04
    assert fine["images_above"].value < 0.5 * found["images_above"].value


def test_diversity_sees_a_collapsed_generator(make_faces: MakeFaces, source: FaceSet, clean: FaceSet) -> None:
    healthy = named(evaluate(Diversity(), clean, source))
    collapsed_set = make_faces(*drawn(patterns(2, 60)[np.arange(60) % 3], 6, 4, noise=3))
    collapsed = named(evaluate(Diversity(), collapsed_set, source))
    assert set(healthy) == {"spread_deg", "coverage", "recall", "near_duplicates"}
    assert collapsed["spread_deg"].value < 0.2 * healthy["spread_deg"].value
    assert collapsed["coverage"].value < 0.5 * healthy["coverage"].value
    assert collapsed["near_duplicates"].value > 0.9
    assert healthy["near_duplicates"].value < 0.1
    assert "360 images of each side, embedding Pattern (48-d, 0123456789ab)" in healthy["recall"].note
    itself = named(evaluate(Diversity(), source, source))
    assert itself["coverage"].value == itself["recall"].value == 1


def test_diversity_counts_equally_many_images(source: FaceSet, make_faces: MakeFaces) -> None:
    few = make_faces(*drawn(patterns(2, 40), 5, 3))
    found = named(evaluate(Diversity(DiversitySettings(max_images=150)), few, source))
    assert found["coverage"].n == found["recall"].n == 150
    assert named(evaluate(Diversity(), few, source))["coverage"].n == 200


def test_diversity_measures_the_attributes_that_are_known(
    clean: FaceSet, source: FaceSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    yaw = np.tile(np.array([-10, 10], np.float32), 180)
    given = {"yaw": yaw, "age": np.full(360, np.nan, np.float32), "light": yaw}
    monkeypatch.setattr(FaceSet, "attributes", given)
    found = named(evaluate(Diversity(), clean, source))
    assert found["yaw_spread_deg"].value == pytest.approx(10)
    assert not [name for name in found if name.startswith(("age", "light"))]


def test_fidelity_names_its_embedding_and_size(source: FaceSet, clean: FaceSet, make_faces: MakeFaces) -> None:
    other = make_faces(*drawn(patterns(5, 60) * 0.5, 6, 6))
    near, far = (named(evaluate(Fidelity(), faces, source)) for faces in (clean, other))
    assert set(near) == {"frechet_distance", "kernel_distance"}
    for name, metric in near.items():
        assert "360 images of each side, unit embeddings of Pattern (48-d, 0123456789ab)" in metric.note
        assert metric.n == 360
        assert far[name].value > 2 * metric.value
    assert near["frechet_distance"].uncertainty.interval is None
    assert said(near["frechet_distance"]).startswith("no interval: it falls with the sample size, so compare equal")
    low, high = near["kernel_distance"].uncertainty.interval
    assert low < near["kernel_distance"].value < high < far["kernel_distance"].uncertainty.interval[0]
    assert near["kernel_distance"].uncertainty.method == "bootstrap, linear"
    assert named(evaluate(Fidelity(), source, source))["frechet_distance"].value == pytest.approx(0, abs=1e-6)


def test_consistency_finds_wrong_labels_and_a_double(make_faces: MakeFaces, clean: FaceSet) -> None:
    people = patterns(2, 60)
    people[40] = people[12]
    images, labels = drawn(people, 20, 3, noise=30)
    wrong = np.random.default_rng(7).choice(np.flatnonzero(~np.isin(labels, (12, 40))), 60, replace=False)
    given = labels.copy()
    given[wrong] = (labels[wrong] + 7) % 60
    report = evaluate(Consistency(), make_faces(images, given))
    found, table = named(report), report.tables["consistency-images"]
    assert found["doubled_identities"].value == pytest.approx(2 / 60)
    elsewhere = ~np.isin(table["identity"], (12, 40)) & ~np.isin(table["rival"], (12, 40))
    assert table["wrong"][elsewhere].sum() == pytest.approx(60, abs=8)
    assert found["wrong_images"].uncertainty.interval_over == "identities"
    assert 0.05 < found["wrong_images"].value < 0.1, "5 percent wrong labels, and half of two people of sixty"
    assert report.figures["consistency-scores"].startswith(PNG)
    fine = named(evaluate(Consistency(), clean))
    assert fine["doubled_identities"].value == 0
    assert fine["wrong_images"].value < 0.01


def test_few_people_give_numbers_without_intervals(make_faces: MakeFaces) -> None:
    few, others = make_faces(*drawn(patterns(0, 8), 15, 1)), make_faces(*drawn(patterns(1, 8), 15, 2))
    assert "8 identities are too few" in said(named(evaluate(Consistency(), few))["wrong_images"])
    assert "8 identities are too few" in said(named(evaluate(Fidelity(), few, others))["kernel_distance"])
    assert "8 identities are too few" in said(named(evaluate(Diversity(), few, others))["coverage"])
    assert "8 identities are too few" in said(named(evaluate(Leakage(), few, others))["images_above"])


def test_all_say_how_to_read_them(clean: FaceSet, source: FaceSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FaceSet, "attributes", {"yaw": np.zeros(360, np.float32)})
    reports = [evaluate(evaluator(), clean, source) for evaluator in (Leakage, Diversity, Fidelity, Consistency)]
    found: dict[str, Any] = {}
    for report in reports:
        found |= described(report)
        assert not any(metric.ranked or metric.benchmark for metric in report.metrics)
    assert found == {
        "images_above": ("leaked images", "fraction", "lower", True),
        "identities_above": ("leaked identities", "fraction", "lower", True),
        "authentic_reproduced": ("reproduced people", "fraction", "lower", False),
        "image_threshold": ("image threshold", "plain", "neither", False),
        "image_authentic_above": ("image chance", "fraction", "neither", False),
        "identity_threshold": ("identity threshold", "plain", "neither", False),
        "identity_authentic_above": ("identity chance", "fraction", "neither", False),
        "spread_deg": ("spread (deg)", "plain", "neither", True),
        "yaw_spread_deg": ("yaw spread (deg)", "plain", "neither", False),
        "coverage": ("coverage", "fraction", "higher", True),
        "recall": ("recall", "fraction", "higher", False),
        "near_duplicates": ("near-duplicates", "fraction", "lower", True),
        "frechet_distance": ("Frechet distance", "plain", "lower", True),
        "kernel_distance": ("kernel distance", "plain", "lower", True),
        "wrong_images": ("wrong images", "fraction", "lower", True),
        "doubled_identities": ("doubled identities", "fraction", "lower", True),
    }


def test_what_cannot_be_measured_is_refused(make_faces: MakeFaces, source: FaceSet, clean: FaceSet) -> None:
    one = make_faces(*drawn(patterns(0, 1), 6, 1))
    with pytest.raises(StageError, match="leakage: the authentic faces show 1 identity"):
        evaluate(Leakage(), clean, one)
    with pytest.raises(StageError, match="consistency: the images show 1 identity"):
        evaluate(Consistency(), one)
    singles = make_faces(*drawn(patterns(0, 6), 1, 1))
    with pytest.raises(StageError, match="no identity of 6 has 2 images"):
        evaluate(Consistency(), singles)
    for evaluator in (Leakage(), Diversity(), Fidelity()):
        with pytest.raises(StageError, match=r"given\.source was not asked for"):
            evaluate(evaluator, clean)
        with pytest.raises(StageError, match="360 of 360 embeddings by the judge are zero or not finite"):
            evaluate(evaluator, clean, source, scale=float("nan"))


@pytest.mark.parametrize("evaluator", [Leakage, Diversity, Fidelity])
def test_the_same_run_gives_the_same_numbers(evaluator: Any, source: FaceSet, clean: FaceSet) -> None:
    assert evaluate(evaluator(), clean, source).metrics == evaluate(evaluator(), clean, source).metrics
