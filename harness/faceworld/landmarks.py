"""The five landmarks of a face, exact: projected from the points of the head that the features are painted around.

Letters: B images.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.faceworld.geometry import rotation

Float = NDArray[np.float64]


def _depth(p: dict[str, Float], x: Float, y: Float) -> Float:
    """Depth of the head's front at (x, y), as ``geometry`` marches it, [B]."""
    low, high = np.maximum(-0.15 - y, 0), np.maximum(y - 0.2, 0)
    taper = 1 - p["jaw_k"] * low**2 / (low + p["jaw_soft"]) - p["crown_k"] * high**2
    inside = 1 - (x / (p["head_w"] * taper)) ** 2 - (y / p["head_h"]) ** 2
    return np.asarray(p["head_d"] * np.sqrt(np.maximum(inside, 1e-3)), dtype=np.float64)


def locate(p: dict[str, Float], size_px: int) -> NDArray[np.float32]:
    """Project the landmarks into the image.

    Args:
        p: lengths of the faces (``geometry.measure``) and the nuisances, float64 [B] each.
        size_px: side of the image.

    Returns:
        float32 [B, 5, 2]: x and y of the image-left eye, image-right eye, nose tip, image-left and image-right mouth
        corner; pixel centres lie at integers. Out-of-sight landmarks are where they would be seen through the head.
    """
    corner_y = p["mouth_y"] + p["mouth_bend"]
    spots: list[tuple[Float, Float, Float | float]] = [
        (-p["eye_x"], p["eye_y"], 0.0),
        (p["eye_x"], p["eye_y"], 0.0),
        (np.zeros_like(p["eye_x"]), p["nose_y"], 0.95 * p["nose_out"]),
        (-p["mouth_w"], corner_y, 0.01),
        (p["mouth_w"], corner_y, 0.01),
    ]
    points = np.stack([np.stack([x, y, _depth(p, x, y) + lift], -1) for x, y, lift in spots], 1)  # [B, 5, 3]
    seen = np.einsum("bij,bkj->bki", rotation(p["yaw"], p["pitch"], p["roll"]), points)
    right = seen[..., 0] * p["scale"][:, None] + p["shift_x"][:, None]
    up = seen[..., 1] * p["scale"][:, None] + p["shift_y"][:, None]
    return np.stack([(right + 1) / 2 * size_px - 0.5, (1 - up) / 2 * size_px - 0.5], -1).astype(np.float32)
