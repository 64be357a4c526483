"""The world of the study: people, their images, the scores of pairs, and what is true of endless people.

``simulate.py`` says how it is made. Letters: I identities, N images, P pairs, D dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from harness.arrays import Bools, Doubles, Floats, Ints
from harness.stats.intervals import PairIdentities
from harness.stats.separability import score_statistics
from harness.stats.verification import THRESHOLDS

D = 16
FOLDS = 10
IMAGES = 6  # per identity, in protocols
FAR = 0.01
TRUTH_PAIRS = 300_000

# Difficulty (low, high): accuracy 91.5, 99.3 and 99.9 percent.
WORLDS = {"hard": (0.35, 1.1), "easy": (0.2, 0.5), "solved": (0.1, 0.3)}


@dataclass(frozen=True)
class Pairs:
    """A protocol's pairs over N images: indices of images, labels, folds, [P] each."""

    a: Ints
    b: Ints
    same: Bools
    fold: Ints
    identities: PairIdentities


def people(rng: np.random.Generator, count: int, each: int, world: str) -> Doubles:
    """Unit embeddings of ``each`` images of ``count`` people, [count, each, D]."""
    spread = rng.uniform(*WORLDS[world], (count, 1, 1))
    raw = normal(rng, count, 1, D) + spread * normal(rng, count, each, D)
    return raw / np.linalg.norm(raw, axis=2, keepdims=True)


def normal(rng: np.random.Generator, *shape: int) -> Floats:
    """Standard normal numbers; in single precision, which takes half the time."""
    return rng.standard_normal(shape, dtype=np.float32)


def protocol(rng: np.random.Generator, identities: int, count: int) -> Pairs:
    """Ten folds of ``count`` pairs over ``IMAGES`` images of each identity."""
    here, half = identities // FOLDS, count // (2 * FOLDS)
    person = np.repeat(np.arange(here), IMAGES)
    first, second = all_pairs(here * IMAGES)
    genuine = person[first] == person[second]
    kinds, rows = (np.flatnonzero(genuine), np.flatnonzero(~genuine)), []
    for fold in range(FOLDS):
        for kind in kinds:
            chosen = rng.choice(kind, half, replace=False, shuffle=False)
            rows.append(np.stack([first[chosen], second[chosen]]) + fold * here * IMAGES)
    a, b = np.concatenate(rows, axis=1)
    same = np.tile(np.repeat([True, False], half), FOLDS)
    return Pairs(a, b, same, np.repeat(np.arange(FOLDS), 2 * half), PairIdentities.of(a // IMAGES, b // IMAGES))


@cache
def all_pairs(count: int) -> tuple[Ints, Ints]:
    """Every pair of ``count`` images once."""
    first, second = np.triu_indices(count, 1)
    return first, second


@cache
def true_scores(world: str) -> tuple[Doubles, Doubles]:
    """Genuine and impostor scores of people who occur once."""
    faces = people(np.random.default_rng(99), 2 * TRUTH_PAIRS, 2, world)
    genuine = np.einsum("nd,nd->n", faces[:, 0], faces[:, 1])
    return genuine, np.einsum("nd,nd->n", faces[:TRUTH_PAIRS, 0], faces[TRUTH_PAIRS:, 1])


@cache
def truth(world: str) -> dict[str, float]:
    """What the metrics would be on endless people."""
    genuine, impostor = true_scores(world)
    found = score_statistics(genuine, impostor)
    out = {name: getattr(found, name) for name in ("eer", "fmr100", "fmr1000", "fdr")}
    out["accuracy"] = best_accuracy(genuine, impostor)
    return out | {"tar": float((genuine > np.quantile(impostor, 1 - FAR)).mean())}


def best_accuracy(genuine: Doubles, impostor: Doubles) -> float:
    """Accuracy at the best threshold of the protocol's list."""
    cosine = 1 - THRESHOLDS / 2
    accepted = 1 - np.searchsorted(np.sort(genuine), cosine, side="right") / len(genuine)
    rejected = np.searchsorted(np.sort(impostor), cosine, side="right") / len(impostor)
    return float(((accepted + rejected) / 2).max())
