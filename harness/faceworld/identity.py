"""What makes a face someone's: sliders that depend on (seed, identity) and on nothing else.

Identity lives in geometry first. Colour sliders exist, but their effect is kept small and every image has its own
white balance (see ``nuisance``), so that a recognizer that sees only grey levels loses little.

Letters: B images.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from harness import noise

Float = NDArray[np.float64]

SLIDERS = (
    # head
    "head_width", "head_depth", "face_length", "crown", "jaw", "jaw_square", "chin", "cheek", "temple",
    # eyes and brows
    "eye_separation", "eye_height", "eye_width", "eye_opening", "eye_tilt", "eye_depth", "iris_size", "iris_shade",
    "iris_hue", "lid", "brow_thickness", "brow_height", "brow_arch", "brow_tilt", "brow_width", "brow_shade",
    # nose and mouth
    "nose_width", "nose_length", "nose_height", "bridge", "mouth_height", "mouth_width", "lip_upper", "lip_lower",
    "mouth_curve", "lip_shade",
    # hair and ears
    "hairline", "hair_length", "hair_volume", "parting", "sweep", "beard", "moustache", "ear_size", "ear_out",
    # skin
    "skin_shade", "skin_hue", "hair_shade", "hair_hue", "mole", "mole_x", "mole_y", "freckles", "age_rate",
)  # fmt: skip


def sliders(seed: int, identities: Sequence[int]) -> dict[str, Float]:
    """Draw the sliders of identities.

    Args:
        seed: the world's seed; another seed is another population.
        identities: B integers.

    Returns:
        Each slider by name: float64 [B], uniform in (-1, 1).
    """
    values = 2 * noise.uniform(seed, identities, [0] * len(identities), len(SLIDERS), "faceworld/identity") - 1
    return dict(zip(SLIDERS, np.ascontiguousarray(values.T), strict=True))
