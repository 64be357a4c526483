"""Rates of groups at one threshold, and simultaneous intervals of their differences."""

from __future__ import annotations

import numpy as np
import pytest

from harness.stats.fairness import (
    excess,
    excess_interval,
    group_rates,
    rate_replicates,
    spread_interval,
    worst_interval,
)
from harness.stats.intervals import PairIdentities, multiplicities
from harness.stats.verification import tar_at_far

GROUPS = 3


def drawn_pairs(seed: int, people: int = 40, each: int = 200, shift: tuple[float, ...] = (0.0, 0.0, 0.0)):
    """Scores, labels, groups and identities of pairs within groups; ``shift`` is added to a group's impostor scores."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(GROUPS), 2 * each)
    same = np.tile(np.repeat([True, False], each), GROUPS)
    a = rng.integers(0, people, len(same))
    b = np.where(same, a, (a + rng.integers(1, people, len(same))) % people)
    hard = rng.normal(0, 0.5, (GROUPS, people))  # of each person, which makes pairs of one person alike
    effect = hard[group, a] + np.where(same, 0, hard[group, b] + np.array(shift)[group])
    scores = 2.0 * same + effect + rng.normal(size=len(same))
    return scores, same, group, PairIdentities.of(a + group * people, b + group * people)


def brute(scores: np.ndarray, same: np.ndarray, group: np.ndarray, far: float) -> np.ndarray:
    """TAR, FMR and accuracy of each group [3, G], pair by pair."""
    impostors = sorted((float(s) for s, g in zip(scores, same, strict=True) if not g), reverse=True)
    allowed = int(np.floor(far * len(impostors) + 1e-9))
    out = []
    for number in range(int(group.max()) + 1):
        hits, false, genuine, count, right = 0, 0, 0, 0, 0
        for score, kind, of in zip(scores.tolist(), same.tolist(), group.tolist(), strict=True):
            if of != number:
                continue
            accepted = score > impostors[allowed]
            count, genuine, right = count + 1, genuine + kind, right + (accepted == kind)
            hits, false = hits + (accepted and kind), false + (accepted and not kind)
        out.append((hits / genuine, false / (count - genuine), right / count))
    return np.array(out).T


@pytest.mark.parametrize("far", [0.01, 0.1, 0.5])
@pytest.mark.parametrize("ties", [False, True])
def test_rates_are_those_counted_pair_by_pair(far: float, ties: bool) -> None:
    scores, same, group, _ = drawn_pairs(1, shift=(0.0, 0.5, 1.0))
    scores = np.round(scores, 1) if ties else scores
    found = group_rates(scores, same, group, far)
    expected = brute(scores, same, group, far)
    np.testing.assert_allclose([found.tar[0], found.fmr[0], found.accuracy[0]], expected, rtol=0, atol=1e-12)


def test_one_group_has_the_rate_of_verification() -> None:
    scores, same, group, _ = drawn_pairs(2)
    assert group_rates(scores, same, np.zeros_like(group), 0.05).tar[0, 0] == tar_at_far(scores, same, 0.05)


def test_replicates_match_literal_resampling() -> None:
    scores, same, group, pairs = drawn_pairs(3, people=12, each=60)
    drawn = multiplicities(pairs.count, 20, np.random.default_rng(0))
    got = rate_replicates(scores, same, group, 0.1, pairs, drawn)
    for replicate, weights in enumerate(pairs.weights(drawn)):
        tar, fmr, _ = brute(np.repeat(scores, weights), np.repeat(same, weights), np.repeat(group, weights), 0.1)
        np.testing.assert_allclose(got.tar[replicate], tar, atol=1e-12)
        np.testing.assert_allclose(got.fmr[replicate], fmr, atol=1e-12)
        np.testing.assert_allclose(got.accuracy[replicate], (tar + 1 - fmr) / 2, atol=1e-12)  # half are genuine


def test_the_excess_is_the_largest_over_the_geometric_mean() -> None:
    assert excess(np.array([0.01, 0.02, 0.04])) == pytest.approx(2)
    assert excess(np.array([0.03, 0.03])) == pytest.approx(1)
    assert np.isnan(excess(np.array([0.0, 0.1])))
    assert excess_interval(np.array([0.1, 0.1]), np.array([[0.0, 0.1]] * 10)) is None


def test_intervals_stay_in_their_range_and_hold_the_estimate() -> None:
    rates, rng = np.array([0.99, 0.98, 0.7]), np.random.default_rng(0)
    replicates = rates + rng.normal(0, 0.05, (400, 3))
    low, high = spread_interval(rates, replicates)
    assert 0 < low < np.ptp(rates) < high < 1
    low, high = worst_interval(rates, replicates)
    assert 0 < low < 0.7 < high < 1
    assert spread_interval(rates[:2], replicates[:, :2])[0] == 0
    assert excess_interval(rates[:2], replicates[:, :2])[0] == 1


@pytest.mark.parametrize("shift", [(0.0, 0.0, 0.0), (0.0, 0.0, 0.8)])
def test_intervals_cover_the_truth(shift: tuple[float, ...]) -> None:
    """Of 120 studies at 95 percent, 107 or fewer would happen to 1 in 100; more than that is wide, which is allowed."""
    far, each = 0.2, 400
    scores, same, group, _ = drawn_pairs(10_000, people=100_000, each=300_000, shift=shift)
    truth = group_rates(scores, same, group, far)
    held = np.zeros(4)
    for seed in range(120):
        scores, same, group, pairs = drawn_pairs(seed, people=40, each=each, shift=shift)
        at = group_rates(scores, same, group, far)
        drawn = multiplicities(pairs.count, 200, np.random.default_rng(seed))
        found = rate_replicates(scores, same, group, far, pairs, drawn)
        intervals = (
            spread_interval(at.accuracy[0], found.accuracy),
            worst_interval(at.accuracy[0], found.accuracy),
            spread_interval(at.tar[0], found.tar),
            excess_interval(at.fmr[0], found.fmr),
        )
        true = np.ptp(truth.accuracy), truth.accuracy.min(), np.ptp(truth.tar), excess(truth.fmr[0])
        held += [low <= value <= high for (low, high), value in zip(intervals, true, strict=True)]
    assert (held > 107).all(), held / 120
