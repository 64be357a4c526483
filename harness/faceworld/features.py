"""What is painted on a face: skin marks, beard, eyes, brows, nose and mouth.

All functions take the surface and paint on its canvas, in the head frame, so that features turn with the head.

Letters: B images, N pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from harness.faceworld.canvas import Canvas, Scalars, spot, step
from harness.faceworld.geometry import Surface

EYE_WHITE = (0.95, 0.94, 0.93)
PUPIL = (0.03, 0.03, 0.03)
GLINT = (1.0, 1.0, 1.0)
LASH = (0.10, 0.07, 0.06)
TEETH = (0.93, 0.91, 0.87)
MOUTH_INSIDE = (0.25, 0.08, 0.08)
MOLE = (0.22, 0.12, 0.09)


@dataclass(frozen=True)
class EyeFrame:
    """Coordinates of the nearer eye for every pixel: both eyes are painted at once, mirrored.

    Attributes:
        x: distance from the eye's centre, positive towards the ear, [B, N].
        y: likewise upwards, along the tilted eye, [B, N].
        side: -1 in the image-left half, 1 in the other, [B, N].
    """

    x: Tensor
    y: Tensor
    side: Tensor


def eye_frame(p: Scalars, head: Surface) -> EyeFrame:
    """Coordinates around the eyes."""
    x = head.x.abs() - p.eye_x
    return EyeFrame(x, head.y - p.eye_y - p.eye_slope * x, head.x.sign())


def paint_face(p: Scalars, head: Surface) -> Canvas:
    """Paint everything on a canvas of bare skin; returns the unlit canvas."""
    canvas = Canvas.filled(p.color("skin"), head.x)
    eye = eye_frame(p, head)
    _shade_skin(p, head, eye, canvas)
    _paint_mole(p, head, canvas)
    _paint_beard(p, head, canvas)
    _paint_eyes(p, head, eye, canvas)
    _paint_brows(p, head, eye, canvas)
    _paint_nostrils(p, head, canvas)
    _paint_mouth(p, head, canvas)
    return canvas


def _shade_skin(p: Scalars, head: Surface, eye: EyeFrame, canvas: Canvas) -> None:
    """Shadows that small relief would cast, wrinkles and freckles."""
    ax, x, y = head.x.abs(), head.x, head.y
    dark = spot(eye.x + 0.02, eye.y - 0.04, 0.17, 0.11).mul_(0.22)
    dark += spot(eye.x, eye.y + 0.11, 0.12, 0.045).mul_(0.06 + 0.22 * p.aging)  # under the eyes
    dark += spot(x, y - (p.nose_y - 0.065), p.nose_w * 1.15, 0.03).mul_(0.42)  # under the nose
    dark += spot(ax - p.nose_w * 1.25, y - p.nose_y, 0.035, 0.07).mul_(0.28)  # beside the nostrils
    dark += spot(x, y - (p.mouth_y - p.lip_low - 0.055 - p.mouth_gap), p.mouth_w * 0.6, 0.03).mul_(0.20)
    dark += spot(ax - 0.11, y - (p.eye_y - 0.08), 0.04, 0.14).mul_(0.12)  # along the bridge
    dark += _wrinkles(p, head, eye)
    speckle = torch.sin(x * 61 + p.mole_x * 9).mul_(torch.sin(y * 57 + p.mole_y * 7)).sub_(0.4).clamp_(min=0)
    dark += speckle.mul_(spot(ax - 0.22, y + 0.12, 0.3, 0.15)).mul_(p.freckle)
    canvas.shade((1 - dark * head.front).clamp_(0.15, 1))


def _wrinkles(p: Scalars, head: Surface, eye: EyeFrame) -> Tensor:
    """Lines of the forehead, beside the mouth and at the eyes, deeper with age, [B, N]."""
    ax, y = head.x.abs(), head.y
    lines = ((y - 0.42) * (1 / 0.085)).clamp_(-0.5, 2.5)
    forehead = spot((lines - lines.round()), head.x.square(), 0.2, 0.14).mul_(0.26)
    reach = ((p.nose_y + 0.04 - y) * (1 / 0.30)).clamp_(0, 1.2)
    fold = ax - (p.nose_w * 1.2 + (p.mouth_w * 1.12 - p.nose_w) * reach)
    fold = spot(fold, y - (p.nose_y + p.mouth_y) / 2, 0.024, 0.16).mul_(0.5)
    rays = eye.y * (1 / 0.05)
    crow = spot(rays - rays.round(), eye.x - p.eye_w - 0.07, 0.2, 0.05).mul_(spot(eye.y, eye.y, 0.13, 0.13)).mul_(0.3)
    return (forehead + fold + crow).mul_(p.wrinkle)


def _paint_mole(p: Scalars, head: Surface, canvas: Canvas) -> None:
    distance = ((head.x - 0.45 * p.mole_x).square() + (head.y + 0.3 - 0.35 * p.mole_y).square()).sqrt_()
    canvas.paint(MOLE, step(0.036 - distance, head.rays.sharpness).mul_(head.front * p.mole))


def _paint_beard(p: Scalars, head: Surface, canvas: Canvas) -> None:
    ax, x, y = head.x.abs(), head.x, head.y
    chin = torch.sigmoid((-0.42 - y + 0.3 * (ax - 0.25).clamp_(min=0)) * (1 / 0.05))
    chin = chin * (1 - 0.9 * spot(x, y - p.mouth_y, p.mouth_w * 1.1, 0.09)) * p.beard
    lip = spot(x, y - (p.mouth_y + p.lip_up + 0.06), p.mouth_w * 0.95, 0.05) * p.moustache
    canvas.paint(p.color("brow"), torch.maximum(chin, lip).mul_(head.front))


def _paint_eyes(p: Scalars, head: Surface, eye: EyeFrame, canvas: Canvas) -> None:
    sharp = head.rays.sharpness
    arch = 1 - (eye.x * (1 / p.eye_w)).square()
    lid = p.eye_h * arch  # y of the upper lid; the lower one is at -0.75 of it
    below, above = lid - eye.y, eye.y + 0.75 * lid
    inside = step(torch.minimum(below, above), sharp).mul_(head.front)
    canvas.paint(EYE_WHITE, inside)
    ix, iy = eye.x - eye.side * (0.04 * p.gaze_x), eye.y - 0.025 * p.gaze_y
    radius = (ix.square() + iy.square()).sqrt_()
    canvas.paint(p.color("iris"), step(p.iris_radius - radius, sharp).mul_(inside))
    canvas.paint(PUPIL, step(0.45 * p.iris_radius - radius, sharp).mul_(inside))
    glint = ((ix + 0.02 * eye.side).square() + (iy - 0.024).square()).sqrt_()
    canvas.paint(GLINT, step(0.014 - glint, sharp).mul_(inside).mul_(0.9))
    near = step(p.eye_w * 1.06 - eye.x.abs(), sharp).mul_(head.front)
    lash = step(0.018 - (below - 0.004).abs(), sharp).mul_(near)
    canvas.paint(LASH, lash.mul_(0.85))
    crease = spot(below + p.lid, below, 0.015, 1.0).mul_(near).mul_(-0.30)
    canvas.shade(crease.add_(1))


def _paint_brows(p: Scalars, head: Surface, eye: EyeFrame, canvas: Canvas) -> None:
    along = eye.x * (1 / p.brow_w)
    middle = p.brow_y + 0.02 + p.brow_arch * (1 - along.square()) + p.brow_slope * eye.x
    thickness = p.brow_t * (1 - 0.55 * (along + 0.15).clamp_(0, 1))
    brow = step(torch.minimum(thickness - (head.y - middle).abs(), p.brow_w - eye.x.abs()), head.rays.sharpness * 0.7)
    canvas.paint(p.color("brow"), brow.mul_(head.front).mul_(0.92))


def _paint_nostrils(p: Scalars, head: Surface, canvas: Canvas) -> None:
    dx, dy = (head.x.abs() - p.nose_w * 0.55) * (1 / 0.036), (head.y - (p.nose_y - 0.045)) * (1 / 0.021)
    inside = step((1 - (dx.square() + dy.square()).sqrt_()) * 0.022, head.rays.sharpness)
    canvas.paint(p.color("nostril"), inside.mul_(head.front).mul_(0.85))


def _paint_mouth(p: Scalars, head: Surface, canvas: Canvas) -> None:
    sharp, x = head.rays.sharpness, head.x
    square = (x * (1 / p.mouth_w)).square()
    arch = (1 - square).clamp_(min=0)
    full = arch.sqrt()
    height = head.y - (p.mouth_y + p.mouth_bend * square)  # above the line between the lips
    gap = p.mouth_gap * arch
    cupid = 1 - 0.3 * (x * (1 / 0.035)).square_().neg_().exp_()
    within = (arch > 0).float() * head.front
    upper = step(torch.minimum(p.lip_up * full * cupid - height, height + 0.01), sharp).mul_(within)
    lower = step(torch.minimum(height + gap + p.lip_low * full, -height), sharp).mul_(within)
    canvas.paint(p.color("lip_upper"), upper)
    canvas.paint(p.color("lip"), lower)
    opened = step(torch.minimum(-height, height + gap), sharp).mul_(within).mul_((p.mouth_gap > 0.005).float())
    canvas.paint(MOUTH_INSIDE, opened)
    canvas.paint(TEETH, step(height + 0.5 * gap, sharp).mul_(opened).mul_(step(p.mouth_w * 0.8 - x.abs(), sharp)))
    line = step(torch.minimum(0.013 - height.abs(), p.mouth_w * 1.02 - x.abs()), sharp).mul_(head.front)
    canvas.paint(p.color("lip_line"), line.mul_(1 - 0.8 * opened).mul_(0.85))
