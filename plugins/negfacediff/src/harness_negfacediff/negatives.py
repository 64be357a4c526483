"""Which context each identity is steered away from: one negative per identity, for all its images and steps.

Letters: I identities, D context width. Source: NegFaceDiff, arXiv 2508.09661; exact rules in the docstrings.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from harness import noise
from harness.arrays import Floats, Ints
from harness.errors import StageError

# Cosines held at a time, 128 MB of them: memory does not grow with the pool.
BLOCK = 2**25

# What stands for the cosine to oneself, so that it is never chosen, and the choice from cosines [B, I].
_RULES: dict[str, tuple[float, Callable[[Floats], Ints]]] = {
    "close": (-np.inf, lambda cosine: cosine.argmax(axis=1)),
    "far": (np.inf, lambda cosine: cosine.argmin(axis=1)),
    # Rank floor((I - 1) / 2) of the other I - 1, ascending. Ours: the reference's list ends with oneself.
    "mid": (np.inf, lambda cosine: _rank(cosine, (cosine.shape[1] - 1) // 2)),
    # Rank floor(I / 2), the reference's: the same one in a pool of odd size, the next one in a pool of even size.
    "mid_reference": (np.inf, lambda cosine: _rank(cosine, cosine.shape[1] // 2)),
}


def negative_table(contexts: Floats, kind: str, seed: int) -> Ints:
    """The negative of every identity, never the identity itself.

    Args:
        contexts: unit-norm contexts of the whole pool, [I, D].
        kind: ``close``, ``mid``, ``mid_reference``, ``far`` by cosine; ``random``, a seeded uniform draw from the
            others; or ``previous``, the reference's "random": the identity before, and for the first one the last.
        seed: of the random draw.

    Returns:
        int64 [I], places in the pool.

    Raises:
        StageError: there are fewer than two identities, or fewer than three for ``mid_reference``, whose rule gives
            one of two identities itself.
    """
    count = len(contexts)
    least = 3 if kind == "mid_reference" else 2
    if count < least:
        raise StageError(f"negative {kind} needs {least} identities, the pool has {count}")
    if kind == "previous":
        return np.arange(-1, count - 1, dtype=np.int64) % count
    if kind == "random":
        draw = noise.uniform(seed, range(count), [0] * count, 1, "random-negative")[:, 0]
        place = (draw * (count - 1)).astype(np.int64)  # among the others
        return place + (place >= np.arange(count))
    table = np.empty(count, dtype=np.int64)
    rows = max(1, BLOCK // count)
    own, choose = _RULES[kind]
    for start in range(0, count, rows):
        cosine = contexts[start : start + rows] @ contexts.T  # [B, I]
        cosine[np.arange(len(cosine)), np.arange(start, start + len(cosine))] = own
        table[start : start + rows] = choose(cosine)
    return table


def _rank(cosine: Floats, rank: int) -> Ints:
    """Place of the value of an ascending rank in each row, the first of equal ones."""
    value = np.partition(cosine, rank, axis=1)[:, rank, None]  # [B, 1]
    place: Ints = (cosine == value).argmax(axis=1)
    return place
