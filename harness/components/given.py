"""What a component is given: one frozen value that holds what stands in the roles it asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.components.roles import ROLES, not_asked
from harness.errors import StageError

if TYPE_CHECKING:
    from harness.arrays import Floats, Ints
    from harness.components.model import Model
    from harness.components.pairs import PairSet, TemplateSet
    from harness.components.recognizer import Recognizer
    from harness.faces.faceset import FaceSet

_NOT_GIVEN: Any = None
_OPTIONAL = frozenset({"autoencoder", "people"})


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Given:
    """What a component asked for in ``needs``; what it did not ask for cannot be read.

    Attributes:
        source: authentic faces. A fit, a law of contexts and a row of existing images get raw pictures; an evaluator
            and a protocol get aligned faces.
        dataset: the row's kept, aligned faces.
        recognizer: for an evaluator the row's own FR model, as trained; elsewhere the recognizer that conditions.
        judge: another recognizer, which judges datasets.
        contexts: one unit vector per identity, float32 [I, D], the same in all rows of a suite.
        people: for an evaluator, whose embedding each synthetic identity's context is: identity numbers of ``source``,
            int64 [I]; None where the row's contexts are nobody's in the source.
        model: a fitted model of a kind that the component ``accepts``.
        autoencoder: a model whose autoencoder a fit takes over instead of fitting its own; None where the suite names
            none.
        pairs: by protocol, the aligned faces and the pairs of faces.
        templates: by protocol, the aligned faces, their templates and the pairs of those.
    """

    source: FaceSet = _NOT_GIVEN
    dataset: FaceSet = _NOT_GIVEN
    recognizer: Recognizer = _NOT_GIVEN
    judge: Recognizer = _NOT_GIVEN
    contexts: Floats = _NOT_GIVEN
    people: Ints | None = None
    model: Model = _NOT_GIVEN
    autoencoder: Model | None = None
    pairs: Mapping[str, tuple[FaceSet, PairSet]] = _NOT_GIVEN
    templates: Mapping[str, tuple[FaceSet, TemplateSet]] = _NOT_GIVEN

    def __getattribute__(self, name: str) -> Any:
        value = object.__getattribute__(self, name)
        if value is None and name in ROLES and name not in _OPTIONAL:
            raise StageError(not_asked(name))
        return value


NOTHING = Given()
