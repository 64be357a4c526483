"""Quantiles of Student's t without SciPy, whose import takes longer than a board needs for all its rows."""

from __future__ import annotations

from functools import cache
from math import cos, pi, sin, sqrt, tan

_HALVINGS = 60  # of an angle below pi / 2: beyond the precision of a float64


@cache
def two_sided(freedom: int, confidence: float) -> float:
    """The t with ``freedom`` degrees of freedom that lies within -t and t with probability ``confidence``.

    The probability is a finite sum in the angle arctan(t / sqrt(freedom)): Abramowitz and Stegun, Handbook of
    Mathematical Functions, 26.7.3 and 26.7.4.

    Args:
        freedom: at least 1.
        confidence: above 0 and below 1.
    """
    low, high = 0.0, pi / 2
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, freedom) < confidence else (low, middle)
    return sqrt(freedom) * tan((low + high) / 2)


def _within(angle: float, freedom: int) -> float:
    odd = freedom % 2
    term, total = (cos(angle), cos(angle)) if odd else (1.0, 1.0)
    for step in range(2 + odd, freedom - 1, 2):
        term *= cos(angle) ** 2 * (step - 1) / step
        total += term
    if not odd:
        return sin(angle) * total
    return 2 / pi * (angle + (sin(angle) * total if freedom > 1 else 0.0))
