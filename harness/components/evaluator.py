"""Evaluators: turn a recognizer, a dataset, or both into metrics with uncertainty."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from harness.components.base import Component
from harness.components.metric import Report

if TYPE_CHECKING:
    from harness.components.given import Given
    from harness.components.run import Run


class Evaluator(Component):
    """Measures one aspect of a row.

    It ``needs`` some of: ``recognizer`` (the row's own), ``dataset`` (the row's), ``judge``, ``source`` (authentic
        faces with which the dataset is compared), ``pairs`` and ``templates`` (the protocols that the suite lists). One
        that needs a dataset and no source can be pointed at a source instead of the row's dataset by the suite.
    """

    @abstractmethod
    def evaluate(self, given: Given, run: Run) -> Report:
        """Measure."""
