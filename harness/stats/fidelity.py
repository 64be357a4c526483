"""Distances between the distributions of authentic and synthetic embeddings.

Both depend on the embedding, and the first strongly on the sample size, so neither goes without naming them. Neither is
"FID" or "KID", which are these distances in one certain embedding of another network.

Letters: N synthetic and M authentic images, I identities, D embedding width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.arrays import Doubles, Floats
from harness.stats.allpairs import workers

KERNEL_DEGREE = 3  # k(x, y) = (x.y / D + 1)^3; source: Binkowski et al., arXiv 1801.01401, section 4
_BLOCK = 1024


def frechet_distance(first: Floats, second: Floats) -> float:
    """Squared Frechet distance of Gaussians fitted to two samples, [N, D] and [M, D].

    |mu_1 - mu_2|^2 + tr(C_1 + C_2 - 2 (C_1 C_2)^(1/2)), with unbiased covariances.
    Source: Heusel et al., arXiv 1706.08500, equation (6).

    Raises:
        ValueError: a sample has fewer than two rows.
    """
    if min(len(first), len(second)) < 2:
        raise ValueError(f"samples of {len(first)} and {len(second)} images; expected at least 2 of each")
    (mean_1, cov_1), (mean_2, cov_2) = (
        (x.mean(axis=0, dtype=np.float64), np.atleast_2d(np.cov(x.astype(np.float64), rowvar=False)))
        for x in (first, second)
    )
    values, vectors = np.linalg.eigh(cov_1)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    # tr (C_1 C_2)^(1/2) from the symmetric C_1^(1/2) C_2 C_1^(1/2), which has the same eigenvalues
    shared = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ cov_2 @ root), 0)).sum()
    return float(((mean_1 - mean_2) ** 2).sum() + np.trace(cov_1) + np.trace(cov_2) - 2 * shared)


@dataclass(frozen=True)
class KernelDistance:
    """An unbiased squared kernel distance, and how it moves with each image.

    Attributes:
        value: the distance; it can be negative.
        first, second: what the value gains if an image counts once more, to first order, float64 [N] and [M]; they sum
            to about 0, and their sums over an identity let identities be resampled.
    """

    value: float
    first: Doubles
    second: Doubles


def kernel_distance(first: Floats, second: Floats, device: str = "cpu") -> KernelDistance:
    """Squared maximum mean discrepancy with the polynomial kernel, unbiased, over all pairs of [N, D] and [M, D].

    Source: Binkowski et al., arXiv 1801.01401, equation (4) and section 4.

    Raises:
        ValueError: a sample has fewer than two rows.
    """
    n, m = len(first), len(second)
    if min(n, m) < 2:
        raise ValueError(f"samples of {n} and {m} images; expected at least 2 of each")
    own_1, own_2 = (_kernel_sums(x, x, device) - _kernel_alone(x) for x in (first, second))
    cross_1, cross_2 = _kernel_sums(first, second, device), _kernel_sums(second, first, device)
    within_1, within_2 = own_1.sum() / (n * (n - 1)), own_2.sum() / (m * (m - 1))
    between = cross_1.sum() / (n * m)
    # derivatives of the three means with respect to an image's weight
    gain_1 = 2 * (own_1 / (n - 1) - within_1) / n - 2 * (cross_1 / m - between) / n
    gain_2 = 2 * (own_2 / (m - 1) - within_2) / m - 2 * (cross_2 / n - between) / m
    return KernelDistance(float(within_1 + within_2 - 2 * between), gain_1, gain_2)


def _kernel_sums(rows: Floats, columns: Floats, device: str) -> Doubles:
    """Sum of the kernel of each row with all columns, float64 [N]."""
    import torch

    x, y = (torch.from_numpy(part).to(device) for part in (rows, columns))
    out = np.empty(len(rows))

    def add(start: int) -> None:
        kernel = (x[start : start + _BLOCK] @ y.T / x.shape[1] + 1) ** KERNEL_DEGREE
        out[start : start + _BLOCK] = kernel.sum(dim=1, dtype=torch.float64).cpu().numpy()

    with workers(device) as pool:
        list(pool.map(add, range(0, len(rows), _BLOCK)))
    return out


def _kernel_alone(x: Floats) -> Doubles:
    """The kernel of each row with itself, [N]."""
    own: Doubles = (np.einsum("nd,nd->n", x, x, dtype=np.float64) / x.shape[1] + 1) ** KERNEL_DEGREE
    return own
