"""Which faces are compared, against loops."""

from __future__ import annotations

import numpy as np

from harness.stats.pairing import cosines, others, own, within

LABELS = np.repeat([0, 1, 2, 3], [3, 1, 4, 2])
OWNERS = np.array([2, 0, 2, 3, 1])


def test_within_are_all_pairs_of_one_identity() -> None:
    expected = [(i, j) for i in range(10) for j in range(i + 1, 10) if LABELS[i] == LABELS[j]]
    assert list(zip(*within(LABELS), strict=True)) == expected


def test_own_are_all_faces_of_the_owner() -> None:
    expected = [(i, j) for i in range(5) for j in range(10) if OWNERS[i] == LABELS[j]]
    assert list(zip(*own(OWNERS, LABELS), strict=True)) == expected


def test_others_are_uniform_over_all_faces_but_the_owners() -> None:
    a, b = others(OWNERS, LABELS, 40_000, np.random.default_rng(0))
    assert (OWNERS[a] != LABELS[b]).all()
    for face in range(5):
        rest = np.flatnonzero(OWNERS[face] != LABELS)
        counts = np.bincount(b[a == face], minlength=10)[rest]
        assert abs(counts.sum() - 8000) < 5 * 80
        assert np.abs(counts / counts.sum() - 1 / len(rest)).max() < 0.025


def test_cosines_are_those_of_float64() -> None:
    rng = np.random.default_rng(1)
    x, y = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (rng.normal(size=(5, 8)), rng.normal(size=(10, 8))))
    left, right = x.astype(np.float32), y.astype(np.float32)
    a, b = own(OWNERS, LABELS)
    expected = [float(left[i].astype(np.float64) @ right[j].astype(np.float64)) for i, j in zip(a, b, strict=True)]
    np.testing.assert_allclose(cosines(left, right, a, b), expected, atol=1e-15)
