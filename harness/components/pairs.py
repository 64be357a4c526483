"""What protocols list: pairs of faces, or pairs of templates (sets of faces of one person)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.arrays import AnyInts, Bools, Floats, Ints

if TYPE_CHECKING:
    from harness.faces.faceset import FaceSet


@dataclass(frozen=True)
class LostPairs:
    """Pairs with a face, or a template, that no aligner found: nothing can be compared.

    Evaluators of verification call them different people, so that a face that is not found costs what it costs in use;
    a detector that finds nothing then scores as a guess does.

    ``identity_a``, ``identity_b`` int64 [L]; ``same`` bool [L]; ``fold`` int64 [L], zero for pairs of templates;
    ``group`` [L] as that of a :class:`PairSet`.
    """

    identity_a: Ints
    identity_b: Ints
    same: Bools
    fold: Ints
    group: NDArray[Any] | None = None

    def __len__(self) -> int:
        return len(self.same)

    def columns(self) -> dict[str, NDArray[Any]]:
        """What is known of the pairs, by name, [L] each."""
        return {name: column for name, column in vars(self).items() if column is not None}


@dataclass(frozen=True)
class PairSet:
    """A verification protocol's pairs over the faces of its face set.

    ``a``, ``b`` int64 [P] index the face set's rows; ``same`` bool [P]; ``fold`` int64 [P]. ``lost`` holds the listed
    pairs of which a face is not there; None where no face could be lost. ``group`` [P], text, names the group of people
    that a pair belongs to, empty for a pair of none; None where the protocol has no groups.
    """

    a: Ints
    b: Ints
    same: Bools
    fold: Ints
    lost: LostPairs | None = None
    group: NDArray[Any] | None = None

    def of_found(self, faces: FaceSet) -> PairSet:
        """These pairs, which index all planned pictures of ``faces``, as pairs of the faces that were found."""
        places = faces.places
        a, b = places[self.a], places[self.b]
        there = (a >= 0) & (b >= 0)
        first, second = (faces.planned_identities[side[~there]] for side in (self.a, self.b))
        kept, gone = (None, None) if self.group is None else (self.group[there], self.group[~there])
        lost = LostPairs(first, second, self.same[~there], self.fold[~there], gone)
        return PairSet(a[there], b[there], self.same[there], self.fold[there], lost, kept)


@dataclass(frozen=True)
class TemplateSet:
    """A template protocol: sets of its faces, and pairs of those. T templates.

    ``template`` int [N] (from 0 to T - 1), ``media`` int [N] and ``score`` float32 [N], the detector's confidence, are
    of the face set's rows; faces of one template with the same medium belong to one still or video. ``a`` and ``b``,
    int [P], index templates; ``same`` bool [P]. ``lost`` holds the listed pairs of which a template has no face; None
    where no face could be lost. For 1:N identification, ``gallery``, int [N], is 0 for the faces of probes and k for
    those of the templates of gallery k; None where the protocol has no galleries.
    """

    template: AnyInts
    media: AnyInts
    score: Floats
    a: AnyInts
    b: AnyInts
    same: Bools
    lost: LostPairs | None = None
    gallery: AnyInts | None = None

    def __len__(self) -> int:
        return int(self.template.max(initial=-1)) + 1

    def of_found(self, faces: FaceSet) -> TemplateSet:
        """These templates of all planned pictures of ``faces`` as templates of the faces that were found."""
        found = faces.places >= 0
        people, number = np.zeros(len(self), np.int64), np.full(len(self), -1)
        people[self.template] = faces.planned_identities
        filled, template = np.unique(self.template[found], return_inverse=True)
        number[filled] = np.arange(len(filled))
        a, b = number[self.a], number[self.b]
        there = (a >= 0) & (b >= 0)
        first, second = (people[side[~there]] for side in (self.a, self.b))
        lost = LostPairs(first, second, self.same[~there], np.zeros(len(first), np.int64))
        gallery = None if self.gallery is None else self.gallery[found]
        media, score, same = self.media[found], self.score[found], self.same[there]
        return TemplateSet(template, media, score, a[there], b[there], same, lost, gallery)
