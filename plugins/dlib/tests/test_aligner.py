"""Faces and chips by dlib itself."""

from __future__ import annotations

import numpy as np
import pytest
from harness_dlib.aligner import NO_FACE, SEVERAL, DlibAligner, DlibAlignerSettings
from harness_dlib.recognizer import VIEW

from harness import Crop, ImageBatch, InputError, Run
from harness.builtin.faceworld import FaceWorldSource
from harness.testing import check_component, check_light_import

dlib = pytest.importorskip("dlib", reason="dlib-bin, the extra 'dlib' of harness-dlib, is not installed")
CHIP = Crop(VIEW, 150)


def drawn(count: int) -> np.ndarray:
    """Faces of the face world on pictures of 250 px, with room around them."""
    settings = FaceWorldSource.Settings(range="judge", identities=count, per_identity=1, size_px=160, mode="mild")
    source, run = FaceWorldSource(settings), Run(0)
    faces = np.concatenate([batch.images for batch in source.sample(source.plan(run), run)])
    return np.pad(faces, ((0, 0), (45, 45), (45, 45), (0, 0)), mode="edge")


def batch(images: np.ndarray) -> ImageBatch:
    numbers = np.arange(len(images), dtype=np.int64)
    return ImageBatch(numbers, np.zeros_like(numbers), images)


def test_chips_are_dlibs(dat: object) -> None:
    images = drawn(6)
    made = DlibAligner().align(batch(images), CHIP, Run(0))
    detector = dlib.get_frontal_face_detector()
    seen = [len(detector(image, 1)) for image in images]
    assert made.faces is not None
    assert made.faces.tolist() == seen
    assert sum(seen) >= 3, "a drawn face or two may not be found, but not most"
    from harness_dlib.aligner import LANDMARKS
    from harness_dlib.published import published_file

    predictor = dlib.shape_predictor(str(published_file(LANDMARKS)))
    for image, chip, reason in zip(images, made.images, made.reasons, strict=True):
        faces = detector(image, 1)
        assert reason == (None if faces else NO_FACE)
        if len(faces) == 1:
            expected = dlib.get_face_chip(image, predictor(image, faces[0]), size=150, padding=0.25)
            assert np.array_equal(chip, expected)


def test_of_two_faces_one_is_taken_or_none(dat: object) -> None:
    faces = drawn(6)
    alone = DlibAligner().align(batch(faces), CHIP, Run(0))
    one = faces[[reason is None for reason in alone.reasons]][0]
    pair = np.concatenate([one, one], axis=1)[None]
    refused = DlibAligner(DlibAlignerSettings(face="refuse")).align(batch(pair), CHIP, Run(0))
    assert refused.reasons == [SEVERAL]
    first = DlibAligner(DlibAlignerSettings(face="first")).align(batch(pair), CHIP, Run(0))
    assert first.reasons == [None]


def test_it_makes_its_own_chip_alone() -> None:
    with pytest.raises(InputError, match="makes dlib-chip alone, got arcface"):
        DlibAligner().align(batch(drawn(2)), Crop("arcface", 112), Run(0))


def test_the_contract() -> None:
    check_component(DlibAligner())
    check_light_import("harness_dlib.aligner")
