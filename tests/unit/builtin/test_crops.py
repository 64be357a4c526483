"""Crops: shifted crops and exchanged colors are found, and agreement is not mistaken for a fault."""

from __future__ import annotations

import numpy as np
import pytest

from harness.builtin.crops import Crops, CropsSettings
from harness.components import ImageBatch, PairSet, Run
from harness.components.data import Subject
from harness.errors import StageError
from harness.faces.crops import template
from harness.faces.warp import similarity, warp
from tests.unit.builtin.conftest import MakeFaces

SIZE_PX = 32
PAIRS = PairSet(np.array([0]), np.array([1]), np.array([True]), np.array([0]))


@pytest.fixture
def measure(make_faces: MakeFaces, photos: ImageBatch):  # type: ignore[no-untyped-def]
    assert photos.landmarks is not None

    def crop(shift_px: float) -> np.ndarray:
        """Crops whose faces lie lower by so many pixels of 112."""
        assert photos.landmarks is not None
        points = template(SIZE_PX) + np.array([0, shift_px * SIZE_PX / 112])
        return warp(photos.images, similarity(photos.landmarks, points.astype(np.float32)), SIZE_PX)

    def run(images: np.ndarray) -> dict[str, float]:
        people = np.arange(len(images))
        protocol = make_faces(crop(0.0)[::2], people[::2])
        subject = Subject(dataset=make_faces(images, people), protocols={"fw": (protocol, PAIRS)})
        report = Crops(CropsSettings(images=24)).evaluate(subject, Run(0))
        return {metric.name: metric.value for metric in report.metrics}

    return crop, run


def test_equal_crops_agree(measure) -> None:  # type: ignore[no-untyped-def]
    crop, run = measure
    found = run(crop(0.0))
    assert found["crops/found"] > 0.9
    assert found["crops/offset_px"] < 2
    assert found["crops/residual_px"] < 2
    assert found["crops/warmth"] < 0.2


def test_crops_shifted_by_eight_pixels_are_found(measure) -> None:  # type: ignore[no-untyped-def]
    crop, run = measure
    found = run(crop(8.0))
    assert found["crops/offset_px"] > 4
    assert found["crops/residual_px"] > 4


def test_exchanged_colors_are_found(measure) -> None:  # type: ignore[no-untyped-def]
    crop, run = measure
    assert run(crop(0.0)[..., ::-1])["crops/warmth"] > 0.5


def test_crops_without_faces_are_an_error(measure) -> None:  # type: ignore[no-untyped-def]
    crop, run = measure
    with pytest.raises(StageError, match="finds no face in 24 crops of dataset"):
        run(np.full_like(crop(0.0), 128))
