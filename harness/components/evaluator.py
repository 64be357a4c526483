"""Evaluators: turn a recognizer, a dataset, or both into metrics with uncertainty."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal

from harness.components.base import Component
from harness.components.data import Report, Subject

if TYPE_CHECKING:
    from harness.components.run import Run

Need = Literal["recognizer", "dataset", "judge", "protocols"]


class Evaluator(Component):
    """Measures one aspect of a row.

    Class attributes:
        needs: the fields of :class:`Subject` that must be there. ``judge`` is the recognizer that the suite names in
            the entry's ``recognizer`` key, ``protocols`` those in its ``protocols`` key.
    """

    needs: ClassVar[frozenset[Need]] = frozenset()

    @abstractmethod
    def evaluate(self, subject: Subject, run: Run) -> Report:
        """Measure."""
