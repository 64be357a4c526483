"""Counter-based random numbers: the value depends on what it is for, never on when it is drawn.

Every draw is keyed by (seed, identity, sample, purpose, step). Batch size, worker count, shard order and resumption
therefore cannot change it. The numbers come from raw Philox-4x64 words through our own transforms, because NumPy
freezes the words of its bit generators but not the streams of its distributions.

Letters: B items, K values per item, C blocks of four words.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_TO_UNIT = 2.0**-53
# Philox-4x64: multipliers and key increments. Source: Salmon et al., Parallel random numbers, SC 2011, section 5.2
_MULTIPLIERS = (np.uint64(0xD2E7470EE14C6C93), np.uint64(0xCA5A826395121157))
_INCREMENTS = np.array([0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B], dtype=np.uint64)
_ROUNDS = 10
_HALF, _LOW = np.uint64(32), np.uint64(0xFFFFFFFF)


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


def keyed(keys: NDArray[np.int64], count: int, purpose: str) -> NDArray[np.float64]:
    """Draw numbers in the open interval (0, 1) for items that have one key each, thousands of items at once.

    The words are those of NumPy's Philox at the counters (1, key, 0, 0), (2, key, 0, 0), ..., with a key of its own for
    each purpose; NumPy draws them for one item at a time, which costs more than augmenting it.

    Args:
        keys: int64 [B]; equal keys get equal numbers.
        count: K, values per item.
        purpose: what the numbers are for; other purposes draw from independent streams.

    Returns:
        float64 [B, K].
    """
    key = np.frombuffer(hashlib.blake2b(f"keyed/{purpose}".encode(), digest_size=16).digest(), dtype=np.uint64)
    blocks = np.arange(1, -(-count // 4) + 1, dtype=np.uint64)
    first, second = np.broadcast_arrays(blocks, keys.view(np.uint64)[:, None])  # [B, C] each
    words = _philox([first, second, np.zeros_like(first), np.zeros_like(first)], key)
    words = words.reshape(len(keys), -1)[:, :count]
    return ((words >> np.uint64(11)).astype(np.float64) + 0.5) * _TO_UNIT


def _philox(counter: list[NDArray[np.uint64]], key: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Ten rounds of Philox-4x64 on counters of four words; returns the four words of each, uint64 [..., 4]."""
    a, b, c, d = counter
    for index in range(_ROUNDS):
        round_key = key + np.uint64(index) * _INCREMENTS
        (high_a, low_a), (high_c, low_c) = _multiply(a, _MULTIPLIERS[0]), _multiply(c, _MULTIPLIERS[1])
        a, b, c, d = high_c ^ b ^ round_key[0], low_c, high_a ^ d ^ round_key[1], low_a
    return np.stack([a, b, c, d], axis=-1)


def _multiply(a: NDArray[np.uint64], b: np.uint64) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """The high and the low word of a product of two 64-bit words, by halves."""
    a_high, a_low, b_high, b_low = a >> _HALF, a & _LOW, b >> _HALF, b & _LOW
    low, cross = a_low * b_low, a_high * b_low
    middle = a_low * b_high + (low >> _HALF) + (cross & _LOW)  # below 2^64
    return a_high * b_high + (cross >> _HALF) + (middle >> _HALF), a * b


def generator(seed: int, purpose: str) -> np.random.Generator:
    """A NumPy generator for one-off draws of a stage (shuffles, subsets), keyed by (seed, purpose)."""
    key = hashlib.blake2b(f"{int(seed)}/{purpose}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=np.frombuffer(key, dtype=np.uint64)))
