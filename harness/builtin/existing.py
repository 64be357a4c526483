"""Rows without a method: the authentic reference, and datasets that exist already."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from harness.components import Generator, Given, ImageBatch, License, Request, Run, SamplePlan
from harness.errors import StageError

BATCH = 64


class Authentic(Generator):
    """A seeded subset of a source's identities and images, of the size that every row gets."""

    needs = frozenset({"source"})
    license = License("the source's own terms", commercial_use="yes")  # adds no terms to the source's

    def plan(self, request: Request, given: Given, run: Run) -> SamplePlan:
        """Draw identities that have enough images, then images of each.

        Raises:
            StageError: the source has too few.
        """
        faces, random = given.source, run.generator("authentic-subset")
        names, counts = np.unique(faces.identities, return_counts=True)
        enough = names[counts >= request.per_identity]
        if len(enough) < request.identities:
            raise StageError(
                f"the source has {len(enough)} identities with {request.per_identity} images, "
                f"{request.identities} are needed; take a larger source or a smaller dataset"
            )
        chosen = np.sort(random.choice(enough, request.identities, replace=False))
        samples = [
            np.sort(random.choice(faces.samples[faces.identities == name], request.per_identity, replace=False))
            for name in chosen
        ]
        return SamplePlan(np.repeat(chosen, request.per_identity), np.concatenate(samples))

    def sample(self, plan: SamplePlan, given: Given, run: Run) -> Iterator[ImageBatch]:
        """Read the chosen images."""
        faces = given.source
        place = {
            key: row for row, key in enumerate(zip(faces.identities.tolist(), faces.samples.tolist(), strict=True))
        }
        keys = zip(plan.identities.tolist(), plan.samples.tolist(), strict=True)
        yield from faces.batches(BATCH, np.array([place[key] for key in keys], dtype=np.int64))


class Images(Authentic):
    """A dataset that exists already, such as one that another group published: ``{use: images, path: ...}``."""
