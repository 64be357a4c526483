"""Generators: the methods under comparison."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from pydantic import BaseModel

from harness.components.base import Component, NoSettings
from harness.components.images import ImageBatch, Request, SamplePlan
from harness.components.roles import Role

if TYPE_CHECKING:
    from harness.components.given import Given
    from harness.components.model import Model
    from harness.components.run import Run


class Generator(Component):
    """Makes face images for given identities.

    To plan and sample it ``needs`` some of: ``contexts``, a ``model``, the ``recognizer`` that the model was fitted
        with, a ``source`` (for rows of existing images).
    """

    def plan(self, request: Request, given: Given, run: Run) -> SamplePlan:
        """Decide every image of the pool, once; the default is the full grid with the contexts, if it needs any."""
        pool = {"context": given.contexts} if "contexts" in self.needs else {}
        return SamplePlan.grid(request.identities, request.per_identity, pool=pool)

    @abstractmethod
    def sample(self, plan: SamplePlan, given: Given, run: Run) -> Iterator[ImageBatch]:
        """Yield the images of ``plan`` in order; a pure function of single rows and ``run.noise``."""


class FittedGenerator(Generator):
    """A generator whose model the harness can fit.

    Class attributes:
        FitSettings: schema of a model's settings: how to fit. In ``fit``, ``self.settings`` is one of these. A field
            ``devices`` above 1 has the stage call ``fit`` in that many processes at once, of which the first one's
            model counts (``harness.ranks`` connects them).
        fits: the kind of Model that ``fit`` gives.
        fit_needs: what ``fit`` is given: a ``source``, perhaps a ``recognizer``. With an entry ``autoencoder`` in
            ``accepts`` it can also be given a model whose autoencoder it takes over.
    """

    FitSettings: ClassVar[type[BaseModel]] = NoSettings
    fits: ClassVar[str]
    fit_needs: ClassVar[frozenset[Role]] = frozenset({"source"})

    @abstractmethod
    def fit(self, given: Given, run: Run) -> Model:
        """Fit a model."""
