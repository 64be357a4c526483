"""Context laws: uniform on the sphere, Gaussian around class means, of real people, and of sampled faces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from harness import noise
from harness.builtin.unconditional import KIND, Unconditional
from harness.components import ContextLaw, Model, SamplePlan, Settings
from harness.components.base import APACHE
from harness.components.data import Floats
from harness.diffusion.settings import LatentSampleSettings
from harness.errors import StageError, Stopped

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
        people = int(source.labels.max()) + 1
        if people < 8:
            raise StageError(f"class-gaussian contexts need at least 8 identities, the source has {people}")
        means = _class_means(source, np.arange(len(source)), recognizer)
        center = means.mean(axis=0)
        # Eigenvalues instead of Cholesky: with fewer identities than dimensions the covariance is singular.
        values, vectors = np.linalg.eigh(np.cov(means.T))
        root = vectors * np.sqrt(values.clip(0)) * self.settings.scale
        # A row of the root may flip its sign between linear algebra libraries; fixing it keeps the draw the same.
        root *= np.where(root[np.abs(root).argmax(axis=0), np.arange(root.shape[1])] < 0, -1.0, 1.0)
        drawn = noise.normal(run.seed, range(count), [0] * count, (len(values),), "contexts")
        return _unit(center + drawn @ root.T)


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
    code = ("harness.builtin.contexts", "harness.noise")
    needs_source = True

    def draw(self, count: int, source: FaceSet | None, recognizer: Recognizer, run: Run) -> Floats:
        """Choose people, then embed them.

        Raises:
            StageError: the source has fewer people than contexts are needed.
        """
        assert source is not None  # needs_source
        people = int(source.labels.max()) + 1
        if count > people:
            raise StageError(f"authentic contexts need a person each: {count} are asked for, the source has {people}")
        chosen = run.generator("authentic-contexts").permutation(people)[:count]
        labels = source.labels
        images = [np.flatnonzero(labels == person) for person in chosen]
        if self.settings.take == "images":
            which = noise.uniform(run.seed, chosen.tolist(), [0] * count, 1, "authentic-image")[:, 0]
            images = [rows[[int(w * len(rows))]] for rows, w in zip(images, which, strict=True)]
        means = _class_means(source, np.sort(np.concatenate(images)), recognizer)
        return _unit(means[np.argsort(np.argsort(chosen))])  # means come in the order of the labels


class TwoStageSettings(LatentSampleSettings):
    """How to sample the unconditional model."""


class TwoStage(ContextLaw):
    """Embeddings of faces that an unconditional model draws (IDiff-Face, arXiv 2308.04995).

    One image per context, embedded as the training images were: raw, unaligned.
    """

    Settings = TwoStageSettings
    license = APACHE
    code = (
        "harness.builtin.contexts",
        "harness.builtin.unconditional",
        "harness.diffusion",
        "harness.faces.coding",
        "harness.noise",
    )
    accepts = frozenset({KIND})

    def identity(self) -> dict[str, Any]:
        """Everything but the batch size, as for rows."""
        values: dict[str, Any] = self.settings.model_dump(mode="json", exclude={"batch_size"})
        return values

    def draw(
        self, count: int, source: FaceSet | None, recognizer: Recognizer, run: Run, model: Model | None = None
    ) -> Floats:
        """Sample, then embed.

        Raises:
            StageError: the recognizer takes aligned faces; the sampled ones are not.
            Stopped: the user asked to stop; what was embedded is kept.
        """
        import torch

        if recognizer.takes.view != "raw":
            raise StageError("two-stage contexts are embeddings of whole pictures; give a recognizer with view raw")
        everyone = np.arange(count, dtype=np.int64)
        # Sample -1, which no row asks for: else an image of a row would start from the noise that drew its context.
        plan = SamplePlan(everyone, np.full_like(everyone, -1))
        progress = run.progress(count, "images")
        saved = run.checkpoint.load() or {"embeddings": torch.empty(0, recognizer.width)}
        embedded: np.ndarray = saved["embeddings"].numpy()
        progress.advance(len(embedded))
        for batch in Unconditional(self.settings).sample(plan.rows(len(embedded), count), model, run):
            embedded = np.concatenate([embedded, recognizer.embed(batch.images)])
            run.checkpoint.save({"embeddings": torch.from_numpy(embedded)})
            progress.advance(len(batch))
            if run.stop_requested:
                raise Stopped(f"two-stage contexts stopped after {len(embedded)} of {count} images")
        return _unit(embedded)


def _class_means(source: FaceSet, rows: Sequence[int] | np.ndarray, recognizer: Recognizer) -> np.ndarray:
    """Unit-norm means of the unit-norm embeddings of some rows, float64, one per person in order of the labels."""
    places = np.asarray(rows)
    labels = np.unique(source.labels[places], return_inverse=True)[1]
    embeddings = _unit(np.concatenate([recognizer.embed(batch.images) for batch in source.batches(256, places)]))
    sums = np.zeros((int(labels.max()) + 1, embeddings.shape[1]), dtype=np.float64)
    np.add.at(sums, labels, embeddings)
    means: np.ndarray = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    return means


def _unit(vectors: np.ndarray) -> Floats:
    unit: Floats = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit
