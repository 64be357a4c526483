"""Intervals over identities for statistics of all pairs, with memory for identities and not for pairs.

The bootstrap of :mod:`harness.stats.intervals`, linear in the multiplicities: with d_i = m_i - 1, an impostor pair of i
and j counts 1 + d_i + d_j times instead of m_i m_j. What is left out is the product d_i d_j, that is one of the three
times that the full bootstrap counts what is peculiar to a single pair; with hundreds of identities the two agree. Sums
over all pairs then need nothing but the sums of each identity.

Moments of an identity's impostor pairs are exact. Its rates are measured against ``WITNESSES`` images drawn uniformly,
where there are more; what the draw adds to the differences between identities widens the interval.

Letters: N images, I identities, D embedding width, K bins, T thresholds, R replicates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from harness.arrays import Doubles, Floats, Ints
from harness.stats.allpairs import BINS, PairHistogram, PairMoments, bin_numbers, workers
from harness.stats.intervals import few_identities, multiplicities
from harness.stats.score_intervals import NAMES, by_name, few_missed
from harness.stats.separability import error_rates, fisher_ratio, histogram_statistics
from harness.stats.uncertainty import Uncertainty

if TYPE_CHECKING:
    from torch import Tensor

WITNESSES = 4096  # images against which the impostor rates of every identity are measured
_LEVELS = 256  # thresholds per family: even and geometric ones of the genuine, geometric ones of the impostor scores
_LOWEST = 1e-5  # share of scores at the outermost geometric threshold


def all_pairs_uncertainties(
    embeddings: Floats,
    labels: Ints,
    histogram: PairHistogram,
    moments: PairMoments,
    rng: np.random.Generator,
    replicates: int = 1000,
    device: str = "cpu",
) -> dict[str, Uncertainty]:
    """Intervals of :func:`harness.stats.separability.histogram_statistics`, by ``NAMES``.

    Args:
        embeddings: unit vectors, float32 [N, D].
        labels: identity of each, ascending from 0, [N].
        histogram, moments: of all their pairs.
        replicates: R.
    """
    identities = len(moments.genuine)
    if few := few_identities(identities):
        return dict.fromkeys(NAMES, Uncertainty(note=few))
    places = thresholds(histogram)
    below, above = identity_rates(embeddings, labels, places, rng, device)
    above *= moments.impostor[:, :1].astype(np.float32)  # from shares to numbers of pairs
    change = (multiplicities(identities, replicates, rng) - 1).astype(np.float64)  # d, [R, I]
    genuine = moments.genuine.sum(axis=0) + change @ moments.genuine  # number, sum, sum of squares; [R, 3]
    impostor = moments.impostor.sum(axis=0) / 2 + change @ moments.impostor
    passed = histogram.impostor[::-1].cumsum()[::-1][places] + _product(change, above)
    missed = (np.cumsum(histogram.genuine) - histogram.genuine)[places] + _product(change, below)
    rows = np.full((replicates, len(NAMES)), np.nan)
    for row in range(replicates):
        if genuine[row, 0] > 0 and impostor[row, 0] > 0:
            rows[row] = _statistics(genuine[row], impostor[row], missed[row], passed[row])
    return by_name(rows, _withheld(histogram, moments))


def thresholds(histogram: PairHistogram) -> Ints:
    """Bins [T] at whose lower edges rates are followed: dense where few genuine or few impostor scores lie beyond."""
    small = np.geomspace(_LOWEST, 1, _LEVELS)
    genuine = np.cumsum(histogram.genuine) / histogram.genuine.sum()
    impostor = np.cumsum(histogram.impostor[::-1]) / histogram.impostor.sum()
    low = np.searchsorted(genuine, np.concatenate([small, np.linspace(0, 1, _LEVELS)]))
    high = BINS - 1 - np.searchsorted(impostor, small)
    return np.unique(np.clip(np.concatenate([low, high]), 0, BINS - 1))


def identity_rates(
    embeddings: Floats, labels: Ints, places: Ints, rng: np.random.Generator, device: str = "cpu"
) -> tuple[Floats, Floats]:
    """Of every identity at thresholds ``places`` [T]: genuine pairs below, and share of impostor pairs not below.

    Returns:
        Two float32 arrays [I, T].
    """
    import torch

    sizes = np.bincount(labels)
    ends = np.cumsum(sizes)
    chosen = np.sort(rng.choice(len(labels), min(WITNESSES, len(labels)), replace=False))
    whose = labels[chosen]
    x = torch.from_numpy(embeddings).to(device)
    witnesses = x[torch.from_numpy(chosen).to(device)]
    at = torch.from_numpy(places).to(device)
    below = np.zeros((len(sizes), len(places)), np.float32)
    above = np.zeros_like(below)

    def measure(identity: int) -> None:
        size, end = int(sizes[identity]), int(ends[identity])
        own = x[end - size : end]
        upper = torch.ones(size, size, dtype=torch.bool, device=device).triu(1)
        below[identity] = _below(bin_numbers(own, own)[upper], at)
        bins = bin_numbers(own, witnesses)
        first, last = np.searchsorted(whose, [identity, identity + 1])  # witnesses that are its own images
        others = _below(bins.view(-1), at) - _below(bins[:, first:last].reshape(-1), at)
        above[identity] = 1 - others / max(1, size * (len(chosen) - int(last - first)))

    with workers(device) as pool:
        for _ in pool.map(measure, range(len(sizes))):
            pass
    return below, above


def _below(bins: Tensor, at: Tensor) -> Floats:
    """How many bin numbers lie below each of ``at``."""
    import torch

    counts = torch.bincount(bins, minlength=BINS + 1)
    below: Floats = (counts.cumsum(0) - counts)[at].cpu().numpy().astype(np.float32)
    return below


def _product(change: Doubles, sums: Floats) -> Doubles:
    """``change @ sums``, [R, T], a slice of identities at a time."""
    out = np.zeros((len(change), sums.shape[1]))
    for start in range(0, len(sums), 4096):
        out += change[:, start : start + 4096] @ sums[start : start + 4096].astype(np.float64)
    return out


def _statistics(genuine: Doubles, impostor: Doubles, missed: Doubles, passed: Doubles) -> list[float]:
    """The statistics of one replicate, in the order of ``NAMES``."""
    fnmr, fmr = missed / genuine[0], np.maximum(passed, 0) / impostor[0]
    gm, im = genuine[1] / genuine[0], impostor[1] / impostor[0]
    gv, iv = max(0.0, genuine[2] / genuine[0] - gm**2), max(0.0, impostor[2] / impostor[0] - im**2)
    return [*error_rates(fmr, fnmr), fisher_ratio(gm, gv, im, iv), gm, gv**0.5, im, iv**0.5]


def _withheld(histogram: PairHistogram, moments: PairMoments) -> dict[str, str]:
    """Why rates that rest on too few errors have no interval, by name."""
    genuine, impostor = int(histogram.genuine.sum()), int(histogram.impostor.sum())
    values = histogram_statistics(histogram, moments.moments())
    return few_missed(values.eer, values.fmr100, values.fmr1000, genuine, impostor)
