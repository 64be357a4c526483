"""Figures draw what they say: points of curves against their closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtri

from harness.figures import det_curve, det_points, roc_points


def test_normal_scores_give_a_straight_det_curve() -> None:
    """Impostors N(0, 1) and genuine N(d, 2): at threshold t the deviates are -t and (t - d) / 2, a line."""
    levels = (np.arange(200_000) + 0.5) / 200_000
    impostor, genuine = ndtri(levels), 3.0 + 2.0 * ndtri(levels)
    x, y = det_points(genuine, impostor)
    inside = (np.abs(x) < 3) & (np.abs(y) < 3)
    assert inside.sum() > 50
    assert y[inside] == pytest.approx(-x[inside] / 2 - 1.5, abs=0.01)


def test_rates_without_an_error_lie_at_half_an_error() -> None:
    genuine, impostor = np.array([0.8, 0.9, 0.95, 0.99]), np.array([0.1, 0.2, 0.3])
    far, tar = roc_points(genuine, impostor)
    assert far == pytest.approx([1 / 3, 2 / 3, 1])
    assert (tar == 1).all()
    x, y = det_points(genuine, impostor)
    assert x[-1] == pytest.approx(ndtri(1 - 0.5 / 3))
    assert y == pytest.approx(np.full(3, ndtri(0.5 / 4)))
    assert det_curve(genuine, impostor, "perfect").startswith(b"\x89PNG")
