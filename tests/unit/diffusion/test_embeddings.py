"""Embeddings around anchors: each is the stated formula of its own draws, whatever the batch."""

from __future__ import annotations

import numpy as np
import pytest

from harness import noise
from harness.diffusion.embeddings import embeddings_around


def unit(count: int, width: int = 16) -> np.ndarray:
    drawn = np.random.default_rng(0).normal(size=(count, width))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


def test_the_formula_to_the_last_bit_and_the_streams_of_id3() -> None:
    """ID3's results rest on the names of these two draws."""
    w, who, which = unit(5), [3, 3, 0, 9, 1], [0, 1, 0, 4, 2]
    c = 0.7 + (0.9 - 0.7) * noise.uniform(11, who, which, 1, "id3-cosine")
    v = noise.normal(11, who, which, (16,), "id3-direction").astype(np.float64)
    u = v - (v * w.astype(np.float64)).sum(axis=1, keepdims=True) * w
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    expected = (c * w.astype(np.float64) + np.sqrt(1 - c**2) * u).astype(np.float32)
    assert np.array_equal(embeddings_around(w, (0.7, 0.9), 11, who, which, "id3"), expected)


def test_every_image_may_have_a_bound_of_its_own() -> None:
    w, low = unit(300), np.linspace(-0.5, 1.0, 300)[:, None]
    y = embeddings_around(w, (low, 1.0), 0, range(300), [0] * 300, "tests").astype(np.float64)
    share = (np.einsum("bd,bd->b", y, w.astype(np.float64)) - low[:, 0])[:-1] / (1.0 - low[:-1, 0])  # uniform in [0, 1]
    assert -1e-4 < share.min() < 0.05
    assert 0.95 < share.max() < 1 + 1e-4
    np.testing.assert_allclose(y[-1], w[-1], atol=1e-6)


@pytest.mark.parametrize("bounds", [(0.5, 0.7), (0.7, 0.9), (0.9, 0.9), (-0.2, 1.0)])
def test_embeddings_keep_their_cosine_to_the_anchor(bounds: tuple[float, float]) -> None:
    random = np.random.default_rng(0)
    w = random.normal(size=(400, 64))
    w = (w / np.linalg.norm(w, axis=1, keepdims=True)).astype(np.float32)
    y = embeddings_around(w, bounds, 0, range(400), range(400), "tests")
    assert y.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(y.astype(np.float64), axis=1), 1.0, atol=1e-6)
    cosine = np.einsum("bd,bd->b", y.astype(np.float64), w.astype(np.float64))
    assert (cosine >= bounds[0] - 1e-6).all()
    assert (cosine <= bounds[1] + 1e-6).all()
    width = bounds[1] - bounds[0]
    assert cosine.mean() == pytest.approx(sum(bounds) / 2, abs=4 * width / np.sqrt(12 * 400) + 1e-6)


def test_embeddings_do_not_depend_on_batches() -> None:
    anchors = unit(6)
    who, which = [0, 0, 1, 5], [0, 7, 7, 2]
    whole = embeddings_around(anchors[who], (0.7, 0.9), 3, who, which, "tests")
    for row in range(4):
        alone = embeddings_around(anchors[who[row : row + 1]], (0.7, 0.9), 3, who[row : row + 1], [which[row]], "tests")
        np.testing.assert_allclose(alone[0], whole[row], rtol=0, atol=1e-7)
    assert not np.allclose(whole[0], whole[1])
    assert not np.allclose(whole, embeddings_around(anchors[who], (0.7, 0.9), 4, who, which, "tests"))


def test_two_embeddings_of_one_anchor_have_the_expected_cosine() -> None:
    w = np.zeros((600, 512), np.float32)
    w[:, 0] = 1
    y = embeddings_around(w, (0.5, 0.7), 0, [0] * 600, range(600), "tests")
    cosine = (y @ y.T)[np.triu_indices(600, 1)]
    assert cosine.mean() == pytest.approx(0.36, abs=0.01)  # E[c]^2
