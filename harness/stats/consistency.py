"""Consistency: do the images of an identity show one person, and do two identities show two?

An image is assigned to the identity whose center is nearest by cosine; its own center is taken without it, or every
image would vote for itself.

Letters: N images, I identities, D embedding width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.arrays import Bools, Floats, Ints
from harness.stats.neighbors import centers, centers_without_each, nearest

# Of two identities that show one person, half of the images fall to the other one; scattered wrong labels fall to many.
DOUBLE_SHARE = 0.25


@dataclass(frozen=True)
class Assignment:
    """Where each image belongs, by the judge.

    Attributes:
        own: cosine with the center of the other images of its identity, float32 [N]; NaN where it has no other image.
        other: cosine with the nearest center of another identity, float32 [N].
        rival: which identity that is, [N].
        wrong: whether the rival is nearer, bool [N]; False where ``own`` is NaN.
    """

    own: Floats
    other: Floats
    rival: Ints

    @property
    def wrong(self) -> Bools:
        return np.asarray(self.other > self.own)


def assign(embeddings: Floats, labels: Ints, device: str = "cpu") -> Assignment:
    """Assign every image to a center.

    Args:
        embeddings: unit vectors, float32 [N, D].
        labels: identity of each from 0, [N]; at least two.
    """
    if labels.max() == 0:
        raise ValueError("the images show 1 identity; expected at least 2")
    people = centers(embeddings, labels)
    own = np.einsum("nd,nd->n", embeddings, centers_without_each(embeddings, labels)).astype(np.float32)
    own[np.bincount(labels)[labels] == 1] = np.nan
    apart = labels, np.arange(len(people))
    other, rival = nearest(embeddings, people, apart=apart, device=device)
    return Assignment(own, other[:, 0], rival[:, 0])


def doubles(found: Assignment, labels: Ints) -> list[tuple[int, int]]:
    """Pairs of identities, each of which loses ``DOUBLE_SHARE`` of its images or more to the other one."""
    count = int(labels.max()) + 1
    keys, lost = np.unique(labels[found.wrong] * count + found.rival[found.wrong], return_counts=True)
    enough = lost >= DOUBLE_SHARE * np.bincount(labels)[keys // count]
    taken = set(zip((keys[enough] // count).tolist(), (keys[enough] % count).tolist(), strict=True))
    return sorted((a, b) for a, b in taken if a < b and (b, a) in taken)
