"""Attributes: head pose and age as the four numbers that condition the denoiser.

The paper conditions on pose with angles in [-90, 90] degrees and on age in [0, 100]. The scaling is ours,
and so are the laws of the attributes of synthetic images: the paper's are not public.

Letters: N images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from harness import noise
from harness.arrays import Floats
from harness.errors import StageError

Law = Literal["table", "uniform-pose", "none"]

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


def mirror_attributes(scaled: Floats) -> Floats:
    """Attributes of the mirrored images: yaw and roll turn around."""
    return scaled * np.array([-1, 1, -1, 1], dtype=np.float32)


def draw_attributes(
    table: Floats,
    law: Law,
    pose_range: tuple[float, float, float],
    pose_only: bool,
    seed: int,
    identities: Sequence[int],
    samples: Sequence[int],
) -> Floats:
    """Attributes of synthetic images, each a function of its own (seed, identity, sample).

    Args:
        table: encoded attributes of the images that the model was fitted to, [rows, 4].
        law: "table", whole rows with replacement, which keeps what goes together; "uniform-pose", angles uniform in the
            range and the age of such a row; "none", no attributes.
        pose_range: degrees of yaw, pitch and roll to either side, for "uniform-pose".
        pose_only: every image has the table's mean age, so that pose alone varies.
        seed, identities, samples: key the draw.

    Returns:
        encoded float32 [N, 4]; NaN for "none" and, with the law "table", for a model without a table.

    Raises:
        StageError: the model was fitted without attributes, but the law asks for some.
    """
    if law == "none" or (not len(table) and law == "table" and not pose_only):
        return np.full((len(identities), len(NAMES)), np.nan, dtype=np.float32)
    if not len(table):
        raise StageError("id3: the model was fitted without attributes, so it has none to draw; set attributes: none")
    row = noise.uniform(seed, identities, samples, 1, "id3-attributes")[:, 0]
    drawn = table[(row * len(table)).astype(np.int64)]
    if law == "uniform-pose":
        place = 2.0 * noise.uniform(seed, identities, samples, 3, "id3-pose") - 1.0
        drawn[:, :3] = place * np.array(pose_range) / ANGLE_DEG
    if pose_only:
        drawn[:, 3] = table[:, 3].mean()
    return drawn
