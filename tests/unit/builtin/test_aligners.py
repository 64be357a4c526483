"""Aligners: MTCNN, given landmarks, none."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from harness.builtin.landmarks import LandmarksAligner
from harness.builtin.mtcnn import NO_FACE, SEVERAL, MTCNNAligner, MTCNNSettings
from harness.builtin.no_alignment import NoAlignment
from harness.coding import from_unit, to_unit
from harness.components import AlignedBatch, Crop, ImageBatch, Run
from harness.errors import InputError
from harness.faces.crops import reference_landmarks
from harness.faces.landmarks import NO_LANDMARKS, SAME_POINT
from harness.faces.warp import similarity, transform
from harness.faceworld.render import render

CROP = Crop("arcface", 32)


def batch_of(images: np.ndarray) -> ImageBatch:
    count = np.arange(len(images), dtype=np.int64)
    return ImageBatch(count, count, images)


def part(batch: ImageBatch, which: slice) -> ImageBatch:
    return ImageBatch(batch.identities[which], batch.samples[which], batch.images[which])


@pytest.fixture(scope="module")
def mtcnn() -> MTCNNAligner:
    return MTCNNAligner(MTCNNSettings(min_face=0.4))


@pytest.fixture(scope="module")
def detected(mtcnn: MTCNNAligner, photos: ImageBatch) -> AlignedBatch:
    return mtcnn.align(photos, CROP, Run(0))


def test_mtcnn_finds_faces_and_their_landmarks(photos: ImageBatch, detected: AlignedBatch) -> None:
    found = np.array([reason is None for reason in detected.reasons])
    assert found.mean() > 0.9
    error = np.linalg.norm(detected.landmarks[found] - photos.landmarks[found], axis=2)
    assert np.median(error) < 1.0  # pixels at 32 px
    left, top, right, bottom = detected.boxes[found].T
    assert ((right - left > 8) & (bottom - top > 8)).all()
    assert (detected.scores[found] >= 0.7).all()
    assert detected.images[found].any(axis=(1, 2, 3)).all()


def test_mtcnn_crops_follow_its_landmarks(detected: AlignedBatch) -> None:
    found = np.array([reason is None for reason in detected.reasons])
    points = detected.landmarks[found]
    in_crop = transform(similarity(points, reference_landmarks(32)), points)
    assert np.abs(in_crop.mean(axis=0) - reference_landmarks(32)).max() < 1.0


def test_the_narrow_template_shows_the_face_8_px_further_left(mtcnn: MTCNNAligner, photos: ImageBatch) -> None:
    few, crop = part(photos, slice(0, 4)), Crop("arcface", 112)
    plain = mtcnn.align(few, crop, Run(0))
    moved = MTCNNAligner(MTCNNSettings(min_face=0.4, template="narrow")).align(few, crop, Run(0))
    found = [row for row, reason in enumerate(plain.reasons) if reason is None]
    assert found
    apart = moved.images[found][:, :, :-8].astype(int) - plain.images[found][:, :, 8:]
    assert np.abs(apart).max() <= 1


def test_mtcnn_does_not_depend_on_the_batch(mtcnn: MTCNNAligner, photos: ImageBatch, detected: AlignedBatch) -> None:
    for i in range(16):
        alone = mtcnn.align(part(photos, slice(i, i + 1)), CROP, Run(0))
        assert alone.reasons == detected.reasons[i : i + 1]
        np.testing.assert_allclose(alone.landmarks[0], detected.landmarks[i], rtol=0, atol=1e-3)


def test_mtcnn_survives_images_without_faces(mtcnn: MTCNNAligner, photos: ImageBatch) -> None:
    rng = np.random.default_rng(0)
    nothing = [np.zeros((4, 32, 32, 3), np.uint8), rng.integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)]
    for images in nothing:
        result = mtcnn.align(batch_of(images), CROP, Run(0))
        assert result.reasons == [NO_FACE] * len(images)
        assert not result.images.any()
        assert np.isnan(result.landmarks).all()
    mixed = mtcnn.align(batch_of(np.concatenate([nothing[0], photos.images[:4], nothing[1]])), CROP, Run(0))
    assert [reason is None for reason in mixed.reasons[:8]] == [False] * 4 + [True] * 4
    empty = mtcnn.align(batch_of(np.zeros((0, 32, 32, 3), np.uint8)), CROP, Run(0))
    assert (len(empty.images), empty.reasons) == (0, [])


def test_mtcnn_goes_on_when_the_library_raises(
    mtcnn: MTCNNAligner, photos: ImageBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One image that makes the library raise must not take the others of its batch with it."""
    run_networks = MTCNNAligner._run_networks

    def brittle(self: MTCNNAligner, x: object, least_px: float, device: str) -> object:
        if (x == 0).flatten(1).all(dim=1).any():  # type: ignore[attr-defined]
            raise RuntimeError("torch.cat(): expected a non-empty list of Tensors")
        return run_networks(self, x, least_px, device)  # type: ignore[arg-type]

    monkeypatch.setattr(MTCNNAligner, "_run_networks", brittle)
    images = photos.images[:6].copy()
    images[2] = 0
    reasons = mtcnn.align(batch_of(images), CROP, Run(0)).reasons
    assert reasons[2] == NO_FACE
    assert reasons.count(None) == 5


PERSON, BYSTANDER = slice(118, 182), slice(200, 296)  # columns of the two in the picture


@pytest.fixture(scope="module")
def two_people() -> ImageBatch:
    """A picture of 300 x 128 px: a person in the middle, and a larger one at its right edge."""
    scene = np.full((1, 128, 300, 3), 120, np.uint8)
    scene[0, 32:96, PERSON] = render(0, [400_000], [0], "mild", 64).images[0]
    scene[0, 16:112, BYSTANDER] = render(0, [400_001], [0], "mild", 96).images[0]
    return batch_of(scene)


@pytest.mark.parametrize(
    ("face", "taken"), [("centered", PERSON), ("nearest", PERSON), ("largest", BYSTANDER), ("refuse", None)]
)
def test_which_of_two_people_is_taken(two_people: ImageBatch, face: Any, taken: slice | None) -> None:
    found = MTCNNAligner(MTCNNSettings(min_face=0.15, face=face)).align(two_people, CROP, Run(0))
    assert found.faces is not None
    assert found.faces.tolist() == [2]
    if taken is None:
        assert found.reasons == [SEVERAL]
        assert np.isnan(found.landmarks).all()
        assert not found.images.any()
        return
    x = found.landmarks[0, :, 0]
    assert ((x > taken.start) & (x < taken.stop)).all()
    assert found.reasons == [None]
    assert found.images.any()


def test_the_surest_face_is_the_first(two_people: ImageBatch) -> None:
    scores = {}
    for face in ("centered", "largest", "first"):
        found = MTCNNAligner(MTCNNSettings(min_face=0.15, face=face)).align(two_people, CROP, Run(0))
        scores[face] = float(found.scores[0])
    assert scores["first"] == max(scores.values())
    assert scores["centered"] != scores["largest"]


def test_one_face_is_taken_by_every_rule(mtcnn: MTCNNAligner, photos: ImageBatch, detected: AlignedBatch) -> None:
    """So the choice changes nothing in pictures of one person."""
    assert detected.faces is not None
    alone = np.flatnonzero(detected.faces == 1)[:16]
    few = ImageBatch(photos.identities[alone], photos.samples[alone], photos.images[alone])
    for face in ("largest", "nearest", "first", "refuse"):
        made = MTCNNAligner(MTCNNSettings(min_face=0.4, face=face)).align(few, CROP, Run(0))  # type: ignore[arg-type]
        assert made.reasons == [None] * len(alone)
        np.testing.assert_array_equal(made.images, detected.images[alone])


def test_the_detector_sees_blue_for_red_and_the_crop_does_not(photos: ImageBatch) -> None:
    few, swapped = part(photos, slice(0, 8)), batch_of(photos.images[:8, :, :, ::-1])
    plain, other = (MTCNNAligner(MTCNNSettings(min_face=0.4, bgr=bgr)) for bgr in (False, True))
    as_bgr, as_rgb = (aligner.align(few, CROP, Run(0)) for aligner in (other, plain))
    of_swapped = plain.align(swapped, CROP, Run(0))
    assert as_bgr.reasons == of_swapped.reasons
    np.testing.assert_array_equal(as_bgr.landmarks, of_swapped.landmarks)
    np.testing.assert_array_equal(as_bgr.images, of_swapped.images[..., ::-1])
    both = [row for row in range(8) if as_bgr.reasons[row] is None and as_rgb.reasons[row] is None]
    assert both
    assert (as_bgr.landmarks[both] != as_rgb.landmarks[both]).any(), "the detector is not blind to color"


def found(images: np.ndarray, **settings: Any) -> list[bool]:
    made = MTCNNAligner(MTCNNSettings(**settings)).align(batch_of(images), CROP, Run(0))
    return [reason is None for reason in made.reasons]


def test_the_least_face_in_pixels_of_the_picture() -> None:
    """Pictures of 40 and of 24 px, whose faces are smaller than they are, in the middle of one of 128 px."""
    drawn = render(0, [400_002], [0], "mild", 96).images
    scene = np.full((2, 128, 128, 3), 120, np.uint8)
    for row, side in enumerate((40, 24)):
        middle = slice(64 - side // 2, 64 + side // 2)
        scene[row, middle, middle] = from_unit(to_unit(drawn, side))[0]
    assert found(scene) == [True, False], "0.3 of the shorter side; the detector finds somewhat smaller ones too"
    assert found(scene, min_face_px=60) == found(scene, min_face_px=60, detect_px=128) == [False, False]
    assert found(scene, min_face_px=12) == found(scene, min_face_px=12, detect_px=256) == [True, True]
    assert found(scene[1:, 40:-40, 40:-40], min_face_px=1) == [True]


def test_the_crops_of_the_page_are_settings() -> None:
    page = Path(__file__).parents[3] / "docs" / "published-weights.md"
    entries = re.findall(r"^ +aligner: (\{[^}]*\})", page.read_text(encoding="utf-8"), re.MULTILINE)
    idiffface, negfacediff = (
        MTCNNSettings(**{k: v for k, v in yaml.safe_load(entry).items() if k != "use"}) for entry in entries
    )
    assert (idiffface.face, idiffface.min_face_px, idiffface.bgr, idiffface.template) == (
        "nearest",
        1,
        False,
        "arcface",
    )
    assert (negfacediff.face, negfacediff.min_face_px, negfacediff.bgr) == ("largest", 60, True)
    assert negfacediff.template == "narrow"
    assert idiffface.detect_px == negfacediff.detect_px == 128


def test_two_least_faces_are_refused() -> None:
    with pytest.raises(ValueError, match="min_face: has no effect with min_face_px"):
        MTCNNSettings(min_face=0.4, min_face_px=60)


def test_mtcnn_refuses_raw_crops(mtcnn: MTCNNAligner, photos: ImageBatch) -> None:
    with pytest.raises(InputError, match="raw pictures are not aligned"):
        mtcnn.align(photos, Crop("raw", 32), Run(0))


def test_landmarks_aligner_uses_the_given_points(photos: ImageBatch) -> None:
    points = photos.landmarks.copy()
    points[1, 2] = np.nan
    points[2] = 5.0
    batch = ImageBatch(photos.identities, photos.samples, photos.images, points)
    result = LandmarksAligner().align(batch, CROP, Run(0))
    assert result.reasons[:4] == [None, NO_LANDMARKS, SAME_POINT, None]
    assert result.images[0].any()
    assert not result.images[1].any()
    without = ImageBatch(photos.identities, photos.samples, photos.images)
    assert set(LandmarksAligner().align(without, CROP, Run(0)).reasons) == {NO_LANDMARKS}


def test_no_alignment_passes_crops_on_and_resizes_others(photos: ImageBatch) -> None:
    same = NoAlignment().align(photos, CROP, Run(0))
    assert (same.images == photos.images).all()
    larger = NoAlignment().align(photos, Crop("arcface", 48), Run(0))
    assert larger.images.shape == (48, 48, 48, 3)
    assert set(larger.reasons) == {None}


def test_settings_are_read_without_heavy_imports() -> None:
    names = ("mtcnn", "landmarks", "no_alignment", "small_cnn", "margin", "verification", "separability")
    code = f"""
import sys
import {", ".join(f"harness.builtin.{name}" for name in names)}
print({{"torch", "facenet_pytorch", "matplotlib", "sklearn", "scipy.stats", "pyeer"}} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
