"""Verification benchmarks of the face world: LFW-like, CFP-like and AgeDB-like lists of image pairs.

Each protocol follows the rules of the benchmark that it is named after: ten folds whose identities are disjoint, half
of the pairs of each fold genuine and half impostor, no pair twice. Images are named by (identity, sample, mode) and
drawn by ``harness.faceworld.render``.

Letters: M unique images, P pairs, C candidate pairs of one fold.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness import noise
from harness.errors import InputError, unknown
from harness.faceworld.ranges import IDENTITY_RANGES

FOLDS = 10
IDENTITIES_PER_FOLD = 30

Int = NDArray[np.int64]


@dataclass(frozen=True)
class Protocol:
    """The rule of a benchmark: which kind of image stands on each side of a pair.

    Attributes:
        mode_a: mode of the first image of every pair.
        mode_b: mode of the second image.
        images: images per identity and mode that pairs are made of.
    """

    mode_a: str
    mode_b: str
    images: int

    @property
    def symmetric(self) -> bool:
        """Whether both sides draw from the same images, so that (a, b) and (b, a) are one pair."""
        return self.mode_a == self.mode_b


PROTOCOLS: dict[str, Protocol] = {
    "fw-lfw": Protocol("mild", "mild", images=8),
    "fw-cfp": Protocol("frontal", "profile", images=6),
    "fw-agedb": Protocol("young", "old", images=6),  # 25 to 45 years apart, 35 on average
}


@dataclass(frozen=True)
class PairList:
    """Pairs over a list of unique images.

    Attributes:
        identities: identity of each image, int64 [M].
        samples: sample index of each image, int64 [M].
        modes: mode of each image, M names.
        a: first image of each pair, an index into the M images, int64 [P].
        b: second image of each pair, int64 [P].
        same: whether the pair is genuine, bool [P].
        fold: fold of each pair, 0 to 9, int64 [P].
    """

    identities: Int
    samples: Int
    modes: list[str]
    a: Int
    b: Int
    same: NDArray[np.bool_]
    fold: Int


def genuine_candidates(protocol: Protocol) -> Int:
    """All genuine pairs of one fold: rows of (person a, sample a, person b, sample b), int64 [C, 4]."""
    person, first, second = np.indices((IDENTITIES_PER_FOLD, protocol.images, protocol.images)).reshape(3, -1)
    rows = np.stack([person, first, person, second], axis=1)
    return rows[first < second] if protocol.symmetric else rows


def impostor_candidates(protocol: Protocol) -> Int:
    """All impostor pairs of one fold, in the same form, int64 [C, 4]."""
    shape = (IDENTITIES_PER_FOLD, protocol.images, IDENTITIES_PER_FOLD, protocol.images)
    rows = np.indices(shape).reshape(4, -1).T
    return rows[rows[:, 0] < rows[:, 2]] if protocol.symmetric else rows[rows[:, 0] != rows[:, 2]]


def choose(candidates: Int, count: int, seed: int, fold: int, purpose: str) -> Int:
    """Choose rows without replacement, by sorting counter-based random numbers."""
    order = np.argsort(noise.uniform(seed, [fold], [0], len(candidates), purpose)[0], kind="stable")
    chosen: Int = candidates[np.sort(order[:count])]
    return chosen


def _check(name: str, count: int) -> Protocol:
    if name not in PROTOCOLS:
        raise InputError(unknown("face world protocol", name, PROTOCOLS))
    most = 2 * FOLDS * len(genuine_candidates(PROTOCOLS[name]))
    if count <= 0 or count % (2 * FOLDS) or count > most:
        raise InputError(
            f"face world protocol {name!r} got {count} pairs: expected a multiple of {2 * FOLDS} from {2 * FOLDS} "
            f"to {most}, for ten balanced folds without a duplicate"
        )
    return PROTOCOLS[name]


def index_images(protocol: Protocol, rows: Int, fold: Int) -> tuple[Int, Int, Int, Int, Int]:
    """Number the images that occur in ``rows``; returns identity, sample and side of each, then a and b."""
    start = IDENTITY_RANGES["protocols"].start
    sides = []
    for side in (0, 1):
        identity = start + fold * IDENTITIES_PER_FOLD + rows[:, 2 * side]
        pool = np.full_like(identity, 0 if protocol.symmetric else side)
        sides.append(np.stack([identity, pool, rows[:, 2 * side + 1]], axis=1))
    images, index = np.unique(np.concatenate(sides), axis=0, return_inverse=True)
    index = index.reshape(2, -1)
    return images[:, 0], images[:, 2], images[:, 1], index[0], index[1]


def pairs(name: str, count: int = 6_000, seed: int = 0) -> PairList:
    """Draw the pair list of a protocol.

    Args:
        name: a key of ``PROTOCOLS``.
        count: number of pairs, a multiple of 20.
        seed: chooses other pairs of the same images; published figures use 0.

    Returns:
        The pairs, ordered by fold, genuine before impostor.

    Raises:
        InputError: unknown name, or a count that cannot be balanced or has too few distinct pairs.
    """
    protocol = _check(name, count)
    half = count // (2 * FOLDS)
    genuine, impostor = genuine_candidates(protocol), impostor_candidates(protocol)
    rows = []
    for fold in range(FOLDS):
        rows.append(choose(genuine, half, seed, fold, f"faceworld/{name}/genuine"))
        rows.append(choose(impostor, half, seed, fold, f"faceworld/{name}/impostor"))
    fold_of = np.repeat(np.arange(FOLDS, dtype=np.int64), 2 * half)
    identities, samples, side, a, b = index_images(protocol, np.concatenate(rows), fold_of)
    modes = [(protocol.mode_a, protocol.mode_b)[int(s)] for s in side]
    same = np.tile(np.repeat([True, False], half), FOLDS)
    return PairList(identities, samples, modes, a, b, same, fold_of)
