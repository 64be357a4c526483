"""Sources: authentic images with identities."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING

from harness.components.base import Component
from harness.components.images import ImageBatch, SamplePlan

if TYPE_CHECKING:
    from harness.components.run import Run


class Source(Component):
    """Images with identities: files that exist, or a world that is drawn."""

    @abstractmethod
    def plan(self, run: Run) -> SamplePlan:
        """List every image of the source, before any is read or drawn."""

    @abstractmethod
    def sample(self, plan: SamplePlan, run: Run) -> Iterator[ImageBatch]:
        """Yield the images of ``plan`` in order; a pure function of single rows."""
