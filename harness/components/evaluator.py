"""Evaluators: turn a recognizer, a dataset, or both into metrics with uncertainty."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal

from harness.components.base import Component
from harness.components.data import Report, Subject

if TYPE_CHECKING:
    from harness.components.run import Run

Need = Literal["recognizer", "dataset", "source", "judge", "protocols", "templates"]


class Evaluator(Component):
    """Measures one aspect of a row.

    Class attributes:
        needs: the fields of :class:`Subject` that must be there. ``judge`` is the recognizer that the suite names in
            the entry's ``recognizer`` key; ``protocols`` (pairs of faces) and ``templates`` (pairs of templates) are
            those in its ``protocols`` key; ``source`` is the authentic faces in its ``source`` key, with which the
            dataset is compared. An evaluator that needs a dataset and no source looks at a named source instead.
    """

    needs: ClassVar[frozenset[Need]] = frozenset()

    @abstractmethod
    def evaluate(self, subject: Subject, run: Run) -> Report:
        """Measure."""
