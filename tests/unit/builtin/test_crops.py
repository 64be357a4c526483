"""Crops: shifted crops and exchanged colors are found, and agreement is not mistaken for a fault."""

from __future__ import annotations

import numpy as np
import pytest

from harness.builtin.crops import Crops, CropsSettings
from harness.components import Given, ImageBatch, PairSet, Report, Run
from harness.errors import StageError
from harness.faces.crops import reference_landmarks
from harness.faces.warp import similarity, warp
from tests.unit.builtin.conftest import MakeFaces, described

SIZE_PX = 32
PAIRS = PairSet(np.array([0]), np.array([1]), np.array([True]), np.array([0]))


@pytest.fixture
def measure(make_faces: MakeFaces, photos: ImageBatch):  # type: ignore[no-untyped-def]
    assert photos.landmarks is not None

    def crop(shift_px: float) -> np.ndarray:
        """Crops whose faces lie lower by so many pixels of 112."""
        assert photos.landmarks is not None
        points = reference_landmarks(SIZE_PX) + np.array([0, shift_px * SIZE_PX / 112])
        return warp(photos.images, similarity(photos.landmarks, points.astype(np.float32)), SIZE_PX)

    def run(images: np.ndarray) -> Report:
        people = np.arange(len(images))
        protocol = make_faces(crop(0.0)[::2], people[::2])
        given = Given(dataset=make_faces(images, people), pairs={"fw": (protocol, PAIRS)})
        return Crops(CropsSettings(images=24)).evaluate(given, Run(0))

    return crop, run


def values(report: Report) -> dict[str, float]:
    return {metric.name: metric.value for metric in report.metrics}


def test_equal_crops_agree(measure) -> None:  # type: ignore[no-untyped-def]
    crop, run = measure
    report = run(crop(0.0))
    assert described(report) == {
        "found": ("faces found", "fraction", "higher", False),
        "offset_px": ("offset (px)", "plain", "lower", True),
        "residual_px": ("residual (px)", "plain", "lower", False),
        "warmth": ("warmth", "fraction", "lower", True),
    }
    found = values(report)
    assert found["crops/found"] > 0.9
    assert found["crops/offset_px"] < 2
    assert found["crops/residual_px"] < 2
    assert found["crops/warmth"] < 0.2


def test_crops_shifted_by_eight_pixels_are_found(measure) -> None:  # type: ignore[no-untyped-def]
    crop, run = measure
    found = values(run(crop(8.0)))
    assert found["crops/offset_px"] > 4
    assert found["crops/residual_px"] > 4


def test_exchanged_colors_are_found(measure) -> None:  # type: ignore[no-untyped-def]
    crop, run = measure
    assert values(run(crop(0.0)[..., ::-1]))["crops/warmth"] > 0.5


def test_crops_without_faces_are_an_error(measure) -> None:  # type: ignore[no-untyped-def]
    crop, run = measure
    with pytest.raises(StageError, match="finds no face in 24 crops of dataset"):
        run(np.full_like(crop(0.0), 128))
