"""Generators: the methods under comparison."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from pydantic import BaseModel

from harness.components.base import Component, NoSettings
from harness.components.data import ImageBatch, Model, Request, SamplePlan
from harness.errors import StageError

if TYPE_CHECKING:
    from harness.components.recognizer import Recognizer
    from harness.components.run import Run
    from harness.faces.faceset import FaceSet


class Generator(Component):
    """Makes face images for given identities, optionally from a model that was fitted on a source.

    Class attributes:
        Settings: schema of a row's settings: how to sample.
        FitSettings: schema of a model's settings: how to fit. In ``fit``, ``self.settings`` is one of these. A field
            ``devices`` above 1 has the stage call ``fit`` in that many processes at once, of which the first one's
            model counts (``harness.diffusion.ranks`` connects them).
        accepts: kinds of Model that it can sample from; empty when it needs none.
        fits: kind of Model that ``fit`` gives; empty when it cannot be fitted.
        first_stages: kinds of Model whose first stage ``fit`` can take over instead of fitting its own; it gets that
            model as a further argument ``first_stage`` where the suite names one.
        needs_contexts: whether the suite must give identity contexts.
    """

    FitSettings: ClassVar[type[BaseModel]] = NoSettings
    accepts: ClassVar[frozenset[str]] = frozenset()
    fits: ClassVar[str] = ""
    first_stages: ClassVar[frozenset[str]] = frozenset()
    needs_contexts: ClassVar[bool] = False

    def fit(self, source: FaceSet, recognizer: Recognizer | None, run: Run) -> Model:
        """Fit a model to the faces of a source; optional."""
        raise StageError(f"{type(self).__name__} cannot be fitted; give its model as weights")

    def plan(self, request: Request, model: Model | None, run: Run) -> SamplePlan:
        """Decide every image of the pool, once; the default is the full grid with the given contexts."""
        pool = {} if request.contexts is None else {"context": request.contexts}
        return SamplePlan.grid(request.identities, request.per_identity, pool=pool)

    @abstractmethod
    def sample(self, plan: SamplePlan, model: Model | None, run: Run) -> Iterator[ImageBatch]:
        """Yield the images of ``plan`` in order; a pure function of single rows and ``run.noise``."""
