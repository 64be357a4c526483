"""Counter-based random numbers: the value depends on what it is for, never on when it is drawn.

Every draw is keyed by (seed, identity, sample, purpose, step). Batch size, worker count, shard order and resumption
therefore cannot change it. The numbers come from raw Philox-4x64 words through our own transforms, because NumPy
freezes the words of its bit generators but not the streams of its distributions.

Letters: B items, K values per item.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_TO_UNIT = 2.0**-53


def _words(key: bytes, count: int) -> NDArray[np.uint64]:
    generator = np.random.Philox(key=np.frombuffer(key, dtype=np.uint64))
    words: NDArray[np.uint64] = generator.random_raw(count)
    return words


def uniform(
    seed: int, identities: Sequence[int], samples: Sequence[int], count: int, purpose: str, step: int = 0
) -> NDArray[np.float64]:
    """Draw numbers in the open interval (0, 1).

    Args:
        seed: the replicate's seed.
        identities: identity of each item, B integers.
        samples: sample index of each item, B integers.
        count: K, values per item.
        purpose: what the numbers are for, such as ``"pose"``; other purposes draw from independent streams.
        step: a counter within one purpose, such as the diffusion step.

    Returns:
        float64 [B, K].
    """
    out = np.empty((len(identities), count), dtype=np.float64)
    prefix = f"{int(seed)}/{purpose}/{int(step)}/"
    for row, (identity, sample) in enumerate(zip(identities, samples, strict=True)):
        key = hashlib.blake2b(f"{prefix}{int(identity)}/{int(sample)}".encode(), digest_size=16).digest()
        out[row] = ((_words(key, count) >> np.uint64(11)).astype(np.float64) + 0.5) * _TO_UNIT
    return out


def normal(
    seed: int,
    identities: Sequence[int],
    samples: Sequence[int],
    shape: Sequence[int],
    purpose: str,
    step: int = 0,
) -> NDArray[np.float32]:
    """Draw standard normal numbers, by inversion of :func:`uniform`.

    Args: as :func:`uniform`; ``shape`` is the shape of one item's draw.

    Returns:
        float32 [B, *shape].
    """
    from scipy.special import ndtri  # late: listing components must not load scipy

    count = int(np.prod(shape, dtype=np.int64))
    values: NDArray[np.float32] = ndtri(uniform(seed, identities, samples, count, purpose, step)).astype(np.float32)
    return values.reshape(len(identities), *shape)


def generator(seed: int, purpose: str) -> np.random.Generator:
    """A NumPy generator for one-off draws of a stage (shuffles, subsets), keyed by (seed, purpose)."""
    key = hashlib.blake2b(f"{int(seed)}/{purpose}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=np.frombuffer(key, dtype=np.uint64)))
