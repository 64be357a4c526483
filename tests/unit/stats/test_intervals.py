"""Bootstrap over identities."""

from __future__ import annotations

import time

import numpy as np
import pytest

from harness.stats.intervals import (
    PairIdentities,
    accuracy_interval,
    mean_interval,
    multiplicities,
    percentile_interval,
    score_intervals,
    tar_interval,
    wilson,
)
from harness.stats.separability import score_statistics
from harness.stats.verification import tar_at_far, unit


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def world(seed: int, people: int, each: int) -> dict[str, np.ndarray]:
    """Scores of random people whose own difficulty varies, so that pairs of one person are alike."""
    g = rng(seed)
    spread = g.uniform(0.4, 2.0, (people, 1, 1))
    faces = unit((g.normal(size=(people, 1, 16)) + spread * g.normal(size=(people, each, 16))).reshape(-1, 16))
    label = np.repeat(np.arange(people), each)
    a, b = np.triu_indices(len(label), 1)
    score, same = (faces[a] * faces[b]).sum(1), label[a] == label[b]
    return {
        "genuine": score[same],
        "genuine_identity": label[a][same],
        "impostor": score[~same],
        "impostor_a": label[a][~same],
        "impostor_b": label[b][~same],
    }


def test_weights_count_copies_of_people_not_of_pairs() -> None:
    pairs = PairIdentities.of(np.array([7, 7, 9]), np.array([7, 9, 9]))
    weights = pairs.weights(np.array([[3, 2], [0, 2]]))
    # a genuine pair counts once per copy (not squared), an impostor pair once per pair of copies of both people
    assert weights.tolist() == [[3, 6, 2], [0, 0, 2]]


def test_resampled_scores_equal_a_literal_resampling() -> None:
    """The weighted bootstrap gives the statistics of scores that are really repeated."""
    w = world(1, 12, 4)
    drawn = multiplicities(12, 40, rng(5))
    eer, fdr = [], []
    for m in drawn:
        genuine = np.repeat(w["genuine"], m[w["genuine_identity"]])
        impostor = np.repeat(w["impostor"], m[w["impostor_a"]] * m[w["impostor_b"]])
        found = score_statistics(genuine, impostor)
        eer.append(found.eer)
        fdr.append(found.fdr)
    got = score_intervals(**w, identities=12, rng=rng(5), replicates=40)
    assert got is not None
    assert got.fdr == pytest.approx(percentile_interval(np.array(fdr)), rel=1e-9)
    # thresholds that the replicate does not hold are tried as well, which moves the crossing by less than one pair
    assert got.eer == pytest.approx(percentile_interval(np.array(eer)), abs=0.02)


@pytest.mark.parametrize("table", [True, False])
def test_both_ways_of_weighting_agree(table: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = score_intervals(**world(2, 20, 5), identities=20, rng=rng(), replicates=50)
    monkeypatch.setattr("harness.stats.intervals._TABLE_IDENTITIES", 1000 if table else 0)
    got = score_intervals(**world(2, 20, 5), identities=20, rng=rng(), replicates=50)
    assert got is not None
    assert got.fmr100 == expected.fmr100
    assert got.fdr == pytest.approx(expected.fdr, rel=1e-6)


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """FDR of a big population lies in the intervals of small samples of it; intervals over pairs are far too narrow."""
    big = world(0, 300, 6)
    truth = score_statistics(big["genuine"], big["impostor"]).genuine_mean
    hits = 0
    for seed in range(1, 31):
        got = score_intervals(**world(seed, 30, 6), identities=30, rng=rng(seed), replicates=100)
        assert got is not None
        low, high = got.genuine_mean
        hits += low <= truth <= high
    assert 24 <= hits <= 30


def test_accuracy_interval_widens_with_dependence() -> None:
    people, g = 60, rng(3)
    a = np.repeat(np.arange(people), 40)
    b = np.where(np.arange(len(a)) % 2 == 0, a, (a + g.integers(1, people, len(a))) % people)
    same = a == b
    hard = g.random(people) < 0.2
    correct = np.where(same & hard[a], g.random(len(a)) < 0.5, g.random(len(a)) < 0.97)
    low, high = accuracy_interval(correct, same, PairIdentities.of(a, b), rng())
    assert low < correct.mean() < high
    w_low, w_high = wilson(int(correct.sum()), len(correct))
    assert high - low > 1.3 * (w_high - w_low)


def test_tar_interval_holds_the_estimate_and_matches_literal_resampling() -> None:
    g = rng(4)
    a = g.integers(0, 40, 800)
    b = np.where(np.arange(800) % 2 == 0, a, (a + 1 + g.integers(0, 39, 800)) % 40)
    same = a == b
    scores = g.normal(size=800) + 2.0 * same
    pairs = PairIdentities.of(a, b)
    got = tar_interval(scores, same, 0.05, pairs, rng(6), 60)
    literal = []
    for weights in pairs.weights(multiplicities(pairs.count, 60, rng(6))):
        literal.append(tar_at_far(np.repeat(scores, weights), np.repeat(same, weights), 0.05))
    assert got == pytest.approx(percentile_interval(np.array(literal)))
    assert got[0] <= tar_at_far(scores, same, 0.05) <= got[1]


def test_same_seed_same_interval() -> None:
    values = rng(8).normal(size=50)
    assert mean_interval(values, rng(1)) == mean_interval(values, rng(1))
    assert mean_interval(values, rng(1)) != mean_interval(values, rng(2))


def test_few_identities_have_no_interval() -> None:
    assert mean_interval(np.ones(9), rng()) is None
    assert score_intervals(**world(0, 9, 3), identities=9, rng=rng()) is None
    pairs = PairIdentities.of(np.arange(8), np.arange(8))
    assert accuracy_interval(np.ones(8, bool), np.ones(8, bool), pairs, rng()) is None


def test_wilson_known_values() -> None:
    assert wilson(8, 10) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)
    low, high = wilson(10, 10)
    assert low < 1
    assert high == pytest.approx(1)


def test_two_thousand_pairs_are_quick() -> None:
    a = np.arange(2000) % 300
    b = np.where(np.arange(2000) < 1000, a, (a + 7) % 300)
    started = time.process_time()
    accuracy_interval(rng().random(2000) < 0.9, a == b, PairIdentities.of(a, b), rng(), 1000)
    assert time.process_time() - started < 2
