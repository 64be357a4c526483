"""Aligners: MTCNN, given landmarks, none."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from harness.builtin.landmarks import LandmarksAligner
from harness.builtin.mtcnn import NO_FACE, MTCNNAligner, MTCNNSettings
from harness.builtin.no_alignment import NoAlignment
from harness.components import AlignedBatch, Crop, ImageBatch, Run
from harness.errors import InputError
from harness.faces.crops import reference_landmarks
from harness.faces.landmarks import NO_LANDMARKS, SAME_POINT
from harness.faces.warp import similarity, transform

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


def test_the_reference_crop_shows_the_face_8_px_further_left(mtcnn: MTCNNAligner, photos: ImageBatch) -> None:
    few, crop = part(photos, slice(0, 4)), Crop("arcface", 112)
    plain = mtcnn.align(few, crop, Run(0))
    moved = MTCNNAligner(MTCNNSettings(min_face=0.4, reference_quirks=True)).align(few, crop, Run(0))
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

    def brittle(self: MTCNNAligner, x: object, device: str) -> object:
        if (x == 0).flatten(1).all(dim=1).any():  # type: ignore[attr-defined]
            raise RuntimeError("torch.cat(): expected a non-empty list of Tensors")
        return run_networks(self, x, device)  # type: ignore[arg-type]

    monkeypatch.setattr(MTCNNAligner, "_run_networks", brittle)
    images = photos.images[:6].copy()
    images[2] = 0
    reasons = mtcnn.align(batch_of(images), CROP, Run(0)).reasons
    assert reasons[2] == NO_FACE
    assert reasons.count(None) == 5


def test_mtcnn_takes_the_largest_face(mtcnn: MTCNNAligner, photos: ImageBatch) -> None:
    scene = np.full((1, 96, 160, 3), 120, np.uint8)
    scene[0, 32:64, 8:40] = photos.images[0]
    scene[0, :, 56:152] = photos.images[1].repeat(3, axis=0).repeat(3, axis=1)
    found = MTCNNAligner(MTCNNSettings(min_face=0.15)).align(batch_of(scene), CROP, Run(0))
    assert found.reasons == [None]
    assert (found.landmarks[0, :, 0] > 56).all()


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
