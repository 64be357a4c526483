"""Context laws: uniform on the sphere, and Gaussian around a recognizer's class means."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from harness import noise
from harness.components import ContextLaw, Settings
from harness.components.base import APACHE
from harness.components.data import Floats
from harness.errors import StageError

if TYPE_CHECKING:
    from harness.components.recognizer import Recognizer
    from harness.components.run import Run
    from harness.faces.faceset import FaceSet


class Uniform(ContextLaw):
    """Uniform on the unit sphere (IDiff-Face, arXiv 2308.04995; methods 1.8).

    Wants a recognizer whose embeddings fill the sphere; those of a small one fill a small part of it, and images for
    contexts outside of that part collapse. Use ``class-gaussian`` there.
    """

    license = APACHE
    code = ("harness.builtin.contexts", "harness.noise")

    def draw(self, count: int, source: FaceSet | None, recognizer: Recognizer, run: Run) -> Floats:
        """Normalized Gaussians."""
        return _unit(noise.normal(run.seed, range(count), [0] * count, (recognizer.width,), "contexts"))


class ClassGaussianSettings(Settings):
    """How to fit and draw."""

    scale: float = Field(1.0, gt=0, le=2, description="times the fitted standard deviations around the mean")


class ClassGaussian(ContextLaw):
    """Gaussian with the mean and covariance of the normalized class means of a source, then normalized.

    Ours: it follows the embeddings that the recognizer gives to real people, however small their part of the sphere.
    """

    Settings = ClassGaussianSettings
    license = APACHE
    code = ("harness.builtin.contexts", "harness.noise")
    needs_source = True

    def draw(self, count: int, source: FaceSet | None, recognizer: Recognizer, run: Run) -> Floats:
        """Fit, then draw.

        Raises:
            StageError: the source has too few identities for a covariance.
        """
        assert source is not None  # needs_source
        labels = source.labels
        people = int(labels.max()) + 1
        if people < 8:
            raise StageError(f"class-gaussian contexts need at least 8 identities, the source has {people}")
        embeddings = _unit(np.concatenate([recognizer.embed(batch.images) for batch in source.batches(256)]))
        sums = np.zeros((people, embeddings.shape[1]), dtype=np.float64)
        np.add.at(sums, labels, embeddings)
        means = sums / np.linalg.norm(sums, axis=1, keepdims=True)
        center = means.mean(axis=0)
        # Eigenvalues instead of Cholesky: with fewer identities than dimensions the covariance is singular.
        values, vectors = np.linalg.eigh(np.cov(means.T))
        root = vectors * np.sqrt(values.clip(0)) * self.settings.scale
        # A row of the root may flip its sign between linear algebra libraries; fixing it keeps the draw the same.
        root *= np.where(root[np.abs(root).argmax(axis=0), np.arange(root.shape[1])] < 0, -1.0, 1.0)
        drawn = noise.normal(run.seed, range(count), [0] * count, (len(values),), "contexts")
        return _unit(center + drawn @ root.T)


def _unit(vectors: np.ndarray) -> Floats:
    unit: Floats = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit
