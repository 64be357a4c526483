"""Which context each identity is steered away from: one negative per identity, for all its images and steps.

Letters: I identities, D context width. Source: NegFaceDiff, arXiv 2508.09661; exact rules in the docstrings.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from harness import noise
from harness.errors import StageError

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

# Rows of the similarity matrix held at a time: 100,000 contexts need 400 MB per block of 1,000.
BLOCK = 1_000

# From the cosines of one identity to the others [I - 1], self left out, to a place among them.
_RULES: dict[str, Callable[[Floats], Ints]] = {
    "close": lambda cosine: cosine.argmax(axis=1),
    "far": lambda cosine: cosine.argmin(axis=1),
    # Rank floor((N - 1) / 2) of the other N - 1, ascending. Ours: the reference ranks self as well.
    "mid": lambda cosine: np.argsort(cosine, axis=1, kind="stable")[:, cosine.shape[1] // 2],
}


def negative_table(contexts: Floats, kind: str, seed: int) -> Ints:
    """The negative of every identity, never the identity itself.

    Args:
        contexts: unit-norm contexts of the whole pool, [I, D].
        kind: ``close``, ``mid``, ``far`` by cosine, or ``random``: a seeded uniform draw from the others.
        seed: of the random draw.

    Returns:
        int64 [I], places in the pool.

    Raises:
        StageError: there are fewer than two identities.
    """
    count = len(contexts)
    if count < 2:
        raise StageError(f"a negative needs another identity, the pool has {count}")
    if kind == "random":
        draw = noise.uniform(seed, range(count), [0] * count, 1, "random-negative")[:, 0]
        return _skip_self((draw * (count - 1)).astype(np.int64), np.arange(count))
    table = np.empty(count, dtype=np.int64)
    for start in range(0, count, BLOCK):
        rows = np.arange(start, min(start + BLOCK, count))
        cosine = contexts[rows] @ contexts.T  # [block, I]
        others = np.ones_like(cosine, dtype=bool)
        others[np.arange(len(rows)), rows] = False
        table[rows] = _skip_self(_RULES[kind](cosine[others].reshape(len(rows), count - 1)), rows)
    return table


def _skip_self(place: Ints, self_row: Ints) -> Ints:
    """Turn a place among the others into a place in the pool."""
    return place + (place >= self_row)
