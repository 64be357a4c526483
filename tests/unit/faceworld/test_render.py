"""Images are functions of (seed, identity, sample, mode, size), and their landmarks and attributes are true."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from harness.errors import InputError
from harness.faceworld.nuisance import MODES
from harness.faceworld.ranges import IDENTITY_RANGES
from harness.faceworld.render import render

PEOPLE = list(IDENTITY_RANGES["spare"][:64])


def _in_batches(size: int, size_px: int, mode: str | list[str] = "train") -> np.ndarray:
    parts = []
    for start in range(0, len(PEOPLE), size):
        part = slice(start, start + size)
        modes = mode if isinstance(mode, str) else mode[part]
        parts.append(render(0, PEOPLE[part], [3] * len(PEOPLE[part]), modes, size_px).images)
    return np.concatenate(parts)


@pytest.mark.parametrize("size_px", [32, 40])
def test_images_do_not_depend_on_the_batch(size_px: int) -> None:
    whole = _in_batches(64, size_px)
    np.testing.assert_array_equal(whole, _in_batches(7, size_px))
    np.testing.assert_array_equal(whole, _in_batches(1, size_px))
    assert (whole[0] != whole[1]).any()


def test_images_do_not_depend_on_their_neighbors_mode() -> None:
    mixed = [list(MODES)[i % len(MODES)] for i in range(len(PEOPLE))]
    together = _in_batches(64, 32, mixed)
    for i in range(6):
        alone = render(0, [PEOPLE[i]], [3], mixed[i], 32).images[0]
        np.testing.assert_array_equal(together[i], alone)


def test_images_do_not_depend_on_the_number_of_threads() -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = render(0, PEOPLE[:8], [0] * 8, "train", 112).images
        torch.set_num_threads(3)
        three = render(0, PEOPLE[:8], [0] * 8, "train", 112).images
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_array_equal(one, three)


def test_a_large_image_drawn_in_bands_has_no_seam() -> None:
    image = render(0, PEOPLE[:1], [0], "mild", 256).images[0].astype(float).mean(-1)
    jumps = np.abs(np.diff(image, axis=0)).mean(1)
    band = 128  # rows 0..127 and 128..255 are drawn apart
    assert jumps[band - 1] < 2 * np.median(jumps[band - 20 : band + 20])


@pytest.mark.parametrize("change", ["seed", "identity", "sample", "mode"])
def test_every_part_of_the_key_matters(change: str) -> None:
    seed, identity, sample, mode = 0, PEOPLE[0], 0, "mild"
    base = render(seed, [identity], [sample], mode, 32).images
    other = render(
        seed + (change == "seed"),
        [identity + (change == "identity")],
        [sample + (change == "sample")],
        "frontal" if change == "mode" else mode,
        32,
    ).images
    assert np.abs(base.astype(int) - other).mean() > 2


def test_one_identity_resembles_itself_across_samples() -> None:
    """Frontal faces of one person are nearer to each other than to other people's, in gray and on average."""
    people, shots = 24, 6
    ids = np.repeat(PEOPLE[:people], shots).tolist()
    faces = render(0, ids, list(range(shots)) * people, "frontal", 32).images[:, 6:28, 6:26].astype(float).mean(-1)
    faces = faces - faces.mean((1, 2), keepdims=True)
    faces = (faces / faces.std((1, 2), keepdims=True)).reshape(people * shots, -1)
    likeness = faces @ faces.T / faces.shape[1]
    same = np.equal.outer(ids, ids) & ~np.eye(len(ids), dtype=bool)
    assert likeness[same].mean() > likeness[~np.equal.outer(ids, ids)].mean() + 0.1


@pytest.mark.parametrize("size_px", [32, 48, 64, 112, 128, 184, 256])
def test_sizes_show_the_same_face(size_px: int) -> None:
    small = render(0, PEOPLE[:1], [0], "mild", 32)
    large = render(0, PEOPLE[:1], [0], "mild", size_px)
    assert large.images.shape == (1, size_px, size_px, 3)
    assert large.images.dtype == np.uint8
    np.testing.assert_allclose((large.landmarks + 0.5) / size_px, (small.landmarks + 0.5) / 32, atol=1e-5)


@pytest.mark.parametrize("size_px", [24, 36, 264])
def test_a_wrong_size_is_refused(size_px: int) -> None:
    with pytest.raises(InputError, match=f"size_px is {size_px}"):
        render(0, [0], [0], "mild", size_px)


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(InputError, match="'sideways'"):
        render(0, [0], [0], "sideways", 32)
    with pytest.raises(InputError, match="2 identities, 1 samples"):
        render(0, [0, 1], [0], "mild", 32)


def test_an_empty_batch_is_empty() -> None:
    assert render(0, [], [], "mild", 32).images.shape == (0, 32, 32, 3)


@pytest.mark.parametrize("mode", list(MODES))
def test_landmarks_lie_inside_and_in_order(mode: str) -> None:
    points = render(0, PEOPLE, [1] * 64, mode, 64).landmarks
    assert points.shape == (64, 5, 2)
    assert points.min() >= 0
    assert points.max() <= 63
    left_eye, right_eye, nose, left_mouth, right_mouth = points.transpose(1, 0, 2)
    assert (left_eye[:, 0] < right_eye[:, 0]).all()
    assert (left_mouth[:, 0] < right_mouth[:, 0]).all()
    assert (left_eye[:, 1] < left_mouth[:, 1]).all()
    assert (np.minimum(left_mouth, right_mouth)[:, 1] > nose[:, 1] - 6).all()


def test_the_nose_moves_to_the_side_the_face_turns_to() -> None:
    faces = render(0, PEOPLE, [2] * 64, "train", 64)
    middle = (faces.landmarks[:, 0, 0] + faces.landmarks[:, 1, 0]) / 2
    offset, yaw, level = faces.landmarks[:, 2, 0] - middle, faces.attributes["yaw"], faces.attributes["roll"]
    turned = (np.abs(yaw) > 12) & (np.abs(level) < 4)
    assert turned.sum() > 10
    assert (np.sign(offset[turned]) == np.sign(yaw[turned])).all()


def test_eyes_are_dark_where_the_landmarks_say() -> None:
    """The pupils make the eyes darker than the cheeks below them, on most frontal images."""
    faces = render(0, PEOPLE, [0] * 64, "frontal", 128)
    darker = 0
    for image, points in zip(faces.images.astype(float).mean(-1), faces.landmarks, strict=True):
        for x, y in points[:2].round().astype(int):
            darker += image[y - 3 : y + 4, x - 3 : x + 4].min() < image[y + 12 : y + 17, x - 3 : x + 4].min()
    assert darker > 0.9 * 128


@pytest.mark.parametrize(("mode", "low", "high"), [("young", 20, 30), ("old", 55, 65), ("train", 0, 100)])
def test_ages_are_years(mode: str, low: float, high: float) -> None:
    age = render(0, PEOPLE, [0] * 64, mode, 32).attributes["age"]
    assert age.dtype == np.float32
    assert low <= age.min() < age.max() <= high


def test_profiles_are_turned_and_frontals_are_not() -> None:
    profile = np.abs(render(0, PEOPLE, [0] * 64, "profile", 32).attributes["yaw"])
    frontal = np.abs(render(0, PEOPLE, [0] * 64, "frontal", 32).attributes["yaw"])
    assert profile.min() >= 45
    assert frontal.max() <= 10


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_differs_by_rounding_only() -> None:
    cpu = render(0, PEOPLE, [0] * 64, "train", 64)
    gpu = render(0, PEOPLE, [0] * 64, "train", 64, device="cuda")
    np.testing.assert_array_equal(cpu.landmarks, gpu.landmarks)
    assert np.abs(cpu.images.astype(int) - gpu.images).mean() < 0.1
