"""Nearest neighbors by cosine, a block of a matrix product at a time, and the centers of identities.

Letters: N queries, M references, I identities, D embedding width.
"""

from __future__ import annotations

import numpy as np

from harness.arrays import AnyFloats, Bools, Doubles, Floats, Ints
from harness.stats.allpairs import workers

_PRODUCTS = 4_000_000  # cosines held at once by a thread


def nearest(
    queries: Floats, references: Floats, k: int = 1, apart: tuple[Ints, Ints] | None = None, device: str = "cpu"
) -> tuple[Floats, Ints]:
    """The k references of the highest cosine with each query, in falling order.

    Args:
        queries, references: unit vectors, float32 [N, D] and [M, D].
        apart: labels [N] and [M]; a query and a reference of one label are no neighbors.

    Returns:
        Cosines float32 and positions int64, [N, k] each; a cosine is -inf where a query has fewer than k neighbors.
    """
    import torch

    if k > len(references):
        raise ValueError(f"{len(references)} references have no {k} neighbors to give; expected at least {k}")
    x, y = torch.from_numpy(queries).to(device), torch.from_numpy(references).to(device)
    labels = None if apart is None else tuple(torch.from_numpy(label).to(device) for label in apart)
    cosines, places = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
    step = max(1, _PRODUCTS // len(references))

    def search(start: int) -> None:
        rows = slice(start, start + step)
        scores = x[rows] @ y.T
        if labels is not None:
            scores.masked_fill_(labels[0][rows, None] == labels[1], -torch.inf)
        best = scores.topk(k, dim=1)
        cosines[rows], places[rows] = best.values.cpu().numpy(), best.indices.cpu().numpy()

    with workers(device) as pool:
        list(pool.map(search, range(0, len(queries), step)))
    return cosines, places


def centers(embeddings: Floats, labels: Ints) -> Floats:
    """Unit mean of the unit vectors [N, D] of each identity, labels from 0; float32 [I, D]."""
    return _unit(sums(embeddings, labels))


def centers_without_each(embeddings: Floats, labels: Ints) -> Floats:
    """For each image the center of the other images of its identity, float32 [N, D]; zero where there is none."""
    return _unit(sums(embeddings, labels)[labels] - embeddings)


def sums(values: AnyFloats | Bools, labels: Ints) -> Doubles:
    """Sums of rows [N, ...] by label from 0, float64 [I, ...]."""
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], np.arange(labels.max() + 1))
    out: Doubles = np.add.reduceat(values[order].astype(np.float64), starts, axis=0)
    return out


def means(values: AnyFloats | Bools, labels: Ints) -> Doubles:
    """Means of values [N] by label from 0, [I]."""
    out: Doubles = sums(values, labels) / np.bincount(labels)
    return out


def _unit(x: Doubles) -> Floats:
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    out = np.zeros_like(x)
    np.divide(x, norms, out=out, where=norms > 1e-9)
    return out.astype(np.float32)
