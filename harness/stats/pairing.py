"""Which faces are compared: pairs of positions, as datasets are judged by them.

The right-hand faces of a pair are sorted by identity, which is numbered from 0. For pairs within one set, both sides
are that set and a face's owner is its own identity.

Letters: N left and M right faces, P pairs, D embedding width.
"""

from __future__ import annotations

import numpy as np

from harness.arrays import Doubles, Floats, Ints

_BLOCK = 1 << 18  # pairs scored at once


def cosines(left: Floats, right: Floats, a: Ints, b: Ints) -> Doubles:
    """Cosines of the pairs (a, b) [P] of unit vectors, float32 [N, D] and [M, D], summed in float64."""
    out = np.empty(len(a))
    for start in range(0, len(a), _BLOCK):
        part = slice(start, start + _BLOCK)
        out[part] = np.einsum("pd,pd->p", left[a[part]], right[b[part]], dtype=np.float64)
    return out


def within(labels: Ints) -> tuple[Ints, Ints]:
    """All pairs of two faces of one identity, first position below second.

    Args:
        labels: identity of each face, ascending from 0, [N].
    """
    a, b = own(labels, labels)
    return a[a < b], b[a < b]


def own(owners: Ints, labels: Ints) -> tuple[Ints, Ints]:
    """Every left face with all right faces of its owner.

    Args:
        owners: identity to which each left face belongs, [N]; it may have no right face.
        labels: identity of each right face, ascending from 0, [M].
    """
    starts, sizes = _blocks(labels)
    counts = sizes[owners]
    a = np.repeat(np.arange(len(owners)), counts)
    place = np.arange(len(a)) - np.repeat(np.cumsum(counts) - counts, counts)  # among the owner's faces
    return a, starts[owners[a]] + place


def others(owners: Ints, labels: Ints, count: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """``count`` random pairs of a left face with a right face of somebody else, with replacement.

    Args:
        owners, labels: as in :func:`own`.
    """
    starts, sizes = _blocks(labels)
    a = rng.integers(0, len(owners), count)
    b = rng.integers(0, len(labels) - sizes[owners[a]])  # counted without the owner's faces
    return a, b + np.where(b >= starts[owners[a]], sizes[owners[a]], 0)


def _blocks(labels: Ints) -> tuple[Ints, Ints]:
    sizes = np.bincount(labels)
    return np.cumsum(sizes) - sizes, sizes
