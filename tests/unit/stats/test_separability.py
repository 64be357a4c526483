"""Score statistics against pyeer."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest

from harness.stats.separability import fisher_ratio, pyeer_statistics, score_statistics


def scores(seed: int, ties: bool) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    genuine, impostor = rng.normal(0.4, 0.15, 700), rng.normal(0.0, 0.1, 5000)
    return (genuine.round(2), impostor.round(2)) if ties else (genuine, impostor)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_own_statistics_equal_pyeer(seed: int, ties: bool) -> None:
    own, theirs = score_statistics(*scores(seed, ties)), pyeer_statistics(*scores(seed, ties))
    for name, value in asdict(theirs).items():
        assert asdict(own)[name] == pytest.approx(value, abs=1e-12, rel=1e-12), name


@pytest.mark.parametrize("gap", [5.0, 0.0, -5.0])
def test_separate_equal_and_reversed_scores(gap: float) -> None:
    rng = np.random.default_rng(9)
    genuine, impostor = rng.normal(gap, 0.1, 50), rng.normal(0, 0.1, 60)
    own, theirs = asdict(score_statistics(genuine, impostor)), asdict(pyeer_statistics(genuine, impostor))
    assert own == pytest.approx(theirs, abs=1e-12)
    if gap > 0:
        assert own["eer"] == 0


def test_fisher_ratio_is_half_of_d_prime_squared() -> None:
    found = pyeer_statistics(*scores(3, False))
    assert found.fdr == pytest.approx(found.d_prime**2 / 2, rel=1e-12)


def test_fisher_ratio_reproduces_a_published_row() -> None:
    # IDiff-Face in NegFaceDiff's table: 0.226, 0.117, 0.014, 0.070 give 2.427 up to the rounding of the moments
    assert fisher_ratio(0.226, 0.117**2, 0.014, 0.070**2) == pytest.approx(2.427, abs=0.06)
    assert np.isnan(fisher_ratio(0.2, 0.0, 0.1, 0.0)), "no score varies"


@pytest.mark.parametrize(
    ("genuine", "impostor", "message"),
    [
        (np.ones(0), np.ones(3), "0 genuine and 3 impostor"),
        (np.array([np.nan]), np.ones(3), "not finite"),
        (np.ones(4), np.ones(3), "all genuine and all impostor scores are equal"),
    ],
)
def test_impossible_scores_are_refused(genuine: np.ndarray, impostor: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        score_statistics(genuine, impostor)
