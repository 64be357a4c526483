"""Identity embeddings around anchors: one for each image, in a cone.

Letters: B images, D context width. Sources: ID3, arXiv 2409.17576, data set generation (the law of the cosine; how to
draw it is ours); IDperturb, arXiv 2602.18831, which has the same construction.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness import noise
from harness.arrays import Doubles, Floats


def embeddings_around(
    anchors: Floats,
    bounds: tuple[float | Doubles, float],
    seed: int,
    identities: Sequence[int],
    samples: Sequence[int],
    purpose: str,
) -> Floats:
    """Draw one embedding per image with a cosine to its anchor uniform in ``bounds``.

    y = c w + sqrt(1 - c^2) u with c ~ U[lb, ub] and u uniform among the unit vectors orthogonal to the anchor w.

    Args:
        anchors: unit norm, [B, D], one per image.
        bounds: lb and ub; lb is one number, or one for each image, [B, 1].
        seed, identities, samples: key the draw; each row is a function of its own (seed, identity, sample).
        purpose: of the draws, such as the method's name, so that methods draw from independent streams.

    Returns:
        float32 [B, D], unit norm.
    """
    low, high = bounds
    w = anchors.astype(np.float64)
    c = low + (high - low) * noise.uniform(seed, identities, samples, 1, f"{purpose}-cosine")  # [B, 1]
    v = noise.normal(seed, identities, samples, (w.shape[1],), f"{purpose}-direction").astype(np.float64)
    u = v - (v * w).sum(axis=1, keepdims=True) * w
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    y: Floats = (c * w + np.sqrt(1.0 - c**2) * u).astype(np.float32)
    return y
