"""Context laws: where the identity vectors of synthetic people come from."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from harness.arrays import Floats, Ints
from harness.components.base import Component
from harness.components.roles import Role

if TYPE_CHECKING:
    from harness.components.given import Given
    from harness.components.run import Run


class ContextLaw(Component):
    """Draws one context per synthetic identity; rows of a suite share them.

    Every law needs the ``recognizer`` whose embeddings the contexts are to resemble; it gives their width D. A law can
    also need a ``source`` to learn from or a ``model`` to sample.
    """

    needs: ClassVar[frozenset[Role]] = frozenset({"recognizer"})

    @abstractmethod
    def draw(self, count: int, given: Given, run: Run) -> Floats:
        """Draw ``count`` contexts, float32 [count, D] of unit norm, each a function of (run.seed, its index)."""

    def people(self, count: int, given: Given, run: Run) -> Ints | None:
        """Whose embeddings the drawn contexts are, for evaluators that compare a person with the images of them.

        Returns:
            identity numbers of the source, int64 [count]; None (the default) where contexts are nobody's.
        """
        return None
