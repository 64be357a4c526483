"""Diversity: how much a dataset varies within identities, and how much of the authentic variety it covers.

Distances are those of unit embeddings, which rank as their cosines do.

Letters: N synthetic and M authentic images, I identities, D embedding width.
"""

from __future__ import annotations

import numpy as np

from harness.arrays import AnyFloats, Bools, Doubles, Floats, Ints
from harness.stats.allpairs import workers
from harness.stats.neighbors import centers, means, nearest

COVERAGE_K = 5  # Naeem et al., arXiv 2002.09797, section 5
RECALL_K = 3  # Kynkaanniemi et al., arXiv 1904.06991, section 3.1
_BLOCK = 1024


def angles_to_center(embeddings: Floats, labels: Ints) -> Doubles:
    """Mean angle in degrees between an identity's unit vectors and their center, float64 [I]."""
    cosines = np.einsum("nd,nd->n", embeddings, centers(embeddings, labels)[labels], dtype=np.float64)
    return means(np.degrees(np.arccos(np.clip(cosines, -1, 1))), labels)


def spreads(values: AnyFloats, labels: Ints) -> Doubles:
    """Standard deviation (population) of a value [N] within each identity, [I]."""
    centered = values.astype(np.float64) - means(values, labels)[labels]
    out: Doubles = np.sqrt(means(centered**2, labels))
    return out


def covered(authentic: Floats, synthetic: Floats, k: int = COVERAGE_K, device: str = "cpu") -> Bools:
    """Which authentic images have a synthetic one among their k nearest: bool [M], whose mean is the coverage.

    That is, one within the distance of the k-th nearest other authentic image.
    Source: Naeem et al., arXiv 2002.09797, equation (4).
    """
    radius = _kth(authentic, k, device)
    closest = nearest(authentic, synthetic, device=device)[0][:, 0]
    return np.asarray(closest >= radius)


def recalled(authentic: Floats, synthetic: Floats, k: int = RECALL_K, device: str = "cpu") -> Bools:
    """Which authentic images lie in the synthetic manifold: bool [M], whose mean is the recall.

    The manifold is the union of balls around the synthetic images, each with the distance to its k-th nearest other
    synthetic image as radius. Source: Kynkaanniemi et al., arXiv 1904.06991, equations (1) and (2).
    """
    import torch

    x, y = torch.from_numpy(authentic).to(device), torch.from_numpy(synthetic).to(device)
    radius = torch.from_numpy(_kth(synthetic, k, device)).to(device)
    inside = np.empty(len(authentic), dtype=bool)

    def look(start: int) -> None:
        rows = slice(start, start + _BLOCK)
        inside[rows] = (x[rows] @ y.T >= radius).any(dim=1).cpu().numpy()

    with workers(device) as pool:
        list(pool.map(look, range(0, len(authentic), _BLOCK)))
    return inside


def nearest_other(embeddings: Floats, device: str = "cpu") -> Floats:
    """Cosine of each image with the nearest other one, [N]."""
    return _kth(embeddings, 1, device)


def _kth(embeddings: Floats, k: int, device: str) -> Floats:
    """Cosine of each image with its k-th nearest other image, [N]."""
    if len(embeddings) <= k:
        raise ValueError(f"{len(embeddings)} images have no {k} others; expected at least {k + 1}")
    alone = np.arange(len(embeddings))
    return nearest(embeddings, embeddings, k, (alone, alone), device)[0][:, -1]
