"""Colour and light: the palette of a person, the light of an image, and the camera that develops it.

Colour separates people little, on purpose: skin and hair differ mostly in lightness, over a narrow range, and each
image's gain and white balance (``gain``, ``warmth``, ``tint`` of ``nuisance``) move all of its colours together.

Letters: B images, N pixels, S side in pixels.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.faceworld.canvas import Canvas, Scalars
from harness.faceworld.geometry import Surface, rotation

Float = NDArray[np.float64]

SKIN = np.array([[0.92, 0.75, 0.64], [0.77, 0.57, 0.45], [0.55, 0.38, 0.29]])  # light, medium, dark
HAIR = np.array([[0.08, 0.07, 0.07], [0.30, 0.20, 0.13], [0.66, 0.53, 0.36]])  # black, brown, blond
GREY_HAIR = np.array([0.70, 0.70, 0.71])
IRIS = np.array([[0.24, 0.15, 0.09], [0.30, 0.36, 0.26], [0.32, 0.43, 0.50]])  # brown, green, blue


def palette(s: dict[str, Float], aging: Float) -> dict[str, Float]:
    """Colours of a person at an age, as NAME_r, NAME_g and NAME_b, float64 [B] each in [0, 1]."""
    skin = _along(SKIN, 0.5 + 0.42 * s["skin_shade"]) * (1 + s["skin_hue"][:, None] * [0.03, -0.01, -0.05])
    hair = _along(HAIR, 0.5 + 0.46 * s["hair_shade"])
    hair = hair * (1 + np.maximum(s["hair_hue"], 0)[:, None] * [0.20, -0.06, -0.15])
    grey = np.clip((aging - 0.45) / 0.35, 0, 0.85)[:, None]
    hair = hair * (1 - grey) + GREY_HAIR * grey
    lip = skin * (np.array([0.84, 0.52, 0.51]) + 0.10 * s["lip_shade"][:, None]) + [0.05, 0.0, 0.01]
    colors = {
        "skin": skin,
        "hair": hair,
        "brow": hair * (0.70 + 0.25 * s["brow_shade"][:, None]),
        "iris": _along(IRIS, 0.5 + 0.5 * s["iris_hue"]) * (1 + 0.25 * s["iris_shade"][:, None]),
        "lip": lip,
        "lip_upper": 0.84 * lip,
        "lip_line": 0.36 * lip,
        "nostril": 0.24 * skin,
    }
    return {f"{name}_{c}": np.clip(rgb[:, i], 0, 1) for name, rgb in colors.items() for i, c in enumerate("rgb")}


def _along(stops: Float, position: Float) -> Float:
    """Colours at a position in [0, 1] along three stops, float64 [B, 3]."""
    return np.stack([np.interp(position, [0, 0.5, 1], stops[:, c]) for c in range(3)], axis=1)


def lighting(n: dict[str, Float]) -> dict[str, Float]:
    """Direction towards the light in the camera frame (sun_*) and in the head frame (light_*), and channel gains."""
    azimuth, elevation = np.radians(n["light_azimuth"]), np.radians(n["light_elevation"])
    flat = np.cos(elevation)
    sun = np.stack([flat * np.sin(azimuth), np.sin(elevation), flat * np.cos(azimuth)], -1)
    local = np.einsum("bij,bi->bj", rotation(n["yaw"], n["pitch"], n["roll"]), sun)
    gain = {
        "gain_r": np.exp(n["gain"] + n["warmth"]),
        "gain_g": np.exp(n["gain"] + n["tint"]),
        "gain_b": np.exp(n["gain"] - n["warmth"]),
    }
    names = [f"{kind}_{axis}" for kind in ("sun", "light") for axis in "xyz"]
    return gain | dict(zip(names, np.ascontiguousarray(np.concatenate([sun, local], 1).T), strict=True))


def illuminate(p: Scalars, head: Surface, canvas: Canvas) -> None:
    """Light the painted head: wrapped diffuse light, darker towards the rim, a faint highlight."""
    nx, ny, nz = head.normal
    dx, dy, dz = head.rays.direction
    facing = nx * p.light_x + ny * p.light_y + nz * p.light_z
    light = (facing * 0.8 + 0.2).clamp_(min=0).mul_(1.15 * p.diffuse).add_(p.ambient)
    rim = (nx * dx + ny * dy + nz * dz).clamp_(-1, 0).mul_(-0.28).add_(0.72)
    highlight = facing.clamp_(min=0).square_().square_().square_()
    highlight = (highlight * highlight.square()).mul_(0.10 * p.diffuse)  # the cosine to the 24th
    canvas.shade(light.mul_(rim))
    for channel in canvas.channels:
        channel.add_(highlight)


def develop(p: Scalars, canvas: Canvas, size_px: int) -> Tensor:
    """Apply white balance and contrast to the finished canvas: float32 [B, 3, S, S], not yet clipped."""
    planes = []
    for channel, gain in zip(canvas.channels, p.color("gain"), strict=True):
        slope = gain * (1 + p.contrast)
        planes.append(channel.mul_(slope).add_(p.black - 0.45 * p.contrast))
    return torch.stack(planes, 1).view(len(planes[0]), 3, -1, size_px)


def soften(image: Tensor, strength: Tensor) -> Tensor:
    """Blur float32 [B, 3, S, S] by ``strength`` [B, 1] in [0, 1], over about S/16 pixels; 0 leaves the image as is."""
    radius = max(1, round(image.shape[-1] / 48))
    soft = image
    for axis in (-1, -2, -1, -2):
        soft = _running_mean(soft, axis, radius)
    return image.lerp(soft, strength.view(-1, 1, 1, 1))


def _running_mean(image: Tensor, axis: int, radius: int) -> Tensor:
    """Mean over 2 radius + 1 pixels along an axis; the border repeats."""
    size = image.shape[axis]
    total = image.clone()
    for shift in range(1, radius + 1):
        for offset in (-shift, shift):
            index = (torch.arange(size, device=image.device) + offset).clamp_(0, size - 1)
            total += image.index_select(axis, index)
    return total / (2 * radius + 1)
