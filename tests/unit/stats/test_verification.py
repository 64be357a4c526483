"""The ten-fold protocol."""

from __future__ import annotations

import numpy as np
import pytest

from harness.stats.verification import THRESHOLDS, fold_accuracies, squared_distances, tar_at_far, unit


def pairs(rng: np.random.Generator, count: int = 2000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distances of duplicated genuine pairs against random impostors, in ten folds."""
    first = unit(rng.normal(size=(count, 64)))
    same = np.arange(count) % 2 == 0
    second = np.where(same[:, None], first, unit(rng.normal(size=(count, 64))))
    return squared_distances(first, second), same, np.repeat(np.arange(10), count // 10)


def test_thresholds_are_the_reference_grid() -> None:
    assert len(THRESHOLDS) == 400
    assert THRESHOLDS[0] == 0
    assert THRESHOLDS[-1] == pytest.approx(3.99)


def test_duplicated_pairs_are_all_told_apart() -> None:
    distances, same, fold = pairs(np.random.default_rng(0))
    assert fold_accuracies(distances, same, fold).mean == 1.0


def test_shuffled_labels_give_chance() -> None:
    rng = np.random.default_rng(1)
    distances, same, fold = pairs(rng)
    assert fold_accuracies(distances, rng.permutation(same), fold).mean == pytest.approx(0.5, abs=0.04)


def test_order_within_folds_does_not_matter() -> None:
    rng = np.random.default_rng(2)
    _, same, fold = pairs(rng)
    distances = np.clip(rng.normal(1.5 - 0.6 * same, 0.4), 0, 4)
    order = np.lexsort((rng.random(len(fold)), fold))
    plain, moved = fold_accuracies(distances, same, fold), fold_accuracies(distances[order], same[order], fold[order])
    assert moved.mean == plain.mean
    assert (moved.correct == plain.correct[order]).all()
    assert 0.6 < plain.mean < 0.9


def test_decision_is_strict_and_ties_take_the_lowest_threshold() -> None:
    # genuine at exactly 0.5 are accepted from 0.51 on; impostors at 1.0 are rejected up to 1.0
    same = np.tile([True, False], 10)
    distances = np.where(same, THRESHOLDS[50], THRESHOLDS[100])
    found = fold_accuracies(distances, same, np.repeat(np.arange(10), 2))
    assert found.mean == 1.0
    assert (found.threshold == THRESHOLDS[51]).all()


def test_threshold_comes_from_the_other_folds() -> None:
    # fold 0 alone would be perfect at a low threshold, but the nine others ask for a high one
    same = np.tile([True, False], 10)
    distances = np.where(same, 2.0, 3.0)
    distances[:2] = [0.5, 1.0]
    found = fold_accuracies(distances, same, np.repeat(np.arange(10), 2))
    assert found.accuracy[0] == 0.5
    assert (found.accuracy[1:] == 1.0).all()


def test_one_fold_is_refused() -> None:
    with pytest.raises(ValueError, match="4 pairs lie in 1 fold"):
        fold_accuracies(np.zeros(4), np.ones(4, bool), np.zeros(4, int))


def test_tar_at_far_counts_exactly() -> None:
    impostor = np.arange(100) / 100.0  # 0.99 is the highest
    genuine = np.array([0.985, 0.99, 0.995, 0.5])
    scores = np.concatenate([impostor, genuine])
    same = np.arange(104) >= 100
    assert tar_at_far(scores, same, 0.0) == 0.25  # above 0.99
    assert tar_at_far(scores, same, 0.01) == 0.75  # one impostor may pass: above 0.98
    assert tar_at_far(scores, same, 0.0199) == 0.75
    assert tar_at_far(scores, same, 1.0) == 1.0
