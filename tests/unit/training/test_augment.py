"""Augmentation: each operation as Pillow does it, and nothing of it depends on anything but the image's key."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance
from torch import Tensor

from harness.errors import InputError
from harness.training.augment import NAMES, degrade, image_keys, named, photometric, pil, randaugment, rectangles

FILTERS = dict(
    zip(degrade.INTERPOLATIONS, ("NEAREST", "BILINEAR", "BOX", "BICUBIC", "LANCZOS"), strict=True)
)  # Pillow's names


def pictures(count: int, size: int, seed: int = 0) -> np.ndarray:
    """Noise, soft blobs of few levels, and flat pictures, in turn; uint8 [count, size, size, 3]."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, (count, size, size, 3))
    blobs = rng.normal(rng.uniform(30, 220, (count, 1, 1, 3)), 20, (count, size // 8 + 1, size // 8 + 1, 3))
    noise[1::3] = blobs.repeat(8, 1).repeat(8, 2)[1::3, :size, :size].clip(0, 255)
    noise[2::9] = rng.integers(0, 256, (count, 1, 1, 3))[2::9]
    return noise.astype(np.uint8)


def tensor(images: np.ndarray) -> Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()


def array(images: Tensor) -> np.ndarray:
    return images.permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize("size", [64, 112, 37])
@pytest.mark.parametrize("name", randaugment.OPERATIONS)
def test_an_operation_is_pillows_at_every_magnitude_and_both_signs(name: str, size: int) -> None:
    bins = np.tile(np.arange(1, 31), 2)
    strengths = randaugment.magnitudes(name, bins, np.repeat([1, -1], 30), size)
    images = pictures(len(bins), size, seed=size)
    theirs = [np.asarray(pil.operate(name, Image.fromarray(x), m)) for x, m in zip(images, strengths, strict=True)]
    ours = array(randaugment.operate(name, tensor(images), strengths))
    apart = np.abs(ours.astype(np.int16) - np.stack(theirs)).max()
    assert apart == 0, "geometric operations, too, take every pixel from the same place"
    assert name == "identity" or not np.array_equal(ours, images)


def test_randaugment_is_the_chain_of_pillows_operations() -> None:
    images, keys = pictures(200, 32), np.arange(200)
    operations, bins, signs = randaugment.drawn(keys)
    expected = []
    for row, picture in enumerate(images):
        image = Image.fromarray(picture)
        for index, bin_, sign in zip(operations[row], bins[row], signs[row], strict=True):
            name = randaugment.OPERATIONS[index]
            image = pil.operate(name, image, randaugment.magnitudes(name, bin_, sign, 32))
        expected.append(np.asarray(image))
    ours = tensor(images)
    randaugment.randaugment(ours, keys)
    assert np.array_equal(array(ours), np.stack(expected))


def test_randaugment_draws_as_specified() -> None:
    operations, bins, signs = randaugment.drawn(np.arange(20_000))
    assert np.bincount(operations.ravel()) == pytest.approx([80_000 / 13] * 13, rel=0.05)
    assert np.bincount(bins.ravel())[1:] == pytest.approx([80_000 / 16] * 16, rel=0.05)
    assert np.unique(signs).tolist() == [-1, 1]
    assert abs(signs.mean()) < 0.02
    repeated = (np.diff(np.sort(operations, axis=1), axis=1) == 0).any(axis=1).mean()
    assert repeated == pytest.approx(1 - 12 * 11 * 10 / 13**3, abs=0.02), "drawn with replacement"


@pytest.mark.parametrize("enlarge", degrade.INTERPOLATIONS)
@pytest.mark.parametrize("shrink", degrade.INTERPOLATIONS)
def test_low_resolution_is_pillows_resizing_twice(shrink: str, enlarge: str) -> None:
    sides = np.arange(7, 37)
    images = pictures(len(sides), 36)
    down, up = (Image.Resampling[FILTERS[name]] for name in (shrink, enlarge))
    theirs = [
        np.asarray(Image.fromarray(x).resize((n, n), down).resize((36, 36), up))
        for x, n in zip(images, sides, strict=True)
    ]
    ways = [np.full(len(sides), degrade.INTERPOLATIONS.index(name)) for name in (shrink, enlarge)]
    assert np.array_equal(array(degrade.resized(tensor(images), sides, *ways)), np.stack(theirs))


def test_low_resolution_draws_as_specified() -> None:
    lower, sides, shrink, enlarge = degrade.drawn(np.arange(20_000), 112)
    assert lower.mean() == pytest.approx(0.2, abs=0.01)
    assert (sides.min(), sides.max()) == (22, 112)
    assert sides.mean() == pytest.approx(0.6 * 112, abs=1)
    for way in (shrink, enlarge):
        assert np.bincount(way) == pytest.approx([4_000] * 5, rel=0.08)
    assert abs(np.corrcoef(shrink, enlarge)[0, 1]) < 0.03


def test_photometric_is_pillows_enhancement_in_random_order() -> None:
    images, keys = pictures(120, 24), np.arange(120)
    changed, factors, order = photometric.drawn(keys)
    enhancers = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    expected = images.copy()
    for row in np.flatnonzero(changed):
        image = Image.fromarray(images[row])
        for index in order[row]:
            image = enhancers[index](image).enhance(factors[row, index])
        expected[row] = np.asarray(image)
    ours = tensor(images)
    photometric.photometric(ours, keys)
    assert np.array_equal(array(ours), expected)
    many, factors, order = photometric.drawn(np.arange(20_000))
    assert many.mean() == pytest.approx(0.2, abs=0.01)
    assert (factors.min(), factors.max()) == pytest.approx((0.5, 1.5), abs=0.001)
    assert np.unique(order, axis=0, return_counts=True)[1] == pytest.approx([20_000 / 6] * 6, rel=0.1)


def test_erasing_blackens_one_rectangle_of_half_of_the_images() -> None:
    images = torch.full((3_000, 3, 40, 40), 200, dtype=torch.uint8)
    rectangles.erase(images, np.arange(len(images)))
    black = (images == 0).all(dim=1)
    erased = black.any(dim=(1, 2))
    assert erased.double().mean().item() == pytest.approx(0.5, abs=0.03)
    black = black[erased]
    heights, widths = black.any(dim=2).sum(dim=1), black.any(dim=1).sum(dim=1)
    areas = black.sum(dim=(1, 2))
    assert torch.equal(areas, heights * widths), "a rectangle"
    share, aspect = areas / 1600, heights / widths
    assert 0.015 < share.min() < 0.03
    assert 0.32 < share.max() < 0.35
    assert 0.25 < aspect.min() < 0.35
    assert 3 < aspect.max() < 4
    assert set(images.unique().tolist()) == {0, 200}
    corner = black.flatten(1).double().argmax(dim=1)
    assert (corner // 40).double().mean().item() == pytest.approx((40 - heights).double().mean().item() / 2, abs=1)
    assert (corner % 40).double().mean().item() == pytest.approx((40 - widths).double().mean().item() / 2, abs=1)


def test_cropping_keeps_one_rectangle_of_a_fifth_of_the_images_in_its_place() -> None:
    images = torch.full((3_000, 3, 40, 40), 200, dtype=torch.uint8)
    rectangles.crop(images, np.arange(len(images)))
    kept = (images == 200).all(dim=1)
    cropped = ~kept.all(dim=2).all(dim=1)
    assert cropped.double().mean().item() == pytest.approx(0.2, abs=0.03)
    kept = kept[cropped]
    heights, widths = kept.any(dim=2).sum(dim=1), kept.any(dim=1).sum(dim=1)
    assert torch.equal(kept.sum(dim=(1, 2)), heights * widths)
    share, aspect = heights * widths / 1600, heights / widths
    assert 0.18 < share.min() < 0.25
    assert share.max() > 0.85
    assert aspect.min() > 0.7
    assert aspect.max() < 1.45


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_depends_on_its_key_alone(name: str) -> None:
    images, augment = tensor(pictures(48, 32)), named(name)
    keys = image_keys(3, 5, torch.arange(48))
    whole = augment(images, keys)
    assert whole.dtype == torch.uint8
    order = torch.from_numpy(np.random.default_rng(1).permutation(48))
    assert torch.equal(augment(images[order], keys[order]), whole[order]), "order"
    parts = [augment(images[i : i + 1], keys[i : i + 1]) for i in range(48)]
    assert torch.equal(torch.cat(parts), whole), "batch"
    torch.set_num_threads(2)
    try:
        assert torch.equal(augment(images, keys), whole), "threads"
    finally:
        torch.set_num_threads(1)
    channels_last = images.contiguous(memory_format=torch.channels_last)
    assert torch.equal(augment(channels_last, keys), whole), "layout"
    assert torch.equal(images, tensor(pictures(48, 32))), "what is given stays as it is"
    assert torch.equal(whole, images) == (name == "none")
    if name != "none":
        assert not torch.equal(augment(images, image_keys(3, 6, torch.arange(48))), whole)


_ELSEWHERE = """
import hashlib, torch
from harness.training.augment import NAMES, image_keys, named
images = torch.arange(40 * 3 * 32 * 32).mul(7919).remainder(251).to(torch.uint8).view(40, 3, 32, 32)
made = b"".join(named(name)(images, image_keys(0, 1, torch.arange(40))).numpy().tobytes() for name in NAMES)
print(hashlib.sha256(made).hexdigest())
"""


def test_another_process_gives_the_same_pictures_and_they_never_change() -> None:
    done = subprocess.run([sys.executable, "-c", _ELSEWHERE], capture_output=True, text=True, check=True)
    # Trained weights depend on these pictures: they may never change.
    assert done.stdout.strip() == "60a9d1955104b488a42e2d798ff03902db9dc8d3f8a149389ffac929efc2da98"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", NAMES)
def test_a_gpu_gives_the_same_pictures(name: str) -> None:
    images, keys = tensor(pictures(200, 64)), image_keys(0, 0, torch.arange(200))
    assert torch.equal(named(name)(images.cuda(), keys).cpu(), named(name)(images, keys))


def test_keys_differ_by_seed_epoch_and_image() -> None:
    everyone = torch.arange(1000)
    keys = torch.cat([image_keys(seed, epoch, everyone) for seed in range(3) for epoch in range(3)])
    assert keys.dtype == torch.int64
    assert len(keys.unique()) == 9000
    assert torch.equal(image_keys(1, 2, torch.tensor([7, 3])), image_keys(1, 2, everyone)[[7, 3]])


def test_an_unknown_name_and_wrong_tensors_are_named() -> None:
    with pytest.raises(InputError, match=r"unknown augmentation 'flop', expected one of .*; did you mean 'flip'"):
        named("flop")
    good, keys = torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"got images torch.float32 \[2, 3, 8, 8\], expected uint8 \[B, 3, H, W\]"):
        named("flip")(good.float(), keys)
    with pytest.raises(ValueError, match=r"got keys torch.int64 \[1\] on cpu, expected int64 \[2\] on the CPU"):
        named("flip")(good, keys[:1])
    with pytest.raises(ValueError, match="expected square ones"):
        named("cvlface")(good[..., :4], keys)
