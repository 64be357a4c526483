"""Verification and separability on recognizers whose answers are known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

from harness.builtin import separability
from harness.builtin.separability import (
    Separability,
    SeparabilitySettings,
    pair_scores,
    reference_identities,
    subset,
)
from harness.builtin.verification import Verification, VerificationSettings
from harness.components import Crop, Given, Metric, PairSet, Recognizer, Report, Run
from harness.errors import StageError
from harness.faces.faceset import FaceSet
from harness.stats.verification import unit
from tests.unit.builtin.conftest import MakeFaces, described

PNG = b"\x89PNG"


class Pixels(Recognizer):
    """Embeds an image by ``grid`` x ``grid`` mean colors: perfect on the tests' patterns with 4, confused with 1."""

    broken = False

    def __init__(self, grid: int = 4) -> None:
        super().__init__(takes=Crop("arcface", 32))
        self.digest, self.grid = "pixels", grid

    @property
    def width(self) -> int:
        return 3 * self.grid**2

    def features(self, x: torch.Tensor) -> torch.Tensor:
        out = torch.nn.functional.adaptive_avg_pool2d(x, self.grid).flatten(1)
        return out * float("nan") if self.broken else out

    def state(self) -> dict[str, torch.Tensor]:
        return {}

    def load(self, tensors: Mapping[str, torch.Tensor], device: str = "cpu") -> None:
        pass


@pytest.fixture
def faces(make_faces: MakeFaces, colored: tuple[np.ndarray, np.ndarray]) -> FaceSet:
    return make_faces(*colored)


@pytest.fixture
def crowd(make_faces: MakeFaces) -> FaceSet:
    """30 people with 6 noisy images each."""
    rng = np.random.default_rng(2)
    patterns = rng.uniform(60, 190, (30, 4, 4, 3)).repeat(8, axis=1).repeat(8, axis=2)
    identities = np.repeat(np.arange(30), 6)
    tint = rng.normal(0, 25, (180, 1, 1, 3))
    images = patterns[identities] + tint + rng.normal(0, 25, (180, 32, 32, 3))
    return make_faces(np.clip(images, 0, 255).astype(np.uint8), identities)


def some_pairs(labels: np.ndarray, count: int = 400) -> PairSet:
    rng = np.random.default_rng(0)
    same = np.arange(count) % 2 == 0
    a = rng.integers(0, len(labels), count)
    b = np.array([rng.choice(np.flatnonzero((labels == labels[i]) == s)) for i, s in zip(a, same, strict=True)])
    return PairSet(a, b, same, np.repeat(np.arange(10), count // 10))


def by_name(report: Report) -> dict[str, Metric]:
    return {metric.name: metric for metric in report.metrics}


def verify(faces: FaceSet, pairs: PairSet, recognizer: Recognizer | None = None, **settings: Any) -> Report:
    given = Given(recognizer=recognizer or Pixels(), pairs={"toy": (faces, pairs)})
    return Verification(VerificationSettings(**settings)).evaluate(given, Run(0))


def separate(faces: FaceSet, judge: Recognizer | None = None, **settings: Any) -> Report:
    given = Given(dataset=faces, judge=judge or Pixels())
    return Separability(SeparabilitySettings(**settings)).evaluate(given, Run(0))


def test_verification_reports_metrics_tables_and_figures(crowd: FaceSet) -> None:
    pairs = some_pairs(crowd.labels)
    report = verify(crowd, pairs)
    accuracy = by_name(report)["toy/accuracy"]
    assert 0.7 < accuracy.value < 1
    assert (accuracy.n, accuracy.benchmark, accuracy.uncertainty.interval_over) == (400, "toy", "identities")
    assert accuracy.uncertainty.interval[0] <= accuracy.value <= accuracy.uncertainty.interval[1]
    assert accuracy.std_folds is not None
    tar = by_name(report)["toy/tar_at_far_1e-2"]
    assert (tar.n, tar.benchmark, tar.uncertainty.interval) == (400, "toy", None)
    assert tar.uncertainty.note == "no interval: 2 of 200 impostor pairs lie beyond the threshold, expected 30"
    table = report.tables["toy-pairs"]
    assert ((table["identity_a"] == table["identity_b"]) == table["same"]).all()
    assert table["correct"].mean() == pytest.approx(accuracy.value)
    assert (table["a"] == pairs.a).all()
    assert -1 <= table["score"].min() <= table["score"].max() <= 1
    assert all(data.startswith(PNG) for data in report.figures.values())
    assert set(report.figures) == {"toy-scores", "toy-roc", "toy-det"}


def test_verification_says_how_to_read_it(crowd: FaceSet) -> None:
    report = verify(crowd, some_pairs(crowd.labels))
    assert described(report) == {
        "accuracy": ("toy", "fraction", "higher", True),
        "tar_at_far_1e-2": ("toy TAR@1e-2", "fraction", "higher", False),
    }
    accuracy, tar = report.metrics
    assert accuracy.ranked
    assert tar.ranked
    assert (accuracy.average, accuracy.margin, accuracy.relative) == ("average/accuracy", 0.02, False)
    assert (tar.average, tar.margin, tar.pairs) == ("", None, "")
    assert accuracy.pairs in report.tables


def test_verification_of_shuffled_labels_is_chance(faces: FaceSet) -> None:
    pairs = some_pairs(faces.labels, 1000)
    shuffled = PairSet(pairs.a, pairs.b, np.random.default_rng(1).permutation(pairs.same), pairs.fold)
    accuracy = by_name(verify(faces, shuffled))["toy/accuracy"]
    assert accuracy.value == pytest.approx(0.5, abs=0.06)
    # these labels contradict the identities, which therefore cannot be resampled
    assert (accuracy.uncertainty.method, accuracy.uncertainty.interval_over) == ("jackknife", "folds")
    assert accuracy.uncertainty.note


def test_a_perfect_score_has_no_interval_but_a_reason(faces: FaceSet) -> None:
    report = verify(faces, some_pairs(faces.labels))
    accuracy = by_name(report)["toy/accuracy"]
    assert (accuracy.value, accuracy.uncertainty.interval) == (1.0, None)
    assert accuracy.uncertainty.note == "no interval: 0 of 400 pairs are decided wrongly, expected 10"


def test_flip_test_sums_raw_embeddings(faces: FaceSet) -> None:
    pairs = some_pairs(faces.labels)
    found = verify(faces, pairs).tables["toy-pairs"]["score"]
    images = faces.images()
    e = unit(Pixels().embed(images) + Pixels().embed(images[:, :, ::-1].copy()))
    np.testing.assert_allclose(found, (e[pairs.a] * e[pairs.b]).sum(1), atol=1e-6)
    plain = verify(faces, pairs, flip_test=False).tables["toy-pairs"]["score"]
    assert np.abs(plain - found).max() > 0.01


def test_verification_refuses_what_it_cannot_measure(faces: FaceSet) -> None:
    pairs = some_pairs(faces.labels)
    with pytest.raises(StageError, match="400 genuine and 0 impostor"):
        verify(faces, PairSet(pairs.a, pairs.a, np.ones(400, bool), pairs.fold))
    with pytest.raises(StageError, match="names face 96 of 96"):
        verify(faces, PairSet(pairs.a, np.full(400, 96), pairs.same, pairs.fold))
    broken = Pixels()
    broken.broken = True
    with pytest.raises(StageError, match="96 of 96 embeddings are not finite"):
        verify(faces, pairs, broken)


def test_separability_reports_everything(crowd: FaceSet) -> None:
    report = separate(crowd)
    found = by_name(report)
    names = ("fdr", "eer", "fmr100", "fmr1000", "genuine_mean", "genuine_std", "impostor_mean", "impostor_std")
    assert set(found) == {f"separability/{name}" for name in (*names, "pixel_diversity")}
    assert found["separability/fdr"].value > 1
    assert found["separability/genuine_mean"].n == 30 * 15
    assert found["separability/impostor_mean"].n == 180 * 179 // 2 - 30 * 15
    for metric in report.metrics:
        assert np.isfinite(metric.value)
        assert not metric.note
        interval = metric.uncertainty.interval
        if metric.name == "separability/fmr1000":
            assert interval is None
            reason = "no interval: 15 of 15660 impostor pairs lie beyond the threshold, expected 30"
            assert metric.uncertainty.note == reason
            continue
        assert interval is not None
        assert interval[0] <= metric.value * 1.001 + 1e-9, metric
        assert interval[1] >= metric.value * 0.999 - 1e-9, metric
    gm, gs, im, is_ = (found[f"separability/{name}"].value for name in names[4:])
    assert found["separability/fdr"].value == pytest.approx((gm - im) ** 2 / (gs**2 + is_**2))
    assert report.rule["crop"]["view"] == "arcface"
    assert "judge" not in report.rule  # the engine adds it, unless it is the row's own recognizer
    assert report.rule["impostor"] == "all"
    assert report.figures["separability-scores"].startswith(PNG)


def test_separability_leaves_pyeers_report_and_its_scores_for_pictures(
    crowd: FaceSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = separate(crowd)
    found = by_name(report)
    header, line = report.texts["separability-pyeer.csv"].splitlines()[1:3]
    theirs = dict(zip(header.split(","), line.split(","), strict=True))
    for name, column in {"eer": "EER", "fmr100": "FMR100", "genuine_mean": "GMean", "impostor_std": "ISTD"}.items():
        assert float(theirs[column]) == found[f"separability/{name}"].value
    table = report.tables["separability-histogram"]
    middle = (table["low"] + table["high"]) / 2
    for kind in ("genuine", "impostor"):
        assert table[kind].sum() == found[f"separability/{kind}_mean"].n
        mean = (table[kind] * middle).sum() / table[kind].sum()
        assert mean == pytest.approx(found[f"separability/{kind}_mean"].value, abs=0.0025)
    monkeypatch.setattr(separability, "LIST_PAIRS", 100)
    counted = separate(crowd)
    assert not counted.texts, "pyeer reports on lists"
    for name, column in counted.tables["separability-histogram"].items():
        assert np.abs(column - table[name]).sum() <= 2, "a score at an edge may be counted next door"


def test_separability_says_how_to_read_it(faces: FaceSet) -> None:
    report = separate(faces)
    assert described(report) == {
        "fdr": ("FDR", "plain", "higher", True),
        "eer": ("EER", "fraction", "lower", True),
        "fmr100": ("FMR100", "fraction", "lower", True),
        "fmr1000": ("FMR1000", "fraction", "lower", False),
        "genuine_mean": ("genuine mean", "plain", "neither", False),
        "genuine_std": ("genuine std", "plain", "neither", False),
        "impostor_mean": ("impostor mean", "plain", "neither", False),
        "impostor_std": ("impostor std", "plain", "neither", False),
        "pixel_diversity": ("pixel diversity", "plain", "neither", True),
    }
    assert {m.name: m.margin for m in report.metrics if m.relative} == {
        "separability/fdr": 0.10,
        "separability/pixel_diversity": 0.05,
    }
    assert not any(m.ranked or m.benchmark for m in report.metrics)


def test_pixel_diversity_is_the_spread_within_identities(
    faces: FaceSet, colored: tuple[np.ndarray, np.ndarray]
) -> None:
    images, labels = colored
    expected = np.mean([(images[labels == k] / 255.0).std(axis=0).mean() for k in range(12)])
    assert by_name(separate(faces))["separability/pixel_diversity"].value == pytest.approx(expected)


def test_subset_takes_the_first_in_numeric_order(make_faces: MakeFaces, colored: tuple[np.ndarray, np.ndarray]) -> None:
    identities, samples = np.array([10, 10, 2, 2, 2, 5]), np.array([11, 2, 3, 1, 20, 0])
    assert subset(identities, samples, 2, 2).tolist() == [3, 2, 5]
    images, labels = colored
    order = np.random.default_rng(0).permutation(96)
    which = np.tile(np.arange(8), 12)
    mixed = make_faces(images[order], labels[order], which[order])
    few = {"max_identities": 10, "max_per_identity": 4}
    assert [m.value for m in separate(mixed, **few).metrics] == pytest.approx(
        [m.value for m in separate(make_faces(images, labels, which), **few).metrics]
    )
    assert by_name(separate(mixed, **few))["separability/genuine_mean"].n == 10 * 6


def test_reference_impostors_are_all_images_of_drawn_later_identities() -> None:
    first, second = reference_identities(1000, np.random.default_rng(1))
    assert (first < second).all()
    assert first.max() < 1000 - 20, "the last 20 identities draw none"
    assert len(np.unique(first * 1000 + second)) == len(first), "duplicates are merged"
    # floor(0.05 later) draws each, 24,500 in all, of which with replacement about 2.5 percent repeat themselves
    assert sum(int(0.05 * later) for later in range(1000)) == 24_500
    assert 23_500 < len(first) < 24_300
    drawn = np.bincount(first, minlength=1000)
    assert all(drawn[i] <= int(0.05 * (999 - i)) for i in range(1000))
    labels = np.repeat(np.arange(40), 5)
    e = unit(np.random.default_rng(0).normal(size=(200, 8))).astype(np.float32)
    some = reference_identities(40, np.random.default_rng(1))
    scores, everything = pair_scores(e, labels, some), pair_scores(e, labels)
    assert len(scores.impostor) == 25 * len(some[0])
    assert set(zip(scores.impostor_a, scores.impostor_b, strict=True)) == set(zip(*some, strict=True))
    assert (scores.genuine == everything.genuine).all()
    assert np.isin(scores.impostor, everything.impostor).all()
    assert len(everything.impostor) == 200 * 199 // 2 - 40 * 10


def test_reference_impostors_as_a_setting(make_faces: MakeFaces, colored: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = colored
    many = make_faces(np.concatenate([images, images[::-1]]), np.concatenate([labels, labels + 12]))
    report = separate(many, impostors="reference")
    assert by_name(report)["separability/impostor_mean"].n <= 5 * 64
    assert report.rule["impostor"].startswith("5% of the later identities")
    with pytest.raises(StageError, match="12 identities draw no impostor pair; expected at least 21"):
        separate(make_faces(images, labels), impostors="reference")


def test_many_pairs_are_counted_instead_of_listed(crowd: FaceSet, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = separate(crowd)
    monkeypatch.setattr(separability, "LIST_PAIRS", 100)
    counted = separate(crowd)
    assert counted.rule == listed.rule
    assert counted.figures["separability-scores"].startswith(PNG)
    for name, metric in by_name(listed).items():
        other = by_name(counted)[name]
        withheld = metric.uncertainty.interval is None
        assert (other.n, other.uncertainty.interval is None) == (metric.n, withheld), name
        assert other.value == pytest.approx(metric.value, abs=0.01 if "eer" in name or "fmr" in name else 1e-6), name
    assert by_name(listed)["separability/eer"].value > 0.02, "there are errors to count"


def test_separability_refuses_what_it_cannot_measure(
    make_faces: MakeFaces, colored: tuple[np.ndarray, np.ndarray]
) -> None:
    images, _ = colored
    with pytest.raises(StageError, match="6 images of 6 identities"):
        separate(make_faces(images[:6], np.arange(6)))
    with pytest.raises(StageError, match="6 images of 1 identities"):
        separate(make_faces(images[:6], np.zeros(6, np.int64)))
    broken = Pixels()
    broken.broken = True
    with pytest.raises(StageError, match="separability: 96 of 96 embeddings by the judge are not finite"):
        separate(make_faces(*colored), broken)
    with pytest.raises(StageError, match="all genuine and all impostor scores are equal"):
        separate(make_faces(np.full((6, 32, 32, 3), 7, np.uint8), np.repeat(np.arange(3), 2)))


def test_few_identities_give_numbers_without_intervals(make_faces: MakeFaces, colored: tuple[np.ndarray, Any]) -> None:
    images, labels = colored
    for metric in separate(make_faces(images[:32], labels[:32])).metrics:
        assert metric.uncertainty.interval is None
        assert "4 identities are too few" in metric.uncertainty.note
