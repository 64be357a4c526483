"""Trainers: turn an aligned dataset into a recognizer with one fixed recipe."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from harness.components.base import Component
from harness.components.roles import Role

if TYPE_CHECKING:
    from harness.components.given import Given
    from harness.components.recognizer import Recognizer
    from harness.components.run import Run


class Trainer(Component):
    """Trains an FR model on the kept faces of ``given.dataset``.

    Class attributes:
        recipes: named settings, such as ``small-clean``; a suite names one and may override single settings.
    """

    needs: ClassVar[frozenset[Role]] = frozenset({"dataset"})
    recipes: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    @property
    def chosen_on_benchmarks(self) -> bool:
        """Whether the settings have benchmarks choose among the epochs; then ``given.pairs`` holds those it may use.

        Only a suite that consents gets such a recipe, and its results say so.
        """
        return False

    @abstractmethod
    def train(self, given: Given, run: Run) -> Recognizer:
        """Train.

        Raises:
            StageError: the loss is not finite; the message says at which step.
        """
