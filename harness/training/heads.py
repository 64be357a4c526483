"""Margins of FR losses as pure functions: cosines -> logits of a cross entropy.

Letters: B images of a batch, C classes, s scale, m margin, theta angle of a feature and its class center (radians).
Every function takes cosines [B, C] in [-1, 1] and labels int64 [B], changes the true class's entry alone, and returns
logits [B, C]. Beyond theta = pi - m the formulas are followed as printed; nothing continues them monotonically.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

EDGE = 1e-7  # cosines are kept this far from +-1 where an angle is taken, since its gradient has no bound there
NORM_RANGE = (0.001, 100.0)  # of features, in AdaFace. Source: CVLFace
NORM_EPS = 1e-3  # added to the norms' standard deviation, in AdaFace. Source: CVLFace


def cosface(cosines: Tensor, labels: Tensor, scale: float, margin: float) -> Tensor:
    """s (cos theta - m). Source: CosFace, arXiv 1801.09414, equation 4."""
    return scale * (cosines - margin * F.one_hot(labels, cosines.shape[1]))


def arcface(cosines: Tensor, labels: Tensor, scale: float, margin: float) -> Tensor:
    """s cos(theta + m). Source: ArcFace, arXiv 1801.07698, equation 3."""
    return combined(cosines, labels, scale, 1.0, margin, 0.0)


def combined(cosines: Tensor, labels: Tensor, scale: float, m1: float, m2: float | Tensor, m3: float) -> Tensor:
    """s (cos(m1 theta + m2) - m3), m2 of all images or of each, [B]. Source: ArcFace, arXiv 1801.07698, equation 4."""
    return scale * _at_true_class(cosines, labels, torch.cos(m1 * _angles(cosines, labels) + m2) - m3)


def adaface(
    cosines: Tensor, norms: Tensor, labels: Tensor, scale: float, margin: float, h: float, mean: Tensor, std: Tensor
) -> Tensor:
    """s (cos(theta - m z) - (m + m z)), z = h (norm - mean) / std in [-1, 1]: a margin by image quality.

    Args:
        norms: of the features before normalization, [B]; no gradient flows through them.
        h: how much of the spread of norms lies within [-1, 1].
        mean, std: of recent batches' norms, scalars.

    Source: AdaFace, arXiv 2204.00964, section 3.4; constants of CVLFace.
    """
    z = (h * (norms.detach().clamp(*NORM_RANGE) - mean) / (std + NORM_EPS)).clamp(-1, 1)  # [B]
    target = torch.cos(_angles(cosines, labels) - margin * z) - (margin + margin * z)
    return scale * _at_true_class(cosines, labels, target)


def elastic_arc(cosines: Tensor, labels: Tensor, scale: float, margins: Tensor) -> Tensor:
    """s cos(theta + m_i), every image with a margin of its own, [B]. Source: ElasticFace, arXiv 2109.09416."""
    return combined(cosines, labels, scale, 1.0, margins, 0.0)


def elastic_cos(cosines: Tensor, labels: Tensor, scale: float, margins: Tensor) -> Tensor:
    """s (cos theta - m_i), every image with a margin of its own, [B]. Source: ElasticFace, arXiv 2109.09416."""
    return scale * _at_true_class(cosines, labels, _true(cosines, labels) - margins)


def _true(cosines: Tensor, labels: Tensor) -> Tensor:
    return cosines.gather(1, labels[:, None])[:, 0]  # [B]


def _angles(cosines: Tensor, labels: Tensor) -> Tensor:
    return _true(cosines, labels).clamp(-1 + EDGE, 1 - EDGE).acos()


def _at_true_class(cosines: Tensor, labels: Tensor, target: Tensor) -> Tensor:
    return cosines.scatter(1, labels[:, None], target[:, None])
