"""Context laws: uniform on the sphere, Gaussian around class means, and of real people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from harness import noise
from harness.arrays import AnyFloats, Doubles, Floats, Ints
from harness.components import ContextLaw, Given, Settings
from harness.components.base import APACHE
from harness.errors import StageError

if TYPE_CHECKING:
    from harness.components.recognizer import Recognizer
    from harness.components.run import Run
    from harness.faces.faceset import FaceSet


class Uniform(ContextLaw):
    """Uniform on the unit sphere (IDiff-Face, arXiv 2308.04995).

    Wants a recognizer whose embeddings fill the sphere; those of a small one fill a small part of it, and images for
    contexts outside of that part collapse. Use ``class-gaussian`` there.
    """

    license = APACHE

    def draw(self, count: int, given: Given, run: Run) -> Floats:
        """Normalized Gaussians."""
        return unit(noise.normal(run.seed, range(count), [0] * count, (given.recognizer.width,), "contexts"))


class ClassGaussianSettings(Settings):
    """How to fit and draw."""

    scale: float = Field(1.0, gt=0, le=2, description="times the fitted standard deviations around the mean")


class ClassGaussian(ContextLaw):
    """Gaussian with the mean and covariance of the normalized class means of a source, then normalized.

    Ours: it follows the embeddings that the recognizer gives to real people, however small their part of the sphere.
    """

    Settings = ClassGaussianSettings
    license = APACHE
    needs = frozenset({"recognizer", "source"})

    def draw(self, count: int, given: Given, run: Run) -> Floats:
        """Fit, then draw.

        Raises:
            StageError: the source has too few identities for a covariance.
        """
        source = given.source
        people = int(source.labels.max()) + 1
        if people < 8:
            raise StageError(f"class-gaussian contexts need at least 8 identities, the source has {people}")
        means = _class_means(source, np.arange(len(source)), given.recognizer)
        center = means.mean(axis=0)
        # Eigenvalues instead of Cholesky: with fewer identities than dimensions the covariance is singular.
        values, vectors = np.linalg.eigh(np.cov(means.T))
        root = vectors * np.sqrt(values.clip(0)) * self.settings.scale
        # A row of the root may flip its sign between linear algebra libraries; fixing it keeps the draw the same.
        root *= np.where(root[np.abs(root).argmax(axis=0), np.arange(root.shape[1])] < 0, -1.0, 1.0)
        drawn = noise.normal(run.seed, range(count), [0] * count, (len(values),), "contexts")
        return unit(center + drawn @ root.T)


class AuthenticSettings(Settings):
    """What of a person to take."""

    take: Literal["images", "class-means"] = Field(
        "images", description="the embedding of one of a person's images as published, or the mean of all of them"
    )


class AuthenticContexts(ContextLaw):
    """Embeddings of real people, for studies of variation (IDiff-Face, arXiv 2308.04995: of single images).

    Context i belongs to person i of a seeded shuffle of the source, so a smaller draw is the start of a larger one.
    Nobody is used twice. For people that the model has not seen, name a source that it was not fitted on.
    """

    Settings = AuthenticSettings
    license = APACHE
    needs = frozenset({"recognizer", "source"})

    def draw(self, count: int, given: Given, run: Run) -> Floats:
        """Choose people, then embed them.

        Raises:
            StageError: the source has fewer people than contexts are needed.
        """
        source, labels = given.source, given.source.labels
        chosen = self._chosen(count, labels, run)
        images = [np.flatnonzero(labels == person) for person in chosen]
        if self.settings.take == "images":
            which = noise.uniform(run.seed, chosen.tolist(), [0] * count, 1, "authentic-image")[:, 0]
            images = [rows[[int(w * len(rows))]] for rows, w in zip(images, which, strict=True)]
        means = _class_means(source, np.sort(np.concatenate(images)), given.recognizer)
        return unit(means[np.argsort(np.argsort(chosen))])  # means come in the order of the labels

    def people(self, count: int, given: Given, run: Run) -> Ints:
        """The people that were chosen."""
        return np.unique(given.source.identities)[self._chosen(count, given.source.labels, run)]

    def _chosen(self, count: int, labels: Ints, run: Run) -> Ints:
        people = int(labels.max()) + 1
        if count > people:
            raise StageError(f"authentic contexts need a person each: {count} are asked for, the source has {people}")
        return run.generator("authentic-contexts").permutation(people)[:count]


def _class_means(source: FaceSet, rows: Ints, recognizer: Recognizer) -> Doubles:
    """Unit-norm means of the unit-norm embeddings of some rows, float64, one per person in order of the labels."""
    labels = np.unique(source.labels[rows], return_inverse=True)[1]
    embeddings = unit(np.concatenate([recognizer.embed(batch.images) for batch in source.batches(256, rows)]))
    sums = np.zeros((int(labels.max()) + 1, embeddings.shape[1]), dtype=np.float64)
    np.add.at(sums, labels, embeddings)
    means: Doubles = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    return means


def unit(vectors: AnyFloats) -> Floats:
    """Vectors [N, D] at length 1, float32."""
    normalized: Floats = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return normalized
