"""Attributes: head pose and age as the four numbers that condition the denoiser.

The paper conditions on pose with angles in [-90, 90] degrees and on age in [0, 100]; the scaling is ours (methods 3.2).

Letters: N images.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

NAMES = ("yaw", "pitch", "roll", "age")
ANGLE_DEG = 90.0  # of yaw, pitch and roll. Source: ID3, section on the setup
AGE_YEARS = 50.0  # half of the range [0, 100]. Source: as above


def encode_attributes(attributes: Mapping[str, Floats], count: int) -> Floats:
    """Degrees and years to (yaw/90, pitch/90, roll/90, age/50 - 1), clipped to [-1, 1].

    Args:
        attributes: columns of N values; a missing column counts as unknown.
        count: N.

    Returns:
        float32 [N, 4]; a row is NaN where any of its values is unknown.
    """
    unknown = np.full(count, np.nan, dtype=np.float32)
    yaw, pitch, roll, age = (np.asarray(attributes.get(name, unknown), dtype=np.float32) for name in NAMES)
    scaled = np.stack([yaw / ANGLE_DEG, pitch / ANGLE_DEG, roll / ANGLE_DEG, age / AGE_YEARS - 1.0], axis=1)
    scaled[~np.isfinite(scaled).all(axis=1)] = np.nan
    return np.clip(scaled, -1.0, 1.0)


def decode_attributes(scaled: Floats) -> dict[str, Floats]:
    """The inverse of :func:`encode_attributes`."""
    angles, age = scaled[:, :3] * ANGLE_DEG, (scaled[:, 3] + 1.0) * AGE_YEARS
    return dict(zip(NAMES, [*angles.T, age], strict=True))
