"""Draw images of the face world.

An image is a function of (seed, identity, sample, mode, size) alone: on one machine's CPU it is bit-identical for any
batch size and any number of threads. On a GPU it differs by rounding.

Letters: B images, S side in pixels, N pixels of a band of rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness import noise
from harness.errors import InputError
from harness.faceworld import accessories, features, geometry, landmarks, nuisance, outline, shading
from harness.faceworld.canvas import Canvas, Scalars
from harness.faceworld.identity import sliders

MIN_SIZE_PX, MAX_SIZE_PX = 32, 256
CPU_PIXELS = 32_768  # per chunk: fits the cache, and is the most that torch never splits between threads
GPU_PIXELS = 4_194_304

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Rendered:
    """Images and what is known about them exactly.

    Attributes:
        images: uint8 [B, S, S, 3], RGB.
        landmarks: float32 [B, 5, 2], x and y in pixels with pixel centres at integers: image-left eye, image-right
            eye, nose tip, image-left mouth corner, image-right mouth corner.
        attributes: float32 [B] each: yaw, pitch, roll (degrees; positive is towards the image's right, upwards and
            counter-clockwise) and age (years).
    """

    images: NDArray[np.uint8]
    landmarks: NDArray[np.float32]
    attributes: dict[str, NDArray[np.float32]]


def render(
    seed: int,
    identities: Sequence[int],
    samples: Sequence[int],
    mode: str | Sequence[str],
    size_px: int,
    device: str = "cpu",
    frames: Sequence[int] | None = None,
) -> Rendered:
    """Render images.

    Args:
        seed: the world's seed: another seed is another population.
        identities: identity of each image, B integers (see ``ranges``).
        samples: sample index of each image, B integers.
        mode: a key of ``nuisance.MODES``, or one for each image.
        size_px: side of the images, a multiple of 8 from 32 to 256.
        device: where to compute, as torch names it.
        frames: frame number of each image, B integers; default 0, the sample itself. The other frames of a sample show
            the same scene a moment later, as a video does: other pose, expression and sensor noise.

    Returns:
        The images with landmarks and attributes.

    Raises:
        InputError: lengths differ, the mode is unknown or the size is out of range.
    """
    modes = [mode] * len(identities) if isinstance(mode, str) else list(mode)
    _check(identities, samples, modes, size_px)
    frames = [0] * len(identities) if frames is None else frames
    images = np.empty((len(identities), size_px, size_px, 3), dtype=np.uint8)
    points = np.empty((len(identities), 5, 2), dtype=np.float32)
    attributes = {name: np.empty(len(identities), dtype=np.float32) for name in ("yaw", "pitch", "roll", "age")}
    budget = CPU_PIXELS if device == "cpu" else GPU_PIXELS
    for part in _chunks(len(identities), max(1, budget // size_px**2)):
        who, which = list(identities[part]), list(samples[part])
        numbers = describe(seed, who, which, modes[part], frames[part])
        points[part] = landmarks.locate(numbers, size_px)
        for name, values in attributes.items():
            values[part] = numbers[name]
        images[part] = _draw(numbers, _grain(seed, who, which, modes[part], frames[part], size_px), size_px, device)
    return Rendered(images, points, attributes)


def describe(
    seed: int,
    identities: Sequence[int],
    samples: Sequence[int],
    modes: Sequence[str],
    frames: Sequence[int] | None = None,
) -> dict[str, Float]:
    """Every per-image number of the images, by name, float64 [B] each."""
    who, how = sliders(seed, identities), nuisance.draw(seed, identities, samples, modes, frames)
    shape = geometry.measure(who, how)
    hair = outline.measure_hair(who, how, shape["aging"])
    turn = {"block_cos": np.cos(how["block_turn"]), "block_sin": np.sin(how["block_turn"])}
    spots = {"mole_x": who["mole_x"], "mole_y": who["mole_y"]}
    return how | shape | hair | shading.palette(who, shape["aging"]) | shading.lighting(how) | turn | spots


def _check(identities: Sequence[int], samples: Sequence[int], modes: Sequence[str], size_px: int) -> None:
    if not len(identities) == len(samples) == len(modes):
        raise InputError(
            f"face world: got {len(identities)} identities, {len(samples)} samples and {len(modes)} modes: "
            "expected as many of each"
        )
    nuisance.check_modes(modes)
    if size_px % 8 or not MIN_SIZE_PX <= size_px <= MAX_SIZE_PX:
        raise InputError(
            f"face world: size_px is {size_px}: expected a multiple of 8 from {MIN_SIZE_PX} to {MAX_SIZE_PX}"
        )


def _chunks(count: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def _draw(numbers: dict[str, Float], grain: NDArray[np.float32], size_px: int, device: str) -> NDArray[np.uint8]:
    """Draw a chunk of images in bands of rows, then blur, add grain and round: uint8 [B, S, S, 3]."""
    with torch.inference_mode():
        p = Scalars(numbers, device)
        budget = CPU_PIXELS if device == "cpu" else GPU_PIXELS
        bands = list(_chunks(size_px, max(1, budget // (size_px * len(grain)))))
        parts = [shading.develop(p, _paint(p, numbers, size_px, band), size_px) for band in bands]
        image = torch.cat(parts, 2) if len(parts) > 1 else parts[0]
        rows = _rows(numbers["blur"], device)
        if len(rows):
            image[rows] = shading.soften(image[rows], p.blur[rows])
        image = image.add_(torch.from_numpy(grain).to(device) * p.grain.view(-1, 1, 1, 1))
        quantized = image.clamp_(0, 1).mul_(255).round_().to(torch.uint8)
        return np.asarray(quantized.permute(0, 2, 3, 1).cpu().numpy(), dtype=np.uint8)


def _paint(p: Scalars, numbers: dict[str, Float], size_px: int, band: slice) -> Canvas:
    """Paint some rows of the images, from the wall forward."""
    rays = geometry.cast_rays(p, size_px, band.start, band.stop - band.start)
    head = geometry.meet_head(p, rays)
    hair = outline.meet_hair(p, head)
    face = features.paint_face(p, head)
    for name, painter in (("glasses", accessories.paint_glasses), ("mask", accessories.paint_mask)):
        accessories.put_on(painter, _rows(numbers[name], rays.u.device), p, head, face)
    shading.illuminate(p, head, face)
    canvas = outline.paint_wall(p, rays)
    outline.paint_back_hair(p, hair, canvas)
    outline.paint_body(p, rays, canvas)
    r, g, b = face.channels
    canvas.paint((r, g, b), head.cover)
    outline.paint_ears(p, head, canvas)
    outline.paint_hair(p, hair, canvas)
    for name, painter in (("hat", accessories.paint_hat), ("block", accessories.paint_block)):
        accessories.put_on(painter, _rows(numbers[name], rays.u.device), p, head, canvas)
    return canvas


def _rows(worn: Float, device: str | torch.device) -> Tensor:
    """Rows of the images in which a number is not zero, int64 [b]."""
    return torch.from_numpy(np.flatnonzero(worn)).to(device)


def _grain(
    seed: int,
    identities: Sequence[int],
    samples: Sequence[int],
    modes: Sequence[str],
    frames: Sequence[int],
    size_px: int,
) -> NDArray[np.float32]:
    """Sensor noise of unit variance, float32 [B, 3, S, S].

    One draw serves three channels: its leading, middle and trailing bits are independent numbers.
    """
    out = np.empty((len(identities), 3, size_px, size_px), dtype=np.float32)
    for row, mode in enumerate(modes):
        where = f"faceworld/{mode}/grain"
        u = noise.uniform(seed, [identities[row]], [samples[row]], size_px * size_px, where, frames[row])
        u = u.reshape(size_px, size_px)
        for channel in range(3):
            out[row, channel] = (u - 0.5) * 12**0.5
            u = u * 2.0**17 % 1.0
    return out
