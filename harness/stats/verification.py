"""Verification: pairs of faces, same person or not, in ten folds.

Letters: P pairs, K folds, T thresholds, D embedding width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.arrays import AnyFloats, AnyInts, Bools, Doubles, Ints

# Reference protocol (ArcFace and its descendants): squared distances of unit vectors lie in [0, 4].
FARTHEST = 4.0  # of unit vectors
THRESHOLDS: Doubles = np.arange(0, 4, 0.01)


@dataclass(frozen=True)
class FoldResult:
    """Accuracies of the folds.

    Attributes:
        accuracy: fraction of correct decisions in each fold, float64 [K].
        threshold: squared distance below which the fold's pairs were called the same person, float64 [K].
        correct: whether each pair was decided correctly, at its fold's threshold, bool [P].
    """

    accuracy: Doubles
    threshold: Doubles
    correct: Bools

    @property
    def mean(self) -> float:
        """Mean accuracy over the folds."""
        return float(self.accuracy.mean())

    @property
    def std(self) -> float:
        """Population standard deviation over the folds."""
        return float(self.accuracy.std())


def unit(embeddings: AnyFloats) -> Doubles:
    """Rows [N, D] divided by their L2 norm, float64; a zero row stays zero, NaN stays NaN."""
    x = np.asarray(embeddings, dtype=np.float64)
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    out = np.zeros_like(x)
    np.divide(x, norms, out=out, where=norms != 0)
    return out


def flip_fused(plain: AnyFloats, mirrored: AnyFloats) -> Doubles:
    """Unit vectors of the sum of two raw embeddings [N, D], of images and their mirror images (reference flip test)."""
    return unit(np.asarray(plain, dtype=np.float64) + np.asarray(mirrored, dtype=np.float64))


def squared_distances(first: Doubles, second: Doubles) -> Doubles:
    """Squared Euclidean distance of each pair of rows [P, D]; for unit vectors it is 2 - 2 cosine, in [0, 4]."""
    difference = first - second
    out: Doubles = (difference**2).sum(axis=1)
    return out


def fold_accuracies(distances: Doubles, same: Bools, fold: AnyInts) -> FoldResult:
    """Accuracy of each fold at the threshold that is best on the other folds.

    A pair is called "same" if its distance is below the threshold (strictly). Of equally good thresholds the lowest
    counts. Source: the protocol of LFW ("view 2") as in the ArcFace reference, with ``THRESHOLDS``.

    Args:
        distances: squared distances, float64 [P].
        same: whether the pair is genuine, bool [P].
        fold: number of each pair's fold, [P]; at least two different ones.
    """
    folds = np.unique(fold)
    if len(folds) < 2:
        raise ValueError(f"{len(distances)} pairs lie in {len(folds)} fold(s); expected at least 2 folds")
    hits = np.stack([_hits(distances[fold == k], same[fold == k]) for k in folds])  # [K, T]
    sizes = np.array([(fold == k).sum() for k in folds])
    accuracy, threshold = np.empty(len(folds)), np.empty(len(folds))
    correct = np.zeros(len(distances), dtype=bool)
    total = hits.sum(axis=0)
    for index, k in enumerate(folds):
        best = int((total - hits[index]).argmax())  # the denominator is the same for all thresholds
        accuracy[index] = hits[index, best] / sizes[index]
        threshold[index] = THRESHOLDS[best]
        here = fold == k
        correct[here] = (distances[here] < THRESHOLDS[best]) == same[here]
    return FoldResult(accuracy, threshold, correct)


def _hits(distances: Doubles, same: Bools) -> Ints:
    """Number of correct decisions at each threshold, int64 [T]."""
    genuine, impostor = np.sort(distances[same]), np.sort(distances[~same])
    accepted = np.searchsorted(genuine, THRESHOLDS, side="left")  # distance < threshold
    rejected = len(impostor) - np.searchsorted(impostor, THRESHOLDS, side="left")
    return (accepted + rejected).astype(np.int64)


def rate_name(far: float) -> str:
    """A false accept rate as metrics are named: 0.01 as ``1e-2``, 0.005 as ``5e-3``."""
    mantissa, exponent = f"{far:e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def tar_at_far(scores: Doubles, same: Bools, far: float) -> float:
    """Fraction of genuine pairs accepted where at most a fraction ``far`` of impostor pairs is.

    Exact order statistics: with n impostor scores, floor(far n) of them may be accepted, so a pair is accepted if its
    score exceeds the next highest impostor score. No interpolation.

    Args:
        scores: similarity of each pair, [P].
        same: whether the pair is genuine, bool [P]; both kinds must occur.
        far: false accept rate, in [0, 1].
    """
    genuine, impostor = scores[same], np.sort(scores[~same])[::-1]
    if len(genuine) == 0 or len(impostor) == 0:
        raise ValueError(f"{len(genuine)} genuine and {len(impostor)} impostor pairs; expected at least 1 of each")
    allowed = int(np.floor(far * len(impostor) + 1e-9))
    if allowed >= len(impostor):
        return 1.0
    return float((genuine > impostor[allowed]).mean())
