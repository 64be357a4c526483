"""Verification pairs over faces with known identities.

Letters: N faces, P pairs.
"""

from __future__ import annotations

import numpy as np

from harness.arrays import Ints
from harness.components.pairs import PairSet


def pair_identities(identities: Ints, positions: Ints, folds: int, random: np.random.Generator) -> PairSet:
    """Pairs in folds without a common identity: as many genuine as impostor ones, which stay within a fold.

    Where a fold has fewer impostor than genuine pairs, as many genuine ones are taken.

    Args:
        identities: of all faces, int64 [N].
        positions: the faces to pair, of at least two identities a fold.
        folds: how many.
        random: chooses folds and pairs.

    Returns:
        indices into all faces.
    """
    names = random.permutation(np.unique(identities[positions]))
    parts: list[tuple[Ints, Ints, bool, int]] = []
    for fold, people in enumerate(np.array_split(names, folds)):
        rows = positions[np.isin(identities[positions], people)]
        a, b = (rows[index] for index in np.triu_indices(len(rows), 1))
        same = identities[a] == identities[b]
        count = min(np.count_nonzero(same), np.count_nonzero(~same))
        for kind in (True, False):
            chosen = np.sort(random.choice(np.flatnonzero(same == kind), count, replace=False))
            parts.append((a[chosen], b[chosen], kind, fold))
    return PairSet(
        np.concatenate([part[0] for part in parts]),
        np.concatenate([part[1] for part in parts]),
        np.repeat([part[2] for part in parts], [len(part[0]) for part in parts]),
        np.repeat([part[3] for part in parts], [len(part[0]) for part in parts]),
    )
