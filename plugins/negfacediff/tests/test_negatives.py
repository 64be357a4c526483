"""Negative tables: everyone has a negative, nobody is their own, and the kinds are what their names say."""

from __future__ import annotations

import numpy as np
import pytest
from harness_negfacediff import negatives
from harness_negfacediff.negatives import negative_table
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import StageError

KINDS = ("close", "mid", "far", "random", "previous")


def unit(count: int, seed: int, width: int = 16) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(size=(count, width))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(count=st.integers(2, 40), seed=st.integers(0, 1000), copies=st.booleans())
def test_everyone_has_a_negative_and_nobody_is_their_own(count: int, seed: int, copies: bool) -> None:
    contexts = unit(count, seed)
    if copies:  # equal contexts: ties, and others that are as close as oneself
        contexts[:] = contexts[np.arange(count) // 2]
    cosine = contexts.astype(np.float64) @ contexts.T.astype(np.float64)
    found = {}
    for kind in KINDS:
        table = negative_table(contexts, kind, seed)
        assert table.shape == (count,)
        assert table.dtype == np.int64
        assert (table != np.arange(count)).all()
        assert ((table >= 0) & (table < count)).all()
        found[kind] = cosine[np.arange(count), table]
    rounding = 1e-6
    assert (found["close"] >= found["mid"] - rounding).all()
    assert (found["mid"] >= found["far"] - rounding).all()
    assert found["previous"] == pytest.approx(np.diagonal(cosine[:, np.arange(-1, count - 1)]), abs=rounding)
    others = np.where(np.eye(count, dtype=bool), np.nan, cosine)
    assert found["close"] == pytest.approx(np.nanmax(others, axis=1), abs=rounding)
    assert found["far"] == pytest.approx(np.nanmin(others, axis=1), abs=rounding)
    ranked = np.sort(others, axis=1)[:, (count - 1) // 2]  # NaN, oneself, is sorted last
    assert found["mid"] == pytest.approx(ranked, abs=rounding)


def test_acceptance_8_the_published_pool() -> None:
    contexts = unit(10_050, 0, width=64)
    found = {}
    for kind in ("close", "mid", "far"):
        table = negative_table(contexts, kind, 0)
        assert table.shape == (10_050,)
        assert (table != np.arange(10_050)).all()
        found[kind] = np.einsum("id,id->i", contexts, contexts[table])
    assert (found["close"] >= found["mid"]).all()
    assert (found["mid"] >= found["far"]).all()
    assert (found["close"] > 0.2).all()
    assert (np.abs(found["mid"]) < 0.02).all()
    assert (found["far"] < -0.2).all()


@pytest.mark.parametrize("count", [3, 4, 5, 8, 51, 52])
def test_the_references_rules(count: int) -> None:
    """Its "mid": the element floor(N / 2) of all N cosines in ascending order, oneself being the last of them."""
    contexts = unit(count, 2)
    cosine = contexts @ contexts.T
    literal = np.array([np.argsort(row)[count // 2] for row in cosine])
    assert np.array_equal(negative_table(contexts, "mid_reference", 0), literal)
    assert np.array_equal(negative_table(contexts, "mid", 0), literal) == (count % 2 == 1)
    assert negative_table(contexts, "previous", 0).tolist() == [count - 1, *range(count - 1)]


@pytest.mark.parametrize("kind", ["close", "mid", "far", "mid_reference"])
def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    contexts = unit(53, 1)
    whole = negative_table(contexts, kind, 0)
    for rows in (1, 7, 52, 53):
        monkeypatch.setattr(negatives, "BLOCK", 53 * rows)
        assert np.array_equal(negative_table(contexts, kind, 0), whole)


def test_random_is_uniform_over_the_others_and_seeded() -> None:
    contexts = unit(5, 0)
    tables = np.stack([negative_table(contexts, "random", seed) for seed in range(1000)])
    for identity in range(5):
        counts = np.bincount(tables[:, identity], minlength=5)
        assert counts[identity] == 0
        others = np.delete(counts, identity)
        assert ((others - 250) ** 2 / 250).sum() < 16.3  # chi squared, 3 degrees of freedom, p = 0.001
    assert np.array_equal(negative_table(contexts, "random", 3), tables[3])


def test_random_depends_on_the_place_and_not_on_the_pool() -> None:
    """An identity keeps its stream when the pool changes in size; only its range grows."""
    first = negative_table(unit(50, 0), "random", 0)
    assert np.array_equal(first, negative_table(unit(50, 9), "random", 0))


def test_one_identity_has_no_negative() -> None:
    with pytest.raises(StageError, match="the pool has 1"):
        negative_table(unit(1, 0), "far", 0)
    with pytest.raises(StageError, match="mid_reference needs 3 identities, the pool has 2"):
        negative_table(unit(2, 0), "mid_reference", 0)
