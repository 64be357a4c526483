"""What varies between two images of one person: a function of (seed, identity, sample, mode).

Letters: B images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from harness import noise
from harness.errors import InputError, unknown

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Mode:
    """How far the nuisances of a kind of image reach.

    Attributes:
        yaw_std: standard deviation of yaw, degrees; cut at ``yaw_limit``.
        yaw_limit: largest turn to either side, degrees.
        wide_yaw: share of images whose yaw is uniform up to the limit instead.
        profile: yaw of at least ``PROFILE_YAW`` instead, to either side.
        pitch_std, roll_std: standard deviations, degrees.
        age: youngest and oldest, years.
        light: how strongly light varies in direction, colour and strength (1 is the training mode).
        clutter: how often accessories, occlusion and blur occur (1 is the training mode).
    """

    yaw_std: float = 12.0
    yaw_limit: float = 30.0
    wide_yaw: float = 0.0
    profile: bool = False
    pitch_std: float = 5.0
    roll_std: float = 2.5
    age: tuple[float, float] = (18.0, 50.0)
    light: float = 0.75
    clutter: float = 0.5


MODES: dict[str, Mode] = {
    "train": Mode(
        yaw_std=15.0,
        yaw_limit=72.0,
        wide_yaw=0.25,
        pitch_std=8.0,
        roll_std=4.0,
        age=(8.0, 80.0),
        light=1.0,
        clutter=1.0,
    ),
    "mild": Mode(),
    "frontal": Mode(yaw_std=4.0, yaw_limit=8.0),
    "profile": Mode(profile=True),
    "young": Mode(age=(20.0, 30.0)),
    "old": Mode(age=(55.0, 65.0)),
}
PROFILE_YAW = (50.0, 72.0)  # degrees

_NAMES = (
    "yaw", "yaw_kind", "yaw_side", "pitch", "roll", "age", "scale", "shift_x", "shift_y",
    "smile", "open", "open_kind", "eyelid", "brow", "gaze_x", "gaze_y", "hair_wave",
    "light_azimuth", "light_elevation", "ambient", "diffuse", "gain", "warmth", "tint", "contrast", "black",
    "glasses", "mask", "hat", "block", "block_x", "block_y", "block_w", "block_h", "block_turn",
    "blur", "blur_kind", "grain", "frame",
    "wall_r", "wall_g", "wall_b", "cloth_r", "cloth_g", "cloth_b", "thing_r", "thing_g", "thing_b",
    "ramp_x", "ramp_y", "ramp_r", "ramp_g", "ramp_b", "wave_x", "wave_y", "wave_phase", "wave_r", "wave_g", "wave_b",
)  # fmt: skip


# What changes between the frames of a clip: head and expression. Light, clothes, wall and the like stay.
_MOVING = [
    _NAMES.index(name)
    for name in ("yaw", "pitch", "roll", "shift_x", "shift_y", "smile", "open", "eyelid", "brow", "gaze_x", "gaze_y")
]
_MOTION = 0.1  # how far at most, in quantiles of the mode's law


def draw(
    seed: int,
    identities: Sequence[int],
    samples: Sequence[int],
    modes: Sequence[str],
    frames: Sequence[int] | None = None,
) -> dict[str, Float]:
    """Draw the nuisances of images.

    Args:
        seed: the world's seed.
        identities: B integers.
        samples: B integers; samples of one identity and mode are independent.
        modes: B keys of ``MODES``. Modes draw from independent streams.
        frames: B frame numbers; frame 0 is the sample itself, the others show the same scene with the head moved.

    Returns:
        Each nuisance by name: float64 [B]. Angles are in degrees, age in years, lengths in head radii.
    """
    raw = np.empty((len(identities), len(_NAMES)))
    for mode in sorted(set(modes)):
        rows = [i for i, m in enumerate(modes) if m == mode]
        ids, nums = [identities[i] for i in rows], [samples[i] for i in rows]
        raw[rows] = noise.uniform(seed, ids, nums, len(_NAMES), f"faceworld/{mode}")
    for row, frame in enumerate(frames or []):
        if frame:
            where = f"faceworld/{modes[row]}/motion"
            step = noise.uniform(seed, [identities[row]], [samples[row]], len(_MOVING), where, frame)[0]
            moved = np.abs(raw[row, _MOVING] + _MOTION * (2 * step - 1))
            raw[row, _MOVING] = 1 - np.abs(1 - moved)  # reflected at 0 and 1
    u = dict(zip(_NAMES, np.ascontiguousarray(raw.T), strict=True))
    rule = [MODES[mode] for mode in modes]
    return {**_pose(u, rule), **_expression(u), **_light(u, rule), **_clutter(u, rule), **_surroundings(u)}


def check_modes(modes: Sequence[str]) -> None:
    """Raise a ``InputError`` that names the first unknown mode."""
    for mode in modes:
        if mode not in MODES:
            raise InputError(unknown("face world mode", mode, MODES))


def _bell(u: Float, std: Float | float, limit: Float | float) -> Float:
    """A normal number from a uniform one, cut at +-limit."""
    return np.asarray(np.clip(ndtri(u) * std, -np.asarray(limit), limit), dtype=np.float64)


def _column(rule: list[Mode], field: str) -> Float:
    return np.array([getattr(mode, field) for mode in rule], dtype=np.float64)


def _pose(u: dict[str, Float], rule: list[Mode]) -> dict[str, Float]:
    limit = _column(rule, "yaw_limit")
    side = np.where(u["yaw_side"] < 0.5, -1.0, 1.0)
    wide = (2 * u["yaw"] - 1) * limit
    yaw = np.where(u["yaw_kind"] < _column(rule, "wide_yaw"), wide, _bell(u["yaw"], _column(rule, "yaw_std"), limit))
    turned = side * (PROFILE_YAW[0] + (PROFILE_YAW[1] - PROFILE_YAW[0]) * u["yaw"])
    yaw = np.where(_column(rule, "profile") > 0, turned, yaw)
    ages = np.array([mode.age for mode in rule]).reshape(-1, 2)
    return {
        "yaw": yaw,
        "pitch": _bell(u["pitch"], _column(rule, "pitch_std"), 20.0),
        "roll": _bell(u["roll"], _column(rule, "roll_std"), 12.0),
        "age": ages[:, 0] + (ages[:, 1] - ages[:, 0]) * u["age"],
        "scale": 0.96 * (1 + _bell(u["scale"], 0.03, 0.08)),
        "shift_x": _bell(u["shift_x"], 0.025, 0.07) - 0.14 * np.sin(np.radians(yaw)),  # keeps the nose in the frame
        "shift_y": _bell(u["shift_y"], 0.025, 0.07),
    }


def _expression(u: dict[str, Float]) -> dict[str, Float]:
    return {
        "smile": _bell(u["smile"], 0.5, 1.3),
        "mouth_open": np.where(u["open_kind"] < 0.3, u["open"], 0.0),
        "eyelid": np.clip(1 + _bell(u["eyelid"], 0.13, 0.5), 0.4, 1.3),
        "brow_raise": _bell(u["brow"], 0.4, 1.0),
        "gaze_x": _bell(u["gaze_x"], 0.35, 1.0),
        "gaze_y": _bell(u["gaze_y"], 0.2, 0.6),
        "hair_wave": u["hair_wave"],
    }


def _light(u: dict[str, Float], rule: list[Mode]) -> dict[str, Float]:
    """Light and camera. Warmth and tint are the white balance: log gains that every pixel of the image shares."""
    reach = _column(rule, "light")
    return {
        "light_azimuth": _bell(u["light_azimuth"], 40 * reach, 80.0),
        "light_elevation": 25 + _bell(u["light_elevation"], 15.0, 40.0),
        "ambient": 0.48 + 0.2 * u["ambient"],
        "diffuse": 0.35 + 0.4 * u["diffuse"],
        "gain": _bell(u["gain"], 0.20 * reach, 0.45),
        "warmth": _bell(u["warmth"], 0.19 * reach, 0.40),
        "tint": _bell(u["tint"], 0.08 * reach, 0.18),
        "contrast": _bell(u["contrast"], 0.15 * reach, 0.35),
        "black": 0.06 * u["black"],
        "grain": 0.005 + 0.02 * u["grain"],
    }


def _clutter(u: dict[str, Float], rule: list[Mode]) -> dict[str, Float]:
    often = _column(rule, "clutter")
    return {
        "glasses": (u["glasses"] < 0.20 * often).astype(np.float64),
        "sunglasses": (u["glasses"] < 0.05 * often).astype(np.float64),
        "mask": (u["mask"] < 0.03 * often).astype(np.float64),
        "hat": (u["hat"] < 0.08 * often).astype(np.float64),
        "block": (u["block"] < 0.06 * often).astype(np.float64),
        "block_x": 1.6 * u["block_x"] - 0.8,
        "block_y": 1.6 * u["block_y"] - 0.9,
        "block_w": 0.15 + 0.25 * u["block_w"],
        "block_h": 0.15 + 0.25 * u["block_h"],
        "block_turn": np.pi * u["block_turn"],
        "blur": np.where(u["blur_kind"] < 0.2 * often, u["blur"], 0.0),
        "frame": u["frame"],
    }


def _surroundings(u: dict[str, Float]) -> dict[str, Float]:
    """Colours of wall, clothes and accessories, and the wall's soft pattern."""
    out = {name: u[name] for name in _NAMES if name.startswith(("wall_", "cloth_", "thing_"))}
    out |= {name: 0.5 * (u[name] - 0.5) for name in _NAMES if name.startswith(("ramp_", "wave_"))}
    out["wave_x"], out["wave_y"] = 10 * (u["wave_x"] - 0.5), 10 * (u["wave_y"] - 0.5)
    out["wave_phase"] = 2 * np.pi * u["wave_phase"]
    return out
