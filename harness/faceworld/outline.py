"""What surrounds the face: wall, neck, clothes, ears and hair.

Letters: B images, N pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.faceworld.canvas import Canvas, Channels, Scalars, between, spot, step
from harness.faceworld.geometry import Rays, Surface, meet_ellipsoid

Float = NDArray[np.float64]
EAR_DEPTH = 0.105  # half the width of an ear seen from the side
EAR_AT = (-0.02, -0.08)  # y and z of its centre


def measure_hair(s: dict[str, Float], n: dict[str, Float], aging: Float) -> dict[str, Float]:
    """Lengths of the hair, and amounts of beard, moles, freckles and wrinkles, float64 [B] each."""
    long = np.maximum(s["hair_length"], 0)
    volume = 0.065 + 0.035 * s["hair_volume"]
    grown = np.clip((n["age"] - 14) / 8, 0, 1)
    return {
        "hair_y": 0.09 - 0.16 * long,
        "hair_rx": 0.75 + 0.085 * s["head_width"] + volume + 0.07 * long,
        "hair_ry": 0.95 + 0.06 * s["face_length"] + volume + 0.20 * long,
        "hair_rz": 0.87 + 0.06 * s["head_depth"] + volume,
        "hair_low": np.where(long > 0, -0.45 - 0.75 * long, 0.10 + 0.12 * s["hair_length"]),
        "nape": np.where(long > 0, 0.0, 0.42 + 0.1 * s["hair_length"]),
        "hairline": 0.57 + 0.13 * s["hairline"] + 0.12 * np.maximum(aging - 0.3, 0) * (1 + s["age_rate"]),
        "part_x": 0.30 * s["parting"],
        "part_drop": 0.22 + 0.34 * s["sweep"],
        "temple_drop": 0.45 + 0.35 * s["temple"],
        "wave": 2 * np.pi * n["hair_wave"],
        "beard": np.clip(1.8 * (s["beard"] - 0.35), 0, 0.8) * grown,
        "moustache": np.clip(1.8 * (s["moustache"] - 0.35), 0, 0.75) * grown,
        "mole": np.where(s["mole"] > 0.3, 0.9, 0.0),
        "freckle": np.clip(s["freckles"] - 0.3, 0, 1),
        "wrinkle": 1.1 * np.maximum(aging - 0.25, 0),
    }


def paint_wall(p: Scalars, rays: Rays) -> Canvas:
    """A wall with a soft gradient and a soft wave."""
    u, v = rays.u, rays.v
    ramp = p.ramp_x * u + p.ramp_y * v
    wave = torch.sin(p.wave_x * u + p.wave_y * v + p.wave_phase)
    channels = []
    for base, along, across in zip(p.color("wall"), p.color("ramp"), p.color("wave"), strict=True):
        channels.append((0.12 + 0.70 * base + 1.6 * along * ramp + 0.5 * across * wave).clamp_(0, 1))
    return Canvas(channels)


def paint_body(p: Scalars, rays: Rays, canvas: Canvas) -> None:
    """Neck and clothes, seen from the front whatever the pose."""
    width = 0.58 * p.head_w
    x = rays.u + 0.12 * p.r02
    across = x * (1 / width)
    light = p.ambient + p.diffuse * (0.45 + 0.3 * p.sun_x * across)
    light = light * (1 - 0.35 * across.square()) * (0.6 + 0.35 * ((-rays.v - 0.85) * 2).clamp_(0, 1))
    skin = _lit(p.color("skin"), light)
    canvas.paint(skin, step(torch.minimum(width - x.abs(), -0.45 - rays.v), rays.sharpness))
    r, g, b = (c * (0.55 + 0.35 * p.diffuse) for c in p.color("cloth"))
    inside = 1 - ((rays.u * (1 / 1.25)).square() + ((rays.v + 2.05) * (1 / 0.80)).square()).sqrt_()
    canvas.paint((r, g, b), step(inside, rays.sharpness))


def _lit(color: Channels, light: Tensor) -> Channels:
    r, g, b = color
    return r * light, g * light, b * light


def paint_ears(p: Scalars, head: Surface, canvas: Canvas) -> None:
    """The ear of each pixel's side: an ellipsoid with a dark shell."""
    side = head.x.sign()
    at = p.head_w * 0.97 * side
    t, _, miss = meet_ellipsoid(head.rays, (at, *EAR_AT), (p.ear_w, p.ear_h, EAR_DEPTH))
    cover = (0.5 - miss * (0.05 * head.rays.sharpness)).clamp_(0, 1) * _before(t, head, 0.0)
    _, y, z = head.rays.at(t)
    shell = spot(z - (EAR_AT[1] + 0.025), y - (EAR_AT[0] + 0.02), EAR_DEPTH * 0.55, p.ear_h * 0.55)
    facing = (side * (0.6 * p.light_x) + 0.6 * p.light_z).clamp_(min=0)
    light = (p.ambient + p.diffuse * (0.2 + facing)) * (0.95 - 0.45 * shell) * (1 + 0.25 * miss.clamp(-1, 0))
    canvas.paint(_lit(p.color("skin"), light), cover)


def _before(t: Tensor, head: Surface, margin: float) -> Tensor:
    """1 where distance ``t`` lies in front of the head (or beside it), 0 behind, [B, N]."""
    depth = torch.where(head.cover > 0.5, head.t, 3.3)
    return ((depth - t + margin) * 20 + 0.5).clamp_(0, 1)


@dataclass(frozen=True)
class Hair:
    """The shell of hair, met by the rays.

    Attributes:
        cover: of its near side, [B, N].
        back: of its far side, seen past the head.
        light: on the near side, with strands.
        shine: its highlight.
    """

    cover: Tensor
    back: Tensor
    light: Tensor
    shine: Tensor


def meet_hair(p: Scalars, head: Surface) -> Hair:
    """Meet the shell of hair: where it covers, and how it is lit."""
    rays = head.rays
    near, far, miss = meet_ellipsoid(rays, (0.0, p.hair_y, -0.09), (p.hair_rx, p.hair_ry, p.hair_rz))
    silhouette = (0.5 - miss * (0.45 * rays.sharpness)).clamp_(0, 1)
    x, y, z = rays.at(near)
    strand = _strand(p, x, z)
    fine = (rays.sharpness * (1 / 45)).clamp(max=1)  # strands finer than a pixel would alias
    grown = step(y - _edge(p, x, z) - 0.022 * fine * torch.sin(0.5 * strand), rays.sharpness * 0.6)
    _, far_y, _ = rays.at(far)
    back = step(far_y - p.hair_low, rays.sharpness).mul_(silhouette)
    nx, ny, nz = x / p.hair_rx.square(), (y - p.hair_y) / p.hair_ry.square(), (z + 0.09) / p.hair_rz.square()
    facing = (nx * p.light_x + ny * p.light_y + nz * p.light_z) * (nx * nx + ny * ny + nz * nz).rsqrt_()
    furrow = spot(x - p.part_x, y - 1.0, 0.025, 0.45).mul_(0.35)  # the parting
    light = p.ambient + p.diffuse * (facing * 0.75 + 0.25).clamp_(min=0).mul_(1.1)
    light = light * (1 + 0.14 * fine * torch.sin(strand) - furrow)
    shine = facing.clamp_(min=0).square_().square_().square_().mul_(0.09)
    return Hair(grown.mul_(silhouette).mul_(_before(near, head, 0.02)), back, light, shine)


def _strand(p: Scalars, x: Tensor, z: Tensor) -> Tensor:
    """Phase across the strands, which run down and back from the parting, [B, N]."""
    across = 0.8 * (x - p.part_x).abs() - 0.9 * z
    return across * 30 + 2.5 * torch.sin(across * 11 + p.wave)


def _edge(p: Scalars, x: Tensor, z: Tensor) -> Tensor:
    """Height above which there is hair: the hairline in front, the ends of the hair behind, [B, N]."""
    line = p.hairline - p.part_drop * (x - p.part_x).abs() - p.temple_drop * x.square()
    front = between(0.02, z, 0.44)
    nape = p.hair_low - p.nape * (-1.6 * z - 0.1).clamp_(0, 1)
    return nape + (line - nape) * front


def paint_back_hair(p: Scalars, hair: Hair, canvas: Canvas) -> None:
    """The far side of the hair, in the shade: drawn before the head."""
    canvas.paint(_lit(p.color("hair"), 0.5 * p.ambient), hair.back)


def paint_hair(p: Scalars, hair: Hair, canvas: Canvas) -> None:
    """The near side of the hair: drawn over head and ears."""
    r, g, b = _lit(p.color("hair"), hair.light)
    canvas.paint((r.add_(hair.shine), g.add_(hair.shine), b.add_(hair.shine)), hair.cover)
