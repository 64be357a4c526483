"""Faces and people for the tests of the built-in components."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harness.components import Crop, ImageBatch, Metric, Report
from harness.faces.faceset import FaceSet, ShardWriter, write_items
from harness.faceworld.render import render

MakeFaces = Callable[..., FaceSet]


def said(metric: Metric) -> str:
    """All that a reader is told of a metric, in the order in which the harness joins it."""
    return "; ".join(filter(None, (metric.uncertainty.note, metric.note)))


def described(report: Report) -> dict[str, tuple[str, str, str, bool]]:
    """How each metric is to be read, by the last part of its name: title, unit, which is better, whether a headline."""
    return {m.name.rpartition("/")[2]: (m.title, m.unit, m.better, m.headline) for m in report.metrics}


@pytest.fixture(scope="session")
def photos() -> ImageBatch:
    """48 near-frontal photographs of as many people, 32 px, with exact landmarks."""
    people = list(range(400_000, 400_048))
    drawn = render(0, people, [0] * 48, "mild", 32)
    return ImageBatch(np.array(people), np.zeros(48, np.int64), drawn.images, drawn.landmarks)


@pytest.fixture
def make_faces(tmp_path: Path) -> MakeFaces:
    """Writes a face set of given images."""
    made = 0

    def make(images: np.ndarray, identities: np.ndarray, samples: np.ndarray | None = None) -> FaceSet:
        nonlocal made
        made += 1
        folder = tmp_path / f"faces{made}"
        if samples is None:
            samples = np.zeros(len(images), np.int64)
            for identity in np.unique(identities):
                samples[identities == identity] = np.arange((identities == identity).sum())
        half = len(images) // 2
        for shard, part in enumerate((slice(0, half), slice(half, None))):
            writer = ShardWriter(folder, shard)
            for identity, sample, image in zip(identities[part], samples[part], images[part], strict=True):
                writer.add(identity, sample, image)
            writer.close()
        write_items(folder, 2)
        return FaceSet(folder, Crop("arcface", images.shape[1]))

    return make


@pytest.fixture(scope="session")
def colored() -> tuple[np.ndarray, np.ndarray]:
    """96 images of 12 people who differ in a pattern, with noise: learned within seconds."""
    rng = np.random.default_rng(0)
    patterns = rng.uniform(0, 255, (12, 4, 4, 3)).repeat(8, axis=1).repeat(8, axis=2)
    identities = np.repeat(np.arange(12), 8)
    noisy = patterns[identities] + rng.normal(0, 25, (96, 32, 32, 3))
    return np.clip(noisy, 0, 255).astype(np.uint8), identities
