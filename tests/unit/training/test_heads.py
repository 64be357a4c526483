"""Loss and gradient of every head against float64 formulas written out here, one image at a time."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from harness.builtin.heads import AdaFace, AdaFaceSettings, Combined, CombinedSettings, ElasticArc, ElasticCos
from harness.components import Head
from harness.plugins import registry

B, C, D, S, M = 6, 5, 16, 64.0, 0.35
NORMS = np.array([5.0, 12.0, 20.0, 33.0, 60.0, 500.0])  # the last is clipped to 100

# Of the true class: what stands for its cosine, and the derivative of that by the cosine, both of one angle.
Formula = Callable[[float, float, float], tuple[float, float]]  # theta, norm, the image's own margin


def shifted(theta: float, by: float, factor: float = 1.0) -> tuple[float, float]:
    """cos(factor theta + by) and its derivative by cos theta."""
    return math.cos(factor * theta + by), factor * math.sin(factor * theta + by) / math.sin(theta)


def quality(norm: float) -> float:
    """AdaFace's z after one batch, from the moments' starting values 20 and 100."""
    clipped = np.clip(NORMS, 0.001, 100)
    mean = 0.99 * 20 + 0.01 * clipped.mean()
    std = 0.99 * 100 + 0.01 * clipped.std(ddof=1)
    return float(np.clip((min(norm, 100.0) - mean) / (std + 1e-3) * 0.333, -1, 1))


def adaface(theta: float, norm: float, own: float) -> tuple[float, float]:
    value, slope = shifted(theta, -M * quality(norm))
    return value - (M + M * quality(norm)), slope


def combined(theta: float, norm: float, own: float) -> tuple[float, float]:
    value, slope = shifted(theta, M, 1.1)
    return value - 0.2, slope


CASES: dict[str, tuple[Callable[[], Head], Formula]] = {
    "cosface": (lambda: made("cosface"), lambda theta, norm, own: (math.cos(theta) - M, 1.0)),
    "arcface": (lambda: made("arcface"), lambda theta, norm, own: shifted(theta, M)),
    "combined": (lambda: Combined(CombinedSettings(m1=1.1, m3=0.2)), combined),
    "adaface": (lambda: AdaFace(AdaFaceSettings()), adaface),
    "elasticface-arc": (ElasticArc, lambda theta, norm, own: shifted(theta, own)),
    "elasticface-cos": (ElasticCos, lambda theta, norm, own: (math.cos(theta) - own, 1.0)),
}


def made(name: str) -> Head:
    head = registry().load("heads", name)()
    assert isinstance(head, Head)
    return head


def expected(cosines: np.ndarray, labels: np.ndarray, formula: Formula, own: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean cross entropy, and its gradient by the cosines [B, C]."""
    loss, gradient = 0.0, np.zeros_like(cosines)
    for i, label in enumerate(labels):
        target, slope = formula(math.acos(cosines[i, label]), NORMS[i], own[i])
        logits = S * cosines[i]
        logits[label] = S * target
        weights = np.exp(logits - logits.max())
        probabilities = weights / weights.sum()
        loss -= math.log(probabilities[label]) / B
        gradient[i] = S * probabilities / B
        gradient[i, label] = S * (probabilities[label] - 1) * slope / B
    return loss, gradient


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradient(name: str, dtype: torch.dtype) -> None:
    head, formula = CASES[name]
    rng = np.random.default_rng(0)
    features, centers = rng.normal(size=(B, D)), rng.normal(size=(C, D))
    features, centers = (x / np.linalg.norm(x, axis=1)[:, None] for x in (features, centers))
    rounded = torch.tensor(features @ centers.T, dtype=dtype)  # the formula gets the numbers that the head gets
    labels = rng.integers(0, C, B)
    drawn = torch.randn(B, generator=torch.Generator().manual_seed(3)).double().numpy()
    own = (np.float32(M) + np.float32(0.05) * drawn.astype(np.float32)).astype(np.float64)
    loss, gradient = expected(rounded.double().numpy(), labels, formula, own)

    cosines = rounded.clone().requires_grad_()
    norms = torch.tensor(NORMS, dtype=dtype)
    logits = head().logits(cosines, norms, torch.tensor(labels), S, M, torch.Generator().manual_seed(3))
    found = F.cross_entropy(logits, torch.tensor(labels))
    (slope,) = torch.autograd.grad(found, cosines)
    assert found.item() == pytest.approx(loss, rel=1e-6)
    assert np.abs(slope.double().numpy() - gradient).max() < 1e-6 * np.abs(gradient).max() * (
        10 if dtype == torch.float32 else 1
    )


def test_every_head_is_tested() -> None:
    assert set(CASES) == {name for name, r in registry().names["heads"].items() if r.distribution == "facegen-harness"}


def test_adaface_remembers_the_norms_of_earlier_batches() -> None:
    head = AdaFace(AdaFaceSettings(t_alpha=0.5))
    args = (torch.zeros(2, 3), torch.tensor([10.0, 30.0]), torch.tensor([0, 1]), S, M, torch.Generator())
    head.logits(*args)
    head.logits(*args)
    assert head.memory["mean"].item() == pytest.approx(20)  # 20 at the start, and of both batches
    deviation = math.sqrt(200)
    assert head.memory["std"].item() == pytest.approx(0.25 * 100 + 0.75 * deviation)


def test_angles_have_gradients_at_the_ends() -> None:
    cosines = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], requires_grad=True)
    logits = made("arcface").logits(cosines, torch.ones(2), torch.tensor([0, 0]), S, M, torch.Generator())
    F.cross_entropy(logits, torch.tensor([0, 0])).backward()  # type: ignore[no-untyped-call]
    assert cosines.grad is not None
    assert cosines.grad.isfinite().all()
