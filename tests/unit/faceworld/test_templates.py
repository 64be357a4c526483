"""``fw-ijb``: templates of stills and clips, and frames of a clip that share a scene."""

from __future__ import annotations

import numpy as np
import pytest

from harness.faceworld.nuisance import MODES
from harness.faceworld.ranges import IDENTITY_RANGES
from harness.faceworld.render import describe, render
from harness.faceworld.templates import CLIPS, FRAMES, STILLS, TEMPLATES, templates

PEOPLE = list(IDENTITY_RANGES["spare"][:12])


@pytest.mark.parametrize("seed", [0, 1])
def test_templates_hold_one_person_and_pairs_are_all_pairs(seed: int) -> None:
    listed = templates(50, seed)
    count = 50 * TEMPLATES
    assert np.array_equal(np.unique(listed.template), np.arange(count)), "no template is empty"
    assert set(listed.identities.tolist()) == set(IDENTITY_RANGES["templates"][:50])
    person = np.zeros(count, dtype=np.int64)
    person[listed.template] = listed.identities
    assert np.array_equal(person[listed.template], listed.identities)
    assert len(listed.a) == count * (count - 1) // 2
    assert len({frozenset(pair) for pair in zip(listed.a.tolist(), listed.b.tolist(), strict=True)}) == len(listed.a)
    np.testing.assert_array_equal(listed.same, person[listed.a] == person[listed.b])


def test_media_belong_to_one_template_and_no_image_comes_twice() -> None:
    listed = templates(50)
    images = np.stack([listed.identities, listed.samples, listed.frames], axis=1)
    assert len(np.unique(images, axis=0)) == len(images)
    owners: dict[tuple[int, int], set[int]] = {}
    for identity, medium, template in zip(listed.identities, listed.samples, listed.template, strict=True):
        owners.setdefault((identity, medium), set()).add(template)
    assert all(len(owner) == 1 for owner in owners.values())
    _, frames = np.unique(images[:, :2], axis=0, return_counts=True)
    assert set(frames.tolist()) == {1, *range(FRAMES[0], FRAMES[1] + 1)}
    sizes = np.bincount(listed.template)
    assert sizes.min() == 1
    assert sizes.max() <= STILLS[1] + CLIPS[1] * FRAMES[1]


def test_more_people_and_another_seed() -> None:
    """The first people's templates do not depend on how many there are; another seed makes other ones."""
    few, many, other = templates(5), templates(9), templates(5, 1)
    assert np.array_equal(few.samples, many.samples[: len(few.samples)])
    assert not np.array_equal(few.frames, other.frames)


def test_frame_0_is_the_sample_itself() -> None:
    plain = render(0, PEOPLE, [3] * 12, "train", 32)
    framed = render(0, PEOPLE, [3] * 12, "train", 32, frames=[0, 1] * 6)
    same = [bool(np.array_equal(a, b)) for a, b in zip(plain.images, framed.images, strict=True)]
    assert same == [True, False] * 6
    assert np.array_equal(plain.landmarks[::2], framed.landmarks[::2])


def test_frames_share_the_scene_and_move_the_head() -> None:
    modes = (list(MODES) * 2)[:12]
    first, second = (describe(0, PEOPLE, [0] * 12, modes, [frame] * 12) for frame in (0, 3))
    for name in ("age", "warmth", "gain", "light_azimuth", "glasses", "hat", "wall_r", "cloth_g", "scale", "blur"):
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)
    for name in ("yaw", "pitch", "smile"):
        assert (first[name] != second[name]).all(), name
    wide = np.array([MODES[mode].yaw_limit for mode in modes])
    profile = np.array([MODES[mode].profile for mode in modes])
    assert (np.abs(second["yaw"]) <= np.where(profile, 72.0, wide)).all()


def test_frames_are_nearer_to_one_another_than_samples_are() -> None:
    def images(sample: int, frame: int) -> np.ndarray:
        return render(0, PEOPLE, [sample] * 12, "train", 32, frames=[frame] * 12).images.astype(float)

    frames = np.abs(images(0, 1) - images(0, 2)).mean(axis=(1, 2, 3))
    samples = np.abs(images(0, 1) - images(1, 1)).mean(axis=(1, 2, 3))
    assert np.median(frames) < 0.5 * np.median(samples)
