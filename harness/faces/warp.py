"""Similarity transforms from landmarks, and the warp that makes crops.

Everything is float64 NumPy, element by element and without matrix products, so a crop does not depend on the images
it shares a batch with, nor on the number of threads.

Letters: B images, H, W pixels of the input, S side of the crop, K supersampling factor.
"""

from __future__ import annotations

import numpy as np

from harness.arrays import AnyFloats, Doubles, Images

# Most samples per output pixel and direction; a crop that shrinks its face more than this many times aliases a little.
MAX_SUPERSAMPLING = 32
_CHUNK_SAMPLES = 1 << 16  # samples warped at once: they stay in the cache, which is a third faster


def similarity(points: AnyFloats, target: AnyFloats) -> Doubles:
    """Least-squares similarities (rotation, uniform scale, translation, no reflection) onto reference landmarks.

    In the plane the fit of Umeyama (IEEE TPAMI 13(4), 1991) without reflection is linear: with points as complex
    numbers, z' = a z + b and a = sum conj(z - mean z) (z' - mean z') / sum |z - mean z|^2.

    Args:
        points: [B, 5, 2] landmarks (x, y) in pixels of the input images.
        target: [5, 2] reference landmarks in pixels of the crop.

    Returns:
        float64 [B, 2, 3] matrices M with crop = M @ (x, y, 1). All-zero where the points coincide or are not finite.
    """
    p, q = np.asarray(points, dtype=np.float64), np.asarray(target, dtype=np.float64)
    if p.ndim != 3 or p.shape[1:] != q.shape:
        raise ValueError(f"landmarks have shape {p.shape}; expected [B, {q.shape[0]}, 2]")
    p_mean, q_mean = p.mean(axis=1), q.mean(axis=0)
    dp, dq = p - p_mean[:, None], q - q_mean
    spread = (dp**2).sum(axis=(1, 2))
    fits = np.isfinite(spread) & (spread > 1e-12)
    with np.errstate(divide="ignore", invalid="ignore"):
        cosine = (dp * dq).sum(axis=(1, 2)) / spread  # real part of a
        sine = (dp[..., 0] * dq[..., 1] - dp[..., 1] * dq[..., 0]).sum(axis=1) / spread  # imaginary part of a
        x = q_mean[0] - cosine * p_mean[:, 0] + sine * p_mean[:, 1]
        y = q_mean[1] - sine * p_mean[:, 0] - cosine * p_mean[:, 1]
    matrices = np.stack([np.stack([cosine, -sine, x], axis=1), np.stack([sine, cosine, y], axis=1)], axis=1)
    return np.where(fits[:, None, None], matrices, 0.0)


def transform(matrices: AnyFloats, points: AnyFloats) -> Doubles:
    """Map points [B, P, 2] by matrices [B, 2, 3]; float64 [B, P, 2]."""
    p = np.asarray(points, dtype=np.float64)
    m = np.asarray(matrices, dtype=np.float64)[:, None]
    return np.stack([m[..., k, 0] * p[..., 0] + m[..., k, 1] * p[..., 1] + m[..., k, 2] for k in (0, 1)], axis=-1)


def warp(images: Images, matrices: AnyFloats, size_px: int, supersample: bool = True) -> Images:
    """Warp images into crops: bilinear, zero outside of the input.

    Where a crop shrinks its face, each output pixel is the mean of K x K bilinear samples, K being the shrink factor
    rounded to the nearest integer. Up to a factor of 1.5 that is the plain bilinear warp of the reference code; beyond
    it, plain sampling would skip input pixels and alias.

    Args:
        images: uint8 [B, H, W, C].
        matrices: [B, 2, 3] from input pixels to crop pixels; see :func:`similarity`.
        size_px: S.
        supersample: False takes one sample per pixel whatever the factor, as the reference code does (for parity).

    Returns:
        uint8 [B, S, S, C]; zero where a matrix cannot be inverted.
    """
    m = np.asarray(matrices, dtype=np.float64)
    if images.ndim != 4 or images.dtype != np.uint8 or m.shape != (len(images), 2, 3):
        raise ValueError(
            f"got images {images.dtype} {images.shape} and matrices {m.shape}; expected uint8 [B, H, W, C]"
            " and [B, 2, 3]"
        )
    out = np.zeros((len(images), size_px, size_px, images.shape[3]), dtype=np.uint8)
    determinant = m[:, 0, 0] * m[:, 1, 1] - m[:, 0, 1] * m[:, 1, 0]
    usable = np.isfinite(m).all(axis=(1, 2)) & (np.abs(determinant) > 1e-12)
    shrink = 1.0 / np.sqrt(np.abs(np.where(usable, determinant, 1.0)))
    factors = np.clip(np.floor(shrink + 0.5), 1, MAX_SUPERSAMPLING if supersample else 1).astype(np.int64)
    for factor in np.unique(factors[usable]):
        chosen = np.flatnonzero(usable & (factors == factor))
        step = max(1, _CHUNK_SAMPLES // (size_px * int(factor)) ** 2)
        for start in range(0, len(chosen), step):
            part = chosen[start : start + step]
            out[part] = _sample(images[part], m[part], determinant[part], size_px, int(factor))
    return out


def _sample(images: Images, m: Doubles, determinant: Doubles, size: int, factor: int) -> Images:
    """Warp with K x K samples per pixel; all arguments as in :func:`warp`, matrices invertible."""
    count, height, width, colors = images.shape
    line = (np.arange(size * factor) + 0.5) / factor - 0.5  # sample positions in crop pixels
    u = line[None, None, :] - m[:, 0, 2, None, None]
    v = line[None, :, None] - m[:, 1, 2, None, None]
    inverse = 1.0 / determinant[:, None, None]
    x = (m[:, 1, 1, None, None] * u - m[:, 0, 1, None, None] * v) * inverse  # [B, KS, KS] input pixels
    y = (m[:, 0, 0, None, None] * v - m[:, 1, 0, None, None] * u) * inverse
    # One ring of zeros around the image; whatever lies farther out is clipped onto it.
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0))).reshape(-1, colors)
    x, y = np.clip(x, -1.0, width) + 1.0, np.clip(y, -1.0, height) + 1.0
    left, top = np.minimum(x.astype(np.int64), width), np.minimum(y.astype(np.int64), height)
    fx, fy = (x - left)[..., None], (y - top)[..., None]
    stride = width + 2
    at = (np.arange(count)[:, None, None] * (height + 2) + top) * stride + left
    upper = padded[at] * (1.0 - fx) + padded[at + 1] * fx
    lower = padded[at + stride] * (1.0 - fx) + padded[at + stride + 1] * fx
    values = upper * (1.0 - fy) + lower * fy  # [B, KS, KS, C]
    if factor > 1:
        values = values.reshape(count, size, factor, size, factor, colors).mean(axis=(2, 4))
    out: Images = np.floor(values + 0.5).astype(np.uint8)
    return out
