"""Leakage: synthetic faces that are nearer to an authentic person than authentic people are to one another.

Every synthetic face is searched among all authentic ones. What "too near" means is learned from the same search among
authentic people: each authentic face against all *other* people. The threshold is the cosine that a share ``far`` of
those searches reaches, so far is false accepts per search and not per pair; by chance alone, as many synthetic faces
reach it. Images are searched among images, centers of identities among centers, each with its own threshold.

Letters: N synthetic and M authentic images, I synthetic and J authentic identities, D embedding width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.arrays import Bools, Floats, Ints
from harness.stats.neighbors import centers, nearest


@dataclass(frozen=True)
class Search:
    """What a search of synthetic faces among authentic ones found.

    Attributes:
        cosine: of each query with its nearest authentic face, float32 [N].
        place: which face that is, [N].
        identity: whose it is, [N].
        authentic: the same cosine for each authentic face among other people, float32 [M].
        threshold: what a share of at most ``far`` of ``authentic`` reaches.
    """

    cosine: Floats
    place: Ints
    identity: Ints
    authentic: Floats
    threshold: float

    @property
    def above(self) -> Bools:
        """Which queries reach the threshold, [N]."""
        return np.asarray(self.cosine >= self.threshold)

    @property
    def authentic_share(self) -> float:
        """Share of authentic searches that reach the threshold."""
        return float((self.authentic >= self.threshold).mean())


def search(queries: Floats, authentic: Floats, people: Ints, far: float, device: str = "cpu") -> Search:
    """Search queries among authentic faces.

    Args:
        queries, authentic: unit vectors, float32 [N, D] and [M, D].
        people: identity of each authentic face from 0, [M]; at least two.
        far: share of authentic searches that may reach the threshold.
    """
    if people.max() == 0:
        raise ValueError("the authentic faces show 1 identity; expected at least 2 to calibrate a threshold")
    cosine, place = nearest(queries, authentic, device=device)
    own = nearest(authentic, authentic, apart=(people, people), device=device)[0][:, 0]
    return Search(cosine[:, 0], place[:, 0], people[place[:, 0]], own, reached_by(own, far))


def search_centers(synthetic: Floats, labels: Ints, authentic: Floats, people: Ints, far: float) -> Search:
    """:func:`search` of the centers of synthetic identities among the centers of authentic ones."""
    references = centers(authentic, people)
    return search(centers(synthetic, labels), references, np.arange(len(references)), far)


def reached_by(values: Floats, share: float) -> float:
    """The lowest threshold that at most a share of values [N] reaches: just above the first value that may not."""
    ranked = np.sort(values)[::-1]
    allowed = int(np.floor(share * len(values) + 1e-9))
    return float("-inf") if allowed >= len(values) else float(np.nextafter(ranked[allowed], np.float32(2)))
