"""The shape of a head: a tapered ellipsoid with a nose, ray-marched, with finer relief in its normals.

Head frame: x to the image's right, y up, z towards the camera; the head reaches from y = -1 to y = 1 or so. The camera
is orthographic. A positive yaw turns the nose to the image's right, a positive pitch lifts it, a positive roll turns
the head counter-clockwise in the image.

Letters: B images, N pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.faceworld.canvas import Channels, Scalars, Triple, spot

Float = NDArray[np.float64]
MARCH_STEPS = 6
NOSE_TOP = 0.18  # y where the bridge of the nose starts


def measure(slider: dict[str, Float], nuisance: dict[str, Float]) -> dict[str, Float]:
    """Lengths of a face, in head radii, from its sliders and the image's nuisances (float64 [B] each)."""
    aging = np.clip(nuisance["age"] / 100 * (1 + 0.25 * slider["age_rate"]), 0, 1.1)
    eyes, mouth = _eyes(slider, nuisance, aging), _nose_and_mouth(slider, nuisance, aging)
    return {"aging": aging} | _head(slider, aging) | eyes | mouth | _pose(nuisance)


def _head(s: dict[str, Float], aging: Float) -> dict[str, Float]:
    soft = 0.40 + 0.35 * s["jaw_square"]  # 0.05 tapers straight from the cheek, 0.75 keeps a square jaw
    narrowing = np.clip(0.25 + 0.15 * s["jaw"] - 0.08 * aging, 0.06, 0.5)  # width lost at the chin
    return {
        "head_w": 0.75 + 0.085 * s["head_width"] + 0.03 * aging,
        "head_h": 1.0 + 0.06 * s["face_length"],
        "head_d": 0.87 + 0.06 * s["head_depth"],
        "jaw_soft": soft,
        "jaw_k": narrowing * (0.85 + soft) / 0.85**2,
        "crown_k": 0.12 + 0.20 * s["crown"],
        "chin_out": 0.035 + 0.045 * s["chin"],
        "cheek_out": 0.045 * (1 + 0.9 * s["cheek"]),
        "socket": 0.075 + 0.035 * s["eye_depth"],
        "ear_h": 0.17 * (1 + 0.35 * s["ear_size"]),
        "ear_w": 0.085 + 0.045 * s["ear_out"],
    }


def _eyes(s: dict[str, Float], n: dict[str, Float], aging: Float) -> dict[str, Float]:
    eye_y = 0.07 + 0.06 * s["eye_height"]
    return {
        "eye_x": 0.305 + 0.045 * s["eye_separation"],
        "eye_y": eye_y,
        "eye_w": 0.150 + 0.032 * s["eye_width"],
        "eye_h": (0.082 + 0.026 * s["eye_opening"]) * n["eyelid"] * (1 - 0.2 * aging),
        "eye_slope": 0.24 * s["eye_tilt"] - 0.10 * aging,
        "iris_radius": 0.070 + 0.010 * s["iris_size"],
        "lid": 0.045 + 0.018 * s["lid"],
        "brow_y": eye_y + 0.195 + 0.04 * s["brow_height"] + 0.035 * n["brow_raise"] - 0.02 * aging,
        "brow_t": 0.036 + 0.022 * s["brow_thickness"],
        "brow_arch": 0.035 + 0.035 * s["brow_arch"],
        "brow_slope": -0.06 - 0.16 * s["brow_tilt"],
        "brow_w": 0.185 + 0.04 * s["brow_width"],
    }


def _nose_and_mouth(s: dict[str, Float], n: dict[str, Float], aging: Float) -> dict[str, Float]:
    tip = -0.26 - 0.065 * s["nose_length"] - 0.02 * aging
    return {
        "nose_w": 0.100 + 0.035 * s["nose_width"] + 0.01 * aging,
        "nose_y": tip,
        "nose_out": 0.175 + 0.06 * s["nose_height"] + 0.01 * aging,
        "nose_bridge": 0.6 * (0.38 + 0.25 * s["bridge"]),
        "mouth_y": tip - 0.285 - 0.05 * s["mouth_height"],
        "mouth_w": (0.225 + 0.06 * s["mouth_width"]) * (1 + 0.13 * np.clip(n["smile"], -1, 1.5)),
        "lip_up": (0.046 + 0.024 * s["lip_upper"]) * (1 - 0.35 * aging),
        "lip_low": (0.058 + 0.028 * s["lip_lower"]) * (1 - 0.3 * aging),
        "mouth_bend": 0.055 * n["smile"] + 0.03 * s["mouth_curve"],
        "mouth_gap": 0.13 * n["mouth_open"],
    }


def _pose(n: dict[str, Float]) -> dict[str, Float]:
    """The nine numbers of the rotation from head to camera frame, as ``r00`` to ``r22``."""
    matrix = rotation(n["yaw"], n["pitch"], n["roll"])
    return {f"r{i}{j}": np.ascontiguousarray(matrix[:, i, j]) for i in range(3) for j in range(3)}


def rotation(yaw: Float, pitch: Float, roll: Float) -> Float:
    """Rotation matrices from head to camera frame, float64 [B, 3, 3]; angles in degrees, [B]."""
    one, zero = np.ones_like(yaw), np.zeros_like(yaw)
    cy, sy = np.cos(np.radians(yaw)), np.sin(np.radians(yaw))
    cp, sp = np.cos(np.radians(pitch)), np.sin(np.radians(pitch))
    cr, sr = np.cos(np.radians(roll)), np.sin(np.radians(roll))
    about_y = np.stack([cy, zero, sy, zero, one, zero, -sy, zero, cy], -1).reshape(-1, 3, 3)
    about_x = np.stack([one, zero, zero, zero, cp, sp, zero, -sp, cp], -1).reshape(-1, 3, 3)
    about_z = np.stack([cr, -sr, zero, sr, cr, zero, zero, zero, one], -1).reshape(-1, 3, 3)
    return np.asarray(about_z @ about_x @ about_y, dtype=np.float64)


@dataclass(frozen=True)
class Rays:
    """One ray per pixel.

    Attributes:
        u, v: where the pixel lies in the camera frame, in head radii, [B, N].
        origin: start in the head frame, three of [B, N].
        direction: three of [B, 1]; the camera is orthographic.
        sharpness: pixels per head radius, [B, 1].
    """

    u: Tensor
    v: Tensor
    origin: Channels
    direction: Channels
    sharpness: Tensor

    def at(self, t: Tensor) -> Channels:
        """The point at distance ``t`` [B, N] along each ray, in the head frame."""
        (ox, oy, oz), (dx, dy, dz) = self.origin, self.direction
        return ox + t * dx, oy + t * dy, oz + t * dz

    def subset(self, rows: Tensor) -> Rays:
        """The rays of some of the images, ``rows`` int64 [b]."""
        ox, oy, oz, dx, dy, dz = (t[rows] for t in (*self.origin, *self.direction))
        return Rays(self.u[rows], self.v[rows], (ox, oy, oz), (dx, dy, dz), self.sharpness[rows])


def cast_rays(p: Scalars, size_px: int, first_row: int, rows: int) -> Rays:
    """Cast the rays of some rows of an image of ``size_px`` by ``size_px`` pixels; N is ``rows * size_px``."""
    centers = (np.arange(size_px) + 0.5) / size_px * 2 - 1
    grid_y, grid_x = np.meshgrid(-centers[first_row : first_row + rows], centers, indexing="ij")
    device = p.scale.device
    right = torch.from_numpy(grid_x.astype(np.float32).reshape(1, -1)).to(device)
    up = torch.from_numpy(grid_y.astype(np.float32).reshape(1, -1)).to(device)
    u, v = (right - p.shift_x) / p.scale, (up - p.shift_y) / p.scale
    origin = (
        p.r00 * u + p.r10 * v + 3 * p.r20,
        p.r01 * u + p.r11 * v + 3 * p.r21,
        p.r02 * u + p.r12 * v + 3 * p.r22,
    )
    return Rays(u, v, origin, (-p.r20, -p.r21, -p.r22), p.scale * (size_px / 2))


def meet_ellipsoid(rays: Rays, center: Triple, radii: Triple) -> tuple[Tensor, Tensor, Tensor]:
    """Where rays enter and leave an ellipsoid.

    Args:
        rays: the rays.
        center: three numbers or tensors that broadcast to [B, N].
        radii: likewise.

    Returns:
        Distance of the first and second meeting [B, N]; for a miss, both are where the ray passes closest. Last, how
        far the ray misses: 0 at the silhouette, negative inside, in squared radii.
    """
    inverse = [1 / r for r in radii]
    q = [(o - c) * i for o, c, i in zip(rays.origin, center, inverse, strict=True)]
    e = [d * i for d, i in zip(rays.direction, inverse, strict=True)]
    a = e[0] * e[0] + e[1] * e[1] + e[2] * e[2]
    b = q[0] * e[0] + q[1] * e[1] + q[2] * e[2]
    rest = q[0].square() + q[1].square() + q[2].square() - 1
    miss = rest - b.square() / a
    half = (-miss / a).clamp_(min=0).sqrt_()
    middle = -b / a
    return middle - half, middle + half, miss


def taper(p: Scalars, y: Tensor) -> Tensor:
    """Width of the head at height y, as a share of its width at the cheeks, [B, N]."""
    low, high = (-0.15 - y).clamp_(min=0), (y - 0.2).clamp_(min=0)
    width = 1 - p.jaw_k * low.square() / (low + p.jaw_soft) - p.crown_k * high.square()
    return width.clamp_(min=0.1)  # far above and below the head, where rays miss it


def nose(p: Scalars, x: Tensor, y: Tensor) -> Tensor:
    """Height of the nose above the face, [B, N]."""
    t = ((NOSE_TOP - y) / (NOSE_TOP - p.nose_y)).clamp_(0, 1.25)
    inside = t.clamp(max=1)
    profile = p.nose_bridge * inside + (1 - p.nose_bridge) * inside.square()
    drop = torch.sigmoid((y - p.nose_y + 0.035) * (1 / 0.022))
    return p.nose_out * profile * drop * (x / (p.nose_w * (0.5 + 0.5 * t))).square_().neg_().exp_()


@dataclass(frozen=True)
class Surface:
    """Where the rays meet the head, all [B, N] in the head frame.

    Attributes:
        x, y, z: the point.
        t: its distance along the ray.
        cover: how much of the pixel the head covers, 0 to 1.
        front: 1 on the front half, 0 behind the ears.
        normal: the unit normal, with the relief of sockets, cheeks, brow, lips and chin.
        rays: the rays.
    """

    x: Tensor
    y: Tensor
    z: Tensor
    t: Tensor
    cover: Tensor
    front: Tensor
    normal: Channels
    rays: Rays

    def subset(self, rows: Tensor) -> Surface:
        """The surfaces of some of the images, ``rows`` int64 [b]."""
        x, y, z, t, cover, front = (v[rows] for v in (self.x, self.y, self.z, self.t, self.cover, self.front))
        nx, ny, nz = (n[rows] for n in self.normal)
        return Surface(x, y, z, t, cover, front, (nx, ny, nz), self.rays.subset(rows))


def meet_head(p: Scalars, rays: Rays) -> Surface:
    """March the rays to the head."""
    reach = 0.02 + p.nose_out * 0.9
    t, _, _ = meet_ellipsoid(rays, (0.0, 0.0, 0.0), (p.head_w * 1.04 + 0.02, p.head_h + 0.02, p.head_d + reach))
    nearest: Tensor | None = None
    for _ in range(MARCH_STEPS):
        x, y, z = rays.at(t)
        radius = (x / (p.head_w * taper(p, y))).square_().add_((y / p.head_h).square_())
        radius = radius.add_((z / p.head_d).square_()).sqrt_()
        gap = (radius - 1) * 0.8 - nose(p, x, y) * (z * 6).clamp_(0, 1) - _chin(p, x, y, z)
        nearest = gap if nearest is None else torch.minimum(nearest, gap)
        t = t + gap * 0.85
    assert nearest is not None
    x, y, z = rays.at(t)
    cover = (1.3 - nearest * (rays.sharpness / 0.8)).clamp_(0, 1)
    front = (z * (rays.sharpness * 0.4) + 0.5).clamp_(0, 1)
    return Surface(x, y, z, t, cover, front, _normal(p, x, y, z), rays)


def _chin(p: Scalars, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    return p.chin_out * spot(x, y + 0.84, 0.24, 0.15) * (z * 4).clamp_(0, 1)


def _normal(p: Scalars, x: Tensor, y: Tensor, z: Tensor) -> Channels:
    width = p.head_w * taper(p, y)
    nx, ny, nz = _unit(x / width.square(), y / p.head_h**2, z / p.head_d**2)
    slope_x, slope_y = _relief_slope(p, x, y)
    fade = (z * 4).clamp_(0, 1)
    return _unit(nx - slope_x * fade, ny - slope_y * fade, nz)


def _unit(x: Tensor, y: Tensor, z: Tensor) -> Channels:
    inverse = (x * x + y * y + z * z + 1e-8).rsqrt()
    return x * inverse, y * inverse, z * inverse


def _relief_slope(p: Scalars, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Slope of the relief along x and y, [B, N]: soft spots (exact) and the nose (by differences)."""
    ax = x.abs()
    slope_x, slope_y = torch.zeros_like(x), torch.zeros_like(y)

    def add(height: Tensor | float, dx: Tensor, dy: Tensor, sx: Tensor | float, sy: float) -> None:
        bump = spot(dx, dy, sx, sy) * height
        slope_x.add_(bump * dx * (-2 / (sx * sx)))
        slope_y.add_(bump * dy * (-2 / (sy * sy)))

    add(-p.socket, ax - (p.eye_x - 0.03), y - (p.eye_y + 0.02), 0.13, 0.10)
    add(p.cheek_out, ax - 0.36, y + 0.22, 0.17, 0.15)
    add(0.03, ax - 0.2, y - (p.brow_y + 0.01), 0.2, 0.06)
    slope_x.mul_(x.sign())
    add(p.chin_out * 0.5, x, y + 0.82, 0.17, 0.10)
    add(0.05, x, y - p.mouth_y, p.mouth_w * 0.8, 0.09)
    add(-0.03, x, y - (p.mouth_y - 0.16), 0.14, 0.04)
    e = 0.012
    here = nose(p, x, y)
    slope_x.add_((nose(p, x + e, y) - here) * (1 / e))
    slope_y.add_((nose(p, x, y + e) - here) * (1 / e))
    return slope_x, slope_y
