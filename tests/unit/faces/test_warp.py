"""Similarity transforms and crops."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from harness.faces.crops import REFERENCE_112, reference_landmarks
from harness.faces.warp import similarity, transform, warp


def blob(points: np.ndarray, size: int, width: float) -> np.ndarray:
    """An image [1, size, size, 3] with a Gaussian spot at every point."""
    y, x = np.mgrid[0:size, 0:size]
    spots = [np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * width**2)) for px, py in points]
    return np.repeat((255 * np.clip(sum(spots), 0, 1)).round().astype(np.uint8)[None, ..., None], 3, axis=3)


def center(image: np.ndarray, near: np.ndarray, radius: int) -> np.ndarray:
    """Centroid (x, y) of the brightness around a point."""
    x0, y0 = near.round().astype(int)
    y, x = np.mgrid[y0 - radius : y0 + radius + 1, x0 - radius : x0 + radius + 1]
    weight = image[y, x].astype(float)
    return np.array([(x * weight).sum(), (y * weight).sum()]) / weight.sum()


def turned(points: np.ndarray, scale: float, degrees: float, shift: tuple[float, float]) -> np.ndarray:
    angle = np.deg2rad(degrees)
    rotation = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return points @ rotation.T + np.array(shift)


def test_a_face_with_the_reference_landmarks_stays() -> None:
    points = turned(reference_landmarks(112), 1.7, 12.0, (30.0, 5.0))
    matrices = similarity(points[None], reference_landmarks(112))
    back = transform(matrices, points[None])[0]
    assert np.abs(back - np.array(REFERENCE_112)).max() < 1e-3
    assert back[2, 0] == pytest.approx(56.0252, abs=1e-3)  # 48.0252 would be that of the crop 96 px wide


def test_warped_pixels_lie_where_the_matrix_says() -> None:
    points = turned(reference_landmarks(112), 1.2, 15.0, (40.0, 10.0))
    crop = warp(blob(points, 200, 2.5), similarity(points[None], reference_landmarks(112)), 112)[0, :, :, 0]
    for expected in reference_landmarks(112):
        assert np.abs(center(crop, expected, 8) - expected).max() < 0.05


@pytest.mark.parametrize("size", [32, 56, 112, 224])
def test_template_covers_the_same_area_at_every_size(size: int) -> None:
    assert np.allclose((reference_landmarks(size) + 0.5) / size, (reference_landmarks(112) + 0.5) / 112)


def test_identity_warp_returns_the_image() -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, 40, 40, 3), dtype=np.uint8)
    assert (warp(image, np.array([[[1.0, 0, 0], [0, 1, 0]]]), 40) == image).all()


def test_no_reflection() -> None:
    mirrored = reference_landmarks(112) * [-1, 1]
    matrix = similarity(mirrored[None], reference_landmarks(112))[0]
    assert np.linalg.det(matrix[:, :2]) > 0


def test_outside_is_black_and_half_a_pixel_out_is_half_bright() -> None:
    image = np.full((1, 10, 10, 3), 200, dtype=np.uint8)
    crop = warp(image, np.array([[[1.0, 0, 3.5], [0, 1, 0]]]), 10)[0, 5, :, 0]  # crop x = image x + 3.5
    assert crop.tolist() == [0, 0, 0, 100, 200, 200, 200, 200, 200, 200]


def test_crop_does_not_depend_on_the_batch() -> None:
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (9, 60, 50, 3), dtype=np.uint8)
    turns = zip(rng.uniform(0.5, 4, 9), rng.normal(0, 20, 9), strict=True)
    points = np.stack([turned(reference_landmarks(32), scale, degrees, (9, 7)) for scale, degrees in turns])
    matrices = similarity(points, reference_landmarks(32))
    together = warp(images, matrices, 32)
    for i in range(9):
        assert (warp(images[i : i + 1], matrices[i : i + 1], 32)[0] == together[i]).all()


def test_shrinking_does_not_alias() -> None:
    stripes = np.zeros((1, 400, 400, 3), dtype=np.uint8)
    stripes[:, :, ::2] = 255  # finer than any pixel of the crop: must become gray
    points = turned(reference_landmarks(32), 12.0, 0.0, (5.0, 5.0))
    crop = warp(stripes, similarity(points[None], reference_landmarks(32)), 32)[0, 4:-4, 4:-4]
    assert np.abs(crop.astype(int) - 128).max() <= 24


def test_unusable_landmarks_give_a_black_crop() -> None:
    points = np.stack([np.full((5, 2), 7.0), np.full((5, 2), np.nan)])
    matrices = similarity(points, reference_landmarks(32))
    assert (matrices == 0).all()
    assert (warp(np.full((2, 50, 50, 3), 9, np.uint8), matrices, 32) == 0).all()


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(ValueError, match=r"\(2, 3, 2\); expected \[B, 5, 2\]"):
        similarity(np.zeros((2, 3, 2)), reference_landmarks(112))
    with pytest.raises(ValueError, match="float64"):
        warp(np.zeros((1, 4, 4, 3)), np.zeros((1, 2, 3)), 4)  # type: ignore[arg-type]


@pytest.mark.parametrize("scale", [1.3, 2.6, 5.0])
def test_without_supersampling_it_is_the_bilinear_warp_of_scipy(scale: float) -> None:
    """Also where the crop shrinks the face; there the average differs, as it should."""
    image = np.random.default_rng(1).integers(0, 256, (1, 600, 600, 3), dtype=np.uint8)
    points = turned(reference_landmarks(112), scale, 10.0, (40.0, -20.0))
    matrix = similarity(points[None], reference_landmarks(112))
    y, x = np.mgrid[0:112, 0:112]
    inverse = np.linalg.inv(np.vstack([matrix[0], [0, 0, 1]]))
    at = (inverse @ np.stack([x.ravel(), y.ravel(), np.ones(112 * 112)]))[:2]
    padded = np.pad(image[0].astype(float), ((2, 2), (2, 2), (0, 0)))
    colors = [map_coordinates(padded[:, :, c], at[::-1] + 2, order=1, cval=0.0) for c in range(3)]
    expected = np.stack(colors, axis=1).reshape(112, 112, 3)
    plain = warp(image, matrix, 112, supersample=False)[0]
    assert np.abs(plain - expected).max() < 0.5 + 1e-6
    apart = np.abs(warp(image, matrix, 112)[0].astype(int) - plain).max()
    assert (apart > 50) == (scale > 1.5)
