"""Trainers: turn an aligned dataset into a recognizer with one fixed recipe."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from harness.components.base import Component

if TYPE_CHECKING:
    from harness.components.recognizer import Recognizer
    from harness.components.run import Run
    from harness.faces.faceset import FaceSet


class Trainer(Component):
    """Trains an FR model.

    Class attributes:
        recipes: named settings, such as ``small-clean``; a suite names one and may override single settings.
    """

    recipes: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    @abstractmethod
    def train(self, dataset: FaceSet, run: Run, validate: Callable[[Recognizer], float] | None = None) -> Recognizer:
        """Train on the kept faces of ``dataset``.

        Args:
            validate: scores a recognizer on held-out data, for recipes that select by it; None for fixed recipes.

        Raises:
            StageError: the loss is not finite; the message says at which step.
        """
