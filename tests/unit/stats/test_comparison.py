"""Tests of paired differences: against scipy, against known values, and their false positives."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
from scipy import stats

from harness.stats.comparison import (
    cochran_cox,
    detectable_difference,
    holm,
    mcnemar,
    method_difference,
    planned_difference,
)


def test_without_variance_over_people_it_is_the_paired_t_test() -> None:
    d = np.array([0.012, 0.03, 0.018, 0.001])
    expected = stats.ttest_1samp(d, 0)
    found = method_difference(d, 0.0, 300)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-6)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert found.value == pytest.approx(d.mean())


def test_without_variance_over_seeds_people_decide() -> None:
    found = method_difference(np.full(3, 0.02), 0.0001, 300)
    assert found.high - found.low == pytest.approx(2 * stats.t.ppf(0.975, 299) * 0.01)
    assert found.p == pytest.approx(2 * stats.t.sf(2.0, 299), rel=1e-6)


def test_the_critical_value_is_the_weighted_mean_of_two_quantiles() -> None:
    t_people, t_seeds = stats.t.ppf(0.975, 299), stats.t.ppf(0.975, 2)
    expected = (0.3 * t_people + 0.9 * t_seeds) / np.sqrt(1.2)
    assert cochran_cox([(0.3, 299), (0.9, 2)], 0.05) == pytest.approx(expected)


@pytest.mark.parametrize("people", [0.0, 1e-6, 1e-4])
def test_interval_and_p_value_say_the_same(people: float) -> None:
    g = np.random.default_rng(0)
    for _ in range(50):
        found = method_difference(g.normal(0.01, 0.01, 3), people, 300)
        assert (found.p < 0.05) == (found.low > 0 or found.high < 0)


def test_equal_rows_are_equal() -> None:
    found = method_difference(np.zeros(3), 0.0, 300)
    assert (found.value, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_a_claim_about_methods_needs_three_seeds() -> None:
    with pytest.raises(ValueError, match="2 seeds; a claim about methods needs at least 3"):
        method_difference(np.zeros(2), 0.1, 300)


def test_mcnemar_is_the_binomial_test_of_what_only_one_decides() -> None:
    g = np.random.default_rng(1)
    a, b = g.random(500) < 0.9, g.random(500) < 0.85
    found = mcnemar(a, b)
    assert (found.only_a, found.only_b) == ((a & ~b).sum(), (b & ~a).sum())
    assert found.p == pytest.approx(stats.binomtest(found.only_a, found.only_a + found.only_b).pvalue)
    assert mcnemar(b, a).p == pytest.approx(found.p)
    assert mcnemar(a, a).p == 1


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 1), (0, 9), (3, 3), (4, 5), (7, 2), (20, 45), (130, 90), (1, 400)])
def test_mcnemar_is_twice_the_tail_of_fair_coins(only_a: int, only_b: int) -> None:
    both, fewer = only_a + only_b, min(only_a, only_b)
    tail = sum(comb(both, k) for k in range(fewer + 1)) / 2**both
    first = np.repeat([True, False], [only_a, only_b])
    assert mcnemar(first, ~first).p == pytest.approx(min(1.0, 2 * tail), rel=1e-12)


def test_holm_known_values() -> None:
    # 0.01 * 4; then 0.02 * 3 = 0.06; then 0.03 * 2 = 0.06, no less than the one before; then 0.5
    assert holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_false_positives_stay_below_the_level_whatever_the_mix_of_variances() -> None:
    """The sum of variances with Welch-Satterthwaite degrees of freedom fails this with three seeds (7 percent)."""
    g = np.random.default_rng(2)
    rounds = 20_000
    for share in (0.0, 0.1, 0.5, 2.0):  # variance over people, in units of that over seeds
        seeds = g.chisquare(2, rounds) / 2
        mean = np.abs(g.normal(0, np.sqrt(1 + share), rounds))
        half = np.array([cochran_cox([(share, 299), (float(v), 2)], 0.05) for v in seeds])
        assert (mean > half).mean() < 0.054, share  # 0.05 and 2.6 standard errors of 20,000 rounds


def test_the_detectable_difference_is_found_four_times_in_five() -> None:
    g = np.random.default_rng(3)
    people, seeds, count = 5e-5, 9e-5, 3
    difference = detectable_difference(people, seeds, 300, count)
    found = 0
    for _ in range(2000):
        d = difference + g.normal(0, np.sqrt(people)) + g.normal(0, np.sqrt(seeds * count), count)
        found += method_difference(d, people, 300).p < 0.05
    assert 0.77 < found / 2000 < 0.83


def test_more_of_anything_detects_smaller_differences() -> None:
    base = planned_difference(2000, 300, 3)
    assert planned_difference(2000, 300, 5) < base
    assert planned_difference(6000, 300, 3) < base
    assert planned_difference(2000, 1000, 3) < base
    assert planned_difference(2000, 300, 3, noise=0.005) < base
    assert planned_difference(2000, 0, 3) < base  # identities unknown: no correlation is assumed
    # with seed noise alone: (t(0.975, 2) + t(0.8, 2)) sqrt(2/3) points = 4.4; the exact law of power asks for more
    assert 0.044 < planned_difference(10**8, 10**8, 3) < 0.055
