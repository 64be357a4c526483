"""Counter-based noise."""

import hashlib

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


def test_keyed_numbers_are_those_of_numpys_philox():
    keys = np.array([0, 1, -1, 2**63 - 1, -(2**63), 123456789], dtype=np.int64)
    drawn = noise.keyed(keys, 10, "flip")
    word = np.frombuffer(hashlib.blake2b(b"keyed/flip", digest_size=16).digest(), dtype=np.uint64)
    for key, numbers in zip(keys, drawn, strict=True):
        counter = np.array([0, key.view(np.uint64), 0, 0], dtype=np.uint64)  # NumPy counts up before it draws
        words = np.random.Philox(key=word, counter=counter).random_raw(10)
        assert numbers.tolist() == [((int(w) >> 11) + 0.5) / 2**53 for w in words]


def test_keyed_numbers_depend_on_key_and_purpose_alone():
    keys = np.arange(-50, 50)
    whole = noise.keyed(keys, 5, "a")
    assert np.array_equal(noise.keyed(keys[[70, 3]], 5, "a"), whole[[70, 3]])
    assert np.array_equal(noise.keyed(keys, 2, "a"), whole[:, :2])
    assert not np.isclose(noise.keyed(keys, 5, "b"), whole).any()
    assert len(np.unique(whole)) == whole.size
    assert abs(noise.keyed(np.arange(20_000), 8, "u").mean() - 0.5) < 0.003
