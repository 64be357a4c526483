"""Things that come between the camera and a face: glasses, masks, hats and a block that hides a part.

Only the images that wear a thing are touched; each function takes a batch of those alone.

Letters: b images that wear the thing, N pixels.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from harness.faceworld.canvas import Canvas, Scalars, step
from harness.faceworld.features import eye_frame
from harness.faceworld.geometry import Rays, Surface, meet_ellipsoid

TINTED = (0.05, 0.05, 0.06)
Painter = Callable[[Scalars, Surface, Canvas], None]


def paint_glasses(p: Scalars, head: Surface, canvas: Canvas) -> None:
    """Frames, bridge and arms; dark glass for sunglasses."""
    sharp, eye = head.rays.sharpness, eye_frame(p, head)
    wide, high = 0.20 + 0.03 * p.frame, 0.14 + 0.03 * p.frame
    dx, dy = (eye.x * (1 / wide)).abs(), ((head.y - p.eye_y + 0.01) * (1 / high)).abs()
    radius = (dx * dx * dx + dy * dy * dy).pow_(1 / 3)
    canvas.paint(TINTED, step((1 - radius) * 0.17, sharp).mul_(head.front).mul_(0.92 * p.sunglasses))
    rim = step(0.018 - (radius - 1).abs() * 0.17, sharp).mul_(head.front)
    bridge = step(torch.minimum(0.017 - (head.y - p.eye_y - 0.04).abs(), -0.19 - eye.x), sharp).mul_(head.front)
    arm = step(torch.minimum(0.02 - (head.y - p.eye_y - 0.05).abs(), eye.x - 0.19), sharp)
    r, g, b = (0.4 * c for c in p.color("thing"))
    canvas.paint((r, g, b), (rim + bridge + arm).clamp_(0, 1))


def paint_mask(p: Scalars, head: Surface, canvas: Canvas) -> None:
    """A mask over nose and mouth."""
    top = p.nose_y + 0.07 - 0.4 * head.x.square()
    inside = step(torch.minimum(top - head.y, head.z + 0.05), head.rays.sharpness)
    r, g, b = (0.6 + 0.4 * c for c in p.color("thing"))
    canvas.paint((r, g, b), inside)


def paint_hat(p: Scalars, head: Surface, canvas: Canvas) -> None:
    """A cap over the hair, lit from above."""
    rays = head.rays
    t, _, miss = meet_ellipsoid(rays, (0.0, 0.14, -0.05), (p.hair_rx + 0.03, 0.98 + 0.0 * p.hair_ry, p.hair_rz + 0.05))
    x, y, z = rays.at(t)
    cover = step(y - (0.44 + 0.06 * p.frame), rays.sharpness) * (0.5 - miss * (0.45 * rays.sharpness)).clamp_(0, 1)
    facing = (x * p.light_x + y * p.light_y + z * p.light_z).clamp_(0, 1)
    light = p.ambient + p.diffuse * (0.25 + 0.85 * facing)
    r, g, b = (c * light for c in p.color("thing"))
    canvas.paint((r, g, b), cover)


def paint_block(p: Scalars, head: Surface, canvas: Canvas) -> None:
    """A turned rectangle of one color between camera and face."""
    rays: Rays = head.rays
    dx, dy = rays.u - p.block_x, rays.v - p.block_y
    across, along = dx * p.block_cos + dy * p.block_sin, dy * p.block_cos - dx * p.block_sin
    inside = step(torch.minimum(p.block_w - across.abs(), p.block_h - along.abs()), rays.sharpness)
    canvas.paint(p.color("cloth"), inside)


def put_on(painter: Painter, wears: Tensor, p: Scalars, head: Surface, canvas: Canvas) -> None:
    """Apply a painter to the images that wear the thing, in place.

    Args:
        painter: one of the functions above.
        wears: rows of those images, int64 [b].
        p: numbers of all images.
        head: surface of all images.
        canvas: canvas of all images.
    """
    if len(wears) == 0:
        return
    part = head.subset(wears)
    small = Canvas([channel[wears] for channel in canvas.channels])
    painter(p.subset(wears), part, small)
    for channel, painted in zip(canvas.channels, small.channels, strict=True):
        channel[wears] = painted
