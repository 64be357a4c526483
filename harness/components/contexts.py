"""Context laws: where the identity vectors of synthetic people come from."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from harness.components.base import Component
from harness.components.data import Floats

if TYPE_CHECKING:
    from harness.components.recognizer import Recognizer
    from harness.components.run import Run
    from harness.faces.faceset import FaceSet


class ContextLaw(Component):
    """Draws one context per synthetic identity; rows of a suite share them.

    Class attributes:
        needs_source: whether the suite must name faces that the law learns from.
        accepts: kinds of model that the law samples from; the suite must then name one, and ``draw`` gets it as a
            further argument ``model``. Empty when it needs none.
    """

    needs_source: ClassVar[bool] = False
    accepts: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def draw(self, count: int, source: FaceSet | None, recognizer: Recognizer, run: Run) -> Floats:
        """Draw ``count`` contexts, float32 [count, D] of unit norm, each a function of (run.seed, its index).

        Args:
            source: faces that the law learns from; None when the suite names none.
            recognizer: gives D and, for laws that look at faces, the embeddings.
        """
