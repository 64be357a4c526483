"""Alignment, verification and score statistics against numbers of the public reference implementations."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from harness.faces.crops import reference_landmarks
from harness.faces.warp import similarity
from harness.stats.separability import ScoreStatistics, pyeer_statistics, score_statistics
from harness.stats.verification import flip_fused, fold_accuracies, squared_distances


def test_similarity_equals_reference(golden_dir: Path) -> None:
    golden = np.load(golden_dir / "alignment.npz")
    found = similarity(golden["landmarks"], reference_landmarks(112))
    assert np.abs(found - golden["matrices"]).max() <= 1e-6


def test_fold_accuracies_equal_reference(golden_dir: Path) -> None:
    golden = np.load(golden_dir / "verification.npz")
    embeddings = flip_fused(golden["embeddings"], golden["embeddings_flipped"])
    distances = squared_distances(embeddings[0::2], embeddings[1::2])
    same = golden["issame"]
    fold = np.repeat(np.arange(10), len(same) // 10)
    found = fold_accuracies(distances, same, fold)
    np.testing.assert_allclose(found.accuracy, golden["fold_accuracy"], rtol=0, atol=1e-9)
    assert found.mean == pytest.approx(float(golden["accuracy_mean"]), abs=1e-9)
    assert found.std == pytest.approx(float(golden["accuracy_std"]), abs=1e-9)
    assert found.correct.mean() == pytest.approx(found.mean)


@pytest.mark.parametrize("compute", [score_statistics, pyeer_statistics])
def test_score_statistics_equal_reference(golden_dir: Path, compute: object) -> None:
    golden = np.load(golden_dir / "scores.npz")
    found: ScoreStatistics = compute(golden["genuine"], golden["impostor"])  # type: ignore[operator]
    names = {
        "eer_threshold": "eer_th",
        "genuine_mean": "gmean",
        "genuine_std": "gstd",
        "impostor_mean": "imean",
        "impostor_std": "istd",
        "d_prime": "decidability",
    }
    for name, value in asdict(found).items():
        assert value == pytest.approx(float(golden[names.get(name, name)]), abs=1e-12, rel=1e-12), name
