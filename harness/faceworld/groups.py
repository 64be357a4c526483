"""``fw-groups``: pairs of people of one group, as RFW has them, on the face world.

A group is a third of the range of a slider that draws the tone of the skin: no person is chosen for a group, so groups
differ in size, and every group has equally many pairs of each kind in each fold.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.errors import InputError
from harness.faceworld.identity import sliders
from harness.faceworld.protocols import (
    FOLDS,
    IDENTITIES_PER_FOLD,
    PairList,
    Protocol,
    choose,
    genuine_candidates,
    impostor_candidates,
    index_images,
)
from harness.faceworld.ranges import IDENTITY_RANGES

SLIDER = "skin_shade"  # uniform in (-1, 1)
CUTS = (-1 / 3, 1 / 3)
GROUPS = ("low", "middle", "high")
STEP = 2 * FOLDS * len(GROUPS)  # pairs come in multiples of it
_RULE = Protocol("mild", "mild", images=8)


def groups_of(seed: int, identities: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number of each person's group, 0 to 2, int64 [B]."""
    return np.digitize(sliders(seed, identities.tolist())[SLIDER], CUTS).astype(np.int64)


def grouped_pairs(world: int, count: int, seed: int = 0) -> tuple[PairList, NDArray[np.str_]]:
    """Draw the pairs, and the group [P] of each; both people of a pair are of its group.

    Args:
        world: the world's seed.
        count: number of pairs, a multiple of 60.
        seed: chooses other pairs of the same images.

    Raises:
        InputError: a count that cannot be balanced, or has too few distinct pairs.
    """
    start, each = IDENTITY_RANGES["protocols"].start, count // STEP
    people = np.arange(start, start + FOLDS * IDENTITIES_PER_FOLD)
    group = groups_of(world, people).reshape(FOLDS, IDENTITIES_PER_FOLD)
    genuine, impostor = genuine_candidates(_RULE), impostor_candidates(_RULE)
    rows = []
    for fold, here in enumerate(group):
        for number, name in enumerate(GROUPS):
            for kind, candidates in (("genuine", genuine), ("impostor", impostor)):
                inside = candidates[(here[candidates[:, [0, 2]]] == number).all(axis=1)]
                if count <= 0 or count % STEP or each > len(inside):
                    text = f"expected a multiple of {STEP}, with at most {len(inside)} pairs of a fold, group and kind"
                    raise InputError(f"face world protocol 'fw-groups' got {count} pairs: {text}")
                rows.append(choose(inside, each, seed, fold, f"faceworld/fw-groups/{name}/{kind}"))
    fold_of = np.repeat(np.arange(FOLDS, dtype=np.int64), count // FOLDS)
    identities, samples, _, a, b = index_images(_RULE, np.concatenate(rows), fold_of)
    same = np.tile(np.repeat([True, False], each), FOLDS * len(GROUPS))
    listed = PairList(identities, samples, [_RULE.mode_a] * len(identities), a, b, same, fold_of)
    return listed, np.tile(np.repeat(GROUPS, 2 * each), FOLDS)
