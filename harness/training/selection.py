"""Which epoch's weights are taken, where that is not the last: verification between epochs.

Letters: N faces, C identities.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from harness.arrays import Bools, Ints
from harness.errors import StageError
from harness.faces.embedding import pair_distances
from harness.faces.pairing import pair_identities
from harness.stats.verification import fold_accuracies

if TYPE_CHECKING:
    from harness.components.pairs import PairSet
    from harness.components.recognizer import Recognizer
    from harness.faces.faceset import FaceSet

FOLDS = 10
LEAST_HELD_OUT = 2 * FOLDS  # identities, since a fold has impostor pairs from two on

Sets = Mapping[str, "tuple[FaceSet, PairSet]"]
"""Faces and pairs by the name that curves give them."""


def held_out(labels: Ints, share: float, random: np.random.Generator) -> Bools:
    """Which faces belong to the identities that are kept out of training, bool [N].

    Args:
        labels: identity of every face, int64 [N].
        share: of the identities; at least ``LEAST_HELD_OUT`` are kept out.
        random: chooses them.

    Raises:
        StageError: less than half of the identities would be left.
    """
    people = np.unique(labels)
    count = max(LEAST_HELD_OUT, round(share * len(people)))
    if 2 * count > len(people):
        raise StageError(
            f"margin trainer: select held-out keeps {count} of {len(people)} identities out of training, expected at "
            f"most half of them; use select: last"
        )
    kept_out: Bools = np.isin(labels, random.permutation(people)[:count])
    return kept_out


def held_out_pairs(faces: FaceSet, positions: Ints, random: np.random.Generator) -> Sets:
    """All genuine pairs of the held-out faces and as many impostor pairs, in ten folds without a common identity.

    Raises:
        StageError: no identity has two faces.
    """
    pairs = pair_identities(faces.identities, positions, FOLDS, random)
    if not len(pairs.a):
        raise StageError("margin trainer: select held-out needs identities with two images; use select: last")
    return {"held-out": (faces, pairs)}


def accuracies(recognizer: Recognizer, sets: Sets) -> dict[str, float]:
    """Ten-fold accuracy with the flip test on every set, as ``verification`` measures it."""
    return {
        name: fold_accuracies(pair_distances(name, recognizer, faces, pairs), pairs.same, pairs.fold).mean
        for name, (faces, pairs) in sets.items()
    }


def mean(found: Mapping[str, float]) -> float:
    """The mean over all sets; it alone decides."""
    return statistics.fmean(found.values())
