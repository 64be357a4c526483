"""Counter-based noise."""

import numpy as np

from harness import noise


def test_value_depends_on_the_item_alone():
    whole = noise.normal(0, range(10), [3] * 10, (2, 4), "x_T")
    parts = np.concatenate([noise.normal(0, [i], [3], (2, 4), "x_T") for i in range(10)])
    assert np.array_equal(whole, parts)
    assert np.array_equal(noise.normal(0, [7], [3], (2, 4), "x_T")[0], whole[7])


def test_every_part_of_the_key_matters():
    base = noise.uniform(0, [1], [2], 8, "a", 0)
    others = [
        noise.uniform(1, [1], [2], 8, "a", 0),
        noise.uniform(0, [2], [2], 8, "a", 0),
        noise.uniform(0, [1], [1], 8, "a", 0),
        noise.uniform(0, [1], [2], 8, "b", 0),
        noise.uniform(0, [1], [2], 8, "a", 1),
        noise.uniform(0, [2], [1], 8, "a", 0),
    ]
    assert all(not np.array_equal(base, other) for other in others)


def test_distribution():
    values = noise.normal(0, range(500), [0] * 500, (200,), "d")
    assert values.dtype == np.float32
    assert abs(values.mean()) < 0.02
    assert abs(values.std() - 1) < 0.02
    assert abs(np.corrcoef(values[:250].ravel(), values[250:].ravel())[0, 1]) < 0.02


def test_frozen_values():
    # Shipped weights and published figures depend on these numbers: they may never change.
    assert noise.uniform(0, [1], [2], 2, "frozen").tolist() == [[0.09753262413243186, 0.7552668503335558]]
