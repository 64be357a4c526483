"""What protocols list: pairs of faces, or pairs of templates (sets of faces of one person)."""

from __future__ import annotations

from dataclasses import dataclass

from harness.arrays import AnyInts, Bools, Floats, Ints


@dataclass(frozen=True)
class PairSet:
    """A verification protocol's pairs over the faces of its face set.

    ``a``, ``b`` int64 [P] index the face set's rows; ``same`` bool [P]; ``fold`` int64 [P].
    """

    a: Ints
    b: Ints
    same: Bools
    fold: Ints


@dataclass(frozen=True)
class TemplateSet:
    """A template protocol: sets of its faces, and pairs of those. T templates.

    ``template`` int [N] (from 0 to T - 1), ``media`` int [N] and ``score`` float32 [N], the detector's confidence, are
    of the face set's rows; faces of one template with the same medium belong to one still or video. ``a`` and ``b``,
    int [P], index templates; ``same`` bool [P].
    """

    template: AnyInts
    media: AnyInts
    score: Floats
    a: AnyInts
    b: AnyInts
    same: Bools

    def __len__(self) -> int:
        return int(self.template.max(initial=-1)) + 1
