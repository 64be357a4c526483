"""All pairs of a set of embeddings, without a list of them: histograms and moments of genuine and impostor scores.

Scores are cosines. Each block of pairs is one matrix product that gives bin numbers directly, counted and forgotten, so
memory does not grow with the number of pairs. Moments need no pair at all: with s the sum of all unit vectors and C the
sum of their outer products, the cosines of image x with all images sum to x.s, and their squares to x'Cx.

Letters: N images, I identities, D embedding width, K bins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.arrays import Doubles, Floats, Ints

if TYPE_CHECKING:
    from torch import Tensor

BINS = 20_000  # over [-1, 1]; bin numbers fit int16, which is counted more than twice as fast as int64
WIDTH = 2 / BINS
ROUNDING = 1e-6  # a cosine in float32 is off by less: a score this close to an edge may be counted next door
_BLOCK = {"cpu": 1024, "cuda": 16384}  # images on a side of a block; on the CPU one fits the cache
_ROWS = 4096  # images whose moments are taken at once


@dataclass(frozen=True)
class PairHistogram:
    """How many genuine and impostor scores lie in each bin: int64 [K]. Bin k holds ``EDGES[k] <= score < EDGES[k+1]``.

    The last bin holds a score of 1 as well.
    """

    genuine: Ints
    impostor: Ints


EDGES: Doubles = np.arange(BINS + 1, dtype=np.float64) * WIDTH - 1  # ascending, [K + 1]


@dataclass(frozen=True)
class PairMoments:
    """Number, sum and sum of squares of the scores of each identity, float64 [I, 3].

    ``genuine``: pairs within the identity. ``impostor``: its pairs with all others, so that every impostor pair counts
    with two identities.
    """

    genuine: Doubles
    impostor: Doubles

    def moments(self) -> tuple[float, float, float, float]:
        """Genuine mean, genuine standard deviation, impostor mean, impostor standard deviation (population)."""
        return (*mean_and_std(self.genuine.sum(axis=0)), *mean_and_std(self.impostor.sum(axis=0) / 2))


def mean_and_std(totals: Doubles) -> tuple[float, float]:
    """Mean and population standard deviation from number, sum and sum of squares."""
    count, first, second = totals
    mean = first / count
    return float(mean), float(np.sqrt(max(0.0, second / count - mean**2)))


def count_pairs(
    embeddings: Floats, labels: Ints, device: str = "cpu", advance: Callable[[int], None] = lambda count: None
) -> PairHistogram:
    """Histograms of the scores of all N (N - 1) / 2 pairs, exact to the bin up to ``ROUNDING``.

    Args:
        embeddings: unit vectors, float32 [N, D].
        labels: identity of each, ascending from 0, [N].
        device: where the products are taken.
        advance: told how many pairs were counted.
    """
    import torch

    check_faces(embeddings, labels)
    x, who = torch.from_numpy(embeddings).to(device), torch.from_numpy(labels).to(device)
    side = _BLOCK[torch.device(device).type]

    def strip(row: int) -> tuple[Tensor, int]:
        """Counts of a block row of the upper triangle, [2, K + 1], and how many pairs they are."""
        rows, own = x[row : row + side], who[row : row + side]
        last = labels[min(row + side, len(x)) - 1]
        counts = torch.zeros(2, BINS + 1, dtype=torch.int64, device=device)
        room = torch.empty(len(rows) * side, device=device)  # one block, again and again
        for column in range(row, len(x), side):
            bins = bin_numbers(rows, x[column : column + side], room)
            if labels[column] > last:
                counts[1] += torch.bincount(bins.view(-1), minlength=BINS + 1)
            else:
                same = own[:, None] == who[column : column + side]
                once = torch.ones_like(same).triu(1) if row == column else torch.ones_like(same)
                counts[0] += torch.bincount(bins[same & once], minlength=BINS + 1)
                counts[1] += torch.bincount(bins[~same & once], minlength=BINS + 1)
        return counts, int(counts.sum())

    total = torch.zeros(2, BINS + 1, dtype=torch.int64, device=device)
    with workers(device) as pool:
        for counts, pairs in pool.map(strip, range(0, len(x), side)):
            total += counts
            advance(pairs)
    total[:, BINS - 1] += total[:, BINS]
    genuine, impostor = total[:, :BINS].cpu().numpy()
    return PairHistogram(genuine, impostor)


def bin_numbers(rows: Tensor, columns: Tensor, room: Tensor | None = None) -> Tensor:
    """Bin of the cosine of every row with every column, int16 [rows, columns]; K for a score of 1.

    Args:
        room: float32 memory to work in, at least as many numbers as there are pairs.
    """
    import torch

    half = rows.new_full((1,), BINS / 2)
    shape = len(rows), len(columns)
    out = rows.new_empty(shape) if room is None else room[: shape[0] * shape[1]].view(shape)
    return torch.addmm(half, rows, columns.T, alpha=BINS / 2, out=out).to(torch.int16)


@contextmanager
def workers(device: str) -> Iterator[ThreadPoolExecutor]:
    """As many threads as torch would use on the CPU, each computing alone; one for a GPU.

    Threads that share each product would wait for one another thousands of times, which on a busy machine takes longer
    than the products. Products keep float32 precision on a GPU too: the error of TF32 is wider than a bin.
    """
    import torch

    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("highest")
    try:
        with ThreadPoolExecutor(threads if device == "cpu" else 1) as pool:
            yield pool
    finally:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(precision)


def pair_moments(embeddings: Floats, labels: Ints) -> PairMoments:
    """Exact sums of scores and of their squares, per identity, accumulated in float64; time grows with N D^2 alone.

    Args: as :func:`count_pairs`.
    """
    import torch

    check_faces(embeddings, labels)
    sizes = np.bincount(labels)
    ends = np.cumsum(sizes)
    starts = ends - sizes
    sums = np.empty((len(sizes), embeddings.shape[1]))
    within = np.empty((len(sizes), 2))  # sums over all ordered pairs of the identity, an image with itself included
    alone = np.empty((len(sizes), 2))  # sums over its images with themselves

    def outer_products(chunk: tuple[int, int]) -> Tensor:
        first, last = chunk
        x = torch.from_numpy(embeddings[starts[first] : ends[last - 1]]).double()
        begins = starts[first:last] - starts[first]
        sums[first:last] = np.add.reduceat(x.numpy(), begins)
        norms = (x**2).sum(dim=1).numpy()
        alone[first:last] = np.add.reduceat(np.stack([norms, norms**2], axis=1), begins)
        for identity, begin in zip(range(first, last), begins, strict=True):
            own = x[begin : begin + sizes[identity]]
            gram = own @ own.T
            within[identity] = float(gram.sum()), float((gram**2).sum())
        return x.T @ x

    def squares(chunk: tuple[int, int]) -> Doubles:
        first, last = chunk
        x = torch.from_numpy(embeddings[starts[first] : ends[last - 1]]).double()
        return np.add.reduceat(((x @ outer) * x).sum(dim=1).numpy(), starts[first:last] - starts[first])

    with workers("cpu") as pool:
        chunks = _identity_chunks(sizes)
        outer = sum(pool.map(outer_products, chunks), torch.zeros(()))
        squared = np.concatenate(list(pool.map(squares, chunks)))  # of its images with all images
    everyone = np.stack([sums @ sums.sum(axis=0), squared], axis=1)
    genuine = np.column_stack([sizes * (sizes - 1) / 2, (within - alone) / 2])
    impostor = np.column_stack([sizes * (len(labels) - sizes).astype(np.float64), everyone - within])
    return PairMoments(genuine, impostor)


def _identity_chunks(sizes: Ints) -> list[tuple[int, int]]:
    """Ranges of identities of about ``_ROWS`` images each."""
    chunk = np.cumsum(sizes) // _ROWS
    cuts = np.flatnonzero(np.diff(chunk)) + 1
    return list(zip([0, *cuts.tolist()], [*cuts.tolist(), len(sizes)], strict=True))


def check_faces(embeddings: Floats, labels: Ints) -> None:
    """Refuse what would be counted wrongly.

    Raises:
        ValueError: vectors of another length than 1, or labels out of order.
    """
    if embeddings.ndim != 2 or len(embeddings) != len(labels) or embeddings.dtype != np.float32:
        raise ValueError(f"got {embeddings.dtype} {embeddings.shape} for {len(labels)} labels; expected float32 [N, D]")
    norms = np.linalg.norm(embeddings, axis=1)
    if not (np.abs(norms - 1) < 1e-4).all():
        worst = float(norms[np.abs(norms - 1).argmax()]) if np.isfinite(norms).all() else float("nan")
        raise ValueError(f"a vector has length {worst:g}; expected unit vectors")
    steps = np.diff(labels)
    if len(labels) == 0 or labels[0] != 0 or not np.isin(steps, (0, 1)).all():
        raise ValueError("labels are not ascending from 0 without gaps; sort the images by identity")
