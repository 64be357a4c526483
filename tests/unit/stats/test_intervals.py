"""Bootstrap over identities."""

from __future__ import annotations

import time
from math import sqrt

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from harness.stats.intervals import (
    MIN_IDENTITIES,
    PairIdentities,
    accuracy_uncertainty,
    bootstrapped,
    mean_replicates,
    mean_uncertainty,
    multiplicities,
    percentile_interval,
    tar_replicates,
    tar_uncertainty,
    wilson,
)
from harness.stats.uncertainty import Uncertainty
from harness.stats.verification import tar_at_far


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_weights_count_copies_of_people_not_of_pairs() -> None:
    pairs = PairIdentities.of(np.array([7, 7, 9]), np.array([7, 9, 9]))
    weights = pairs.weights(np.array([[3, 2], [0, 2]]))
    # a genuine pair counts once per copy (not squared), an impostor pair once per pair of copies of both people
    assert weights.tolist() == [[3, 6, 2], [0, 0, 2]]


def test_accuracy_interval_widens_with_dependence() -> None:
    people, g = 60, rng(3)
    a = np.repeat(np.arange(people), 40)
    b = np.where(np.arange(len(a)) % 2 == 0, a, (a + g.integers(1, people, len(a))) % people)
    same = a == b
    hard = g.random(people) < 0.2
    correct = np.where(same & hard[a], g.random(len(a)) < 0.5, g.random(len(a)) < 0.97)
    found = accuracy_uncertainty(correct, same, folds(same), PairIdentities.of(a, b), rng())
    assert found.interval is not None
    low, high = found.interval
    assert low < correct.mean() < high
    w_low, w_high = wilson(int(correct.sum()), len(correct), "pairs").interval
    assert high - low > 1.3 * (w_high - w_low)


def test_tar_interval_holds_the_estimate_and_matches_literal_resampling() -> None:
    g = rng(4)
    a = g.integers(0, 40, 800)
    b = np.where(np.arange(800) % 2 == 0, a, (a + 1 + g.integers(0, 39, 800)) % 40)
    same = a == b
    scores = g.normal(size=800) + 2.0 * same
    pairs = PairIdentities.of(a, b)
    drawn = multiplicities(pairs.count, 60, rng(6))
    got = tar_replicates(scores, same, 0.05, pairs, drawn)
    literal = []
    for weights in pairs.weights(drawn):
        literal.append(tar_at_far(np.repeat(scores, weights), np.repeat(same, weights), 0.05))
    assert got == pytest.approx(literal)
    low, high = percentile_interval(got)
    assert low <= tar_at_far(scores, same, 0.05) <= high


def test_same_seed_same_interval() -> None:
    values = rng(8).normal(size=50)
    assert mean_uncertainty(values, rng(1)) == mean_uncertainty(values, rng(1))
    assert mean_uncertainty(values, rng(1)) != mean_uncertainty(values, rng(2))


def test_few_identities_have_no_interval() -> None:
    few = MIN_IDENTITIES - 1
    reason = Uncertainty(note="no interval: 29 identities are too few to resample, expected 30")
    assert mean_uncertainty(np.ones(few), rng()) == reason
    assert mean_uncertainty(np.ones(MIN_IDENTITIES), rng()) == Uncertainty((1.0, 1.0), "identities", "bootstrap")
    a, same, correct = np.arange(400) % few, np.arange(400) < 200, np.arange(400) % 10 > 0
    pairs = PairIdentities.of(a, np.where(same, a, (a + 1) % few))
    found = accuracy_uncertainty(correct, same, folds(same), pairs, rng())
    assert found == reason


def test_replicates_that_are_undefined_too_often_give_a_reason() -> None:
    values = np.r_[np.full(11, np.nan), np.ones(89)]
    assert bootstrapped(values, "impostor pairs").note.endswith("a tenth of the replicates or more lack impostor pairs")
    assert bootstrapped(values) == Uncertainty()
    assert bootstrapped(values[2:], method="linear") == Uncertainty((1.0, 1.0), "identities", "linear")


def protocol(count: int, people: int = 60, seed: int = 4) -> tuple[np.ndarray, np.ndarray, PairIdentities]:
    """Scores, labels and identities of pairs, half of them genuine."""
    g = rng(seed)
    a = g.integers(0, people, count)
    b = np.where(np.arange(count) % 2 == 0, a, (a + g.integers(1, people, count)) % people)
    return g.normal(size=count) + 2.0 * (a == b), a == b, PairIdentities.of(a, b)


def folds(same: np.ndarray) -> np.ndarray:
    """Ten folds of consecutive pairs."""
    return np.arange(len(same)) * 10 // len(same)


def test_a_rate_with_a_thin_tail_has_no_interval_but_a_reason() -> None:
    scores, same, pairs = protocol(2000)
    thin = tar_uncertainty(scores, same, 0.01, folds(same), pairs, rng(), 100)
    assert thin == Uncertainty(note="no interval: 10 of 1000 impostor pairs lie beyond the threshold, expected 30")
    enough = tar_uncertainty(scores, same, 0.03, folds(same), pairs, rng(), 100)
    assert (enough.interval_over, enough.method, enough.note) == ("identities", "bootstrap", "")
    assert enough.interval is not None
    assert enough.interval[0] < tar_at_far(scores, same, 0.03) < enough.interval[1]


def test_few_errors_are_not_resampled() -> None:
    scores, same, pairs = protocol(2000)
    correct = np.ones(2000, bool)
    correct[:9] = False
    found = accuracy_uncertainty(correct, same, folds(same), pairs, rng(), 100)
    assert found == Uncertainty(note="no interval: 9 of 2000 pairs are decided wrongly, expected 10")
    found = accuracy_uncertainty(~correct, same, folds(same), pairs, rng(), 100)
    assert found == Uncertainty(note="no interval: 9 of 2000 pairs are decided rightly, expected 10")
    correct[9] = False
    assert accuracy_uncertainty(correct, same, folds(same), pairs, rng(), 100).method == "bootstrap"
    perfect = tar_uncertainty(scores + 9.0 * same, same, 0.05, folds(same), pairs, rng(), 100)
    assert perfect == Uncertainty(note="no interval: 0 of 1000 genuine pairs lie below the threshold, expected 10")


def test_unknown_identities_resample_folds() -> None:
    scores, same, _ = protocol(2000)
    correct = (scores > 1) == same
    found = accuracy_uncertainty(correct, same, folds(same), None, rng(), 100)
    each = [correct[folds(same) == k].mean() for k in range(10)]
    # of equal folds, the jackknife of a mean is the t interval of the folds' means
    expected = ttest_1samp(each, 0.0).confidence_interval(0.95)
    assert found.interval == pytest.approx((expected.low, expected.high))
    assert (found.interval_over, found.method) == ("folds", "jackknife")
    assert "identities of the pairs are not known" in found.note
    tar = tar_uncertainty(scores, same, 0.05, folds(same), None, rng(), 100)
    assert tar.interval is not None
    assert tar.interval[0] < tar_at_far(scores, same, 0.05) < tar.interval[1]
    few = accuracy_uncertainty(correct, same, folds(same) % 9, None, rng(), 100)
    text = "no interval: identities of the pairs are not known, and 9 folds are too few, expected 10"
    assert few == Uncertainty(note=text)


def test_identities_are_known_where_they_fit_the_labels_and_repeat() -> None:
    a, b = np.array([1, 1, 2, 3]), np.array([1, 2, 3, 3])
    same = a == b
    known = PairIdentities.known(a, b, same)
    assert known is not None
    assert known.count == 3
    assert PairIdentities.known(a, b, ~same) is None
    each = np.arange(4)  # numbered by pair
    assert PairIdentities.known(2 * each, np.where(same, 2 * each, 2 * each + 1), same) is None


def test_means_of_replicates_equal_those_of_the_weights() -> None:
    _, same, pairs = protocol(500, people=30)
    values, drawn = rng(9).normal(size=(500, 3)), multiplicities(30, 20, rng(2))
    got = mean_replicates(values, same, pairs, drawn)
    w = pairs.weights(drawn)
    for k in range(3):
        own = [(w[:, kind] * values[kind, k]).sum(1) / w[:, kind].sum(1) for kind in (same, ~same)]
        np.testing.assert_allclose(got[:, k], same.mean() * own[0] + (~same).mean() * own[1])
    alone = PairIdentities.of(np.arange(500), np.arange(500))
    every = multiplicities(500, 20, rng(3))
    expected = [np.mean([np.average(values[kind, 0], weights=m[kind]) for kind in (same, ~same)]) for m in every]
    np.testing.assert_allclose(mean_replicates(values, same, alone, every)[:, 0], expected)


def test_multiplicities_are_draws_with_replacement() -> None:
    drawn = multiplicities(50, 4000, rng(1))
    assert drawn.shape == (4000, 50)
    assert (drawn.sum(axis=1) == 50).all()
    assert drawn.mean() == 1
    assert drawn.var() == pytest.approx(1 - 1 / 50, abs=0.02)
    assert np.cov(drawn[:, 0], drawn[:, 1])[0, 1] == pytest.approx(-1 / 50, abs=0.05)


def test_wilson_known_values() -> None:
    found = wilson(8, 10, "identities")
    assert found.interval == pytest.approx((0.4901625, 0.9433178), abs=1e-6)
    assert (found.interval_over, found.method, found.note) == ("identities", "wilson", "")
    low, high = wilson(10, 10, "pairs").interval
    assert low < 1
    assert high == pytest.approx(1)
    with pytest.raises(ValueError, match="not less than 1"):
        wilson(0, 0, "pairs")


@pytest.mark.parametrize(("hits", "count"), [(0, 1), (1, 1), (0, 60), (5, 60), (30, 60), (60, 60), (3, 5000), (7, 10)])
def test_wilson_is_its_formula(hits: int, count: int) -> None:
    z, p = 1.959963984540054, hits / count
    center = (p + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * sqrt(p * (1 - p) / count + z**2 / (4 * count**2))
    expected = max(0.0, center - half), min(1.0, center + half)
    assert wilson(hits, count, "identities").interval == pytest.approx(expected, abs=1e-12)


def test_two_thousand_pairs_are_quick() -> None:
    a = np.arange(2000) % 300
    b = np.where(np.arange(2000) < 1000, a, (a + 7) % 300)
    started = time.process_time()
    same = a == b
    accuracy_uncertainty(rng().random(2000) < 0.9, same, folds(same), PairIdentities.of(a, b), rng(), 1000)
    assert time.process_time() - started < 2
