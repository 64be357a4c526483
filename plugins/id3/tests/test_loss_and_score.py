"""ID3's mathematics: the weight, the loss term by term, and the gradient of the adjusted score."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from harness_id3.loss import LossWeights, gaussian_decoder_weight, id3_loss, identity_weight
from harness_id3.network import ID3Network
from harness_id3.score import with_identity_score
from torch import Tensor, nn
from torch.nn import functional as F

from harness.diffusion.schedule import linear_schedule
from harness.diffusion.training import TrainSettings, noised, train_denoiser

SCHEDULE = linear_schedule(24)


def test_the_weight_falls_from_a_quarter() -> None:
    c = identity_weight(torch.tensor([0, 500, 1000]), 1000)
    assert float(c[0]) == 0.25
    assert float(c[2]) == pytest.approx(0.1345, abs=5e-5)
    assert float(c[1]) == pytest.approx(0.5 * (1 - 1 / (1 + math.exp(-0.5))))


@pytest.mark.parametrize(("reading", "sign"), [("falling", -1), ("rising", 1)])
def test_both_readings_of_the_weight(reading: Any, sign: int) -> None:
    """0.5 (1 - 1 / (1 + exp(-t/T))), and with the other sign 0.25 at t = 0 up to 0.366 at T."""
    t = np.arange(0, 1001, 50)
    expected = 0.5 * (1 - 1 / (1 + np.exp(sign * t.astype(np.float64) / 1000)))
    found = identity_weight(torch.from_numpy(t), 1000, reading)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert expected[-1] == pytest.approx({"falling": 0.1345, "rising": 0.3655}[reading], abs=5e-5)


class Oracle(nn.Module):
    """Knows x_0 of the batch, so it predicts the noise; or noise with a constant error."""

    def __init__(self, x_0: Tensor, error: float = 0.0) -> None:
        super().__init__()
        self.x_0, self.error = x_0, error

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor, s: Tensor, generator: torch.Generator) -> Tensor:
        level = SCHEDULE.levels(t)
        return (x_t - level.sqrt() * self.x_0[: len(x_t)]) / (1 - level).sqrt() + self.error


def embed(latents: Tensor) -> Tensor:
    return F.normalize(latents.flatten(1)[:, :16], dim=1)


def batch(count: int = 16) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(1)
    y = F.normalize(torch.randn(count, 16, generator=g), dim=1)
    return {
        "latents": torch.randn(count, 4, 4, 4, generator=g),
        "contexts": y,
        "attributes": torch.rand(count, 4, generator=g),
    }


@pytest.mark.parametrize("share", [1, 2, 4])
def test_a_perfect_denoiser_leaves_the_inner_product(share: int) -> None:
    data = batch()
    loss = id3_loss(SCHEDULE, embed, LossWeights(inner_share=share))(
        Oracle(data["latents"]), data, torch.Generator().manual_seed(2)
    )
    _, _, t = noised(data["latents"], SCHEDULE, torch.Generator().manual_seed(2))
    some = slice(0, 16 // share)
    inner = (embed(data["latents"]) * data["contexts"]).sum(dim=1)
    assert float(loss) == pytest.approx(-float((identity_weight(t, 24) * inner)[some].mean()), abs=1e-5)


@pytest.mark.parametrize("weight", [1.0, gaussian_decoder_weight(SCHEDULE)])
def test_an_error_costs_in_noise_and_in_reconstruction(weight: float) -> None:
    data, error = batch(), 0.3
    loss = id3_loss(SCHEDULE, lambda x: torch.zeros(len(x), 16), LossWeights(reconstruction=weight))(
        Oracle(data["latents"], error), data, torch.Generator().manual_seed(2)
    )
    level = SCHEDULE.alpha_bar(0)
    reconstruction = error**2 * (1 - level) / level
    assert float(loss) == pytest.approx(error**2 + weight * reconstruction, rel=1e-4)


def test_a_gaussian_decoder_counts_the_first_step_as_much_as_the_others() -> None:
    """-log N(x_0; x0hat, beta_0) per value is half the squared error of the noise over 1 - beta_0, plus a constant."""
    assert gaussian_decoder_weight(linear_schedule()) == pytest.approx(5000, rel=1e-6)
    beta, error = float(SCHEDULE.betas[0]), 0.7
    nll = [math.log(2 * math.pi * beta) / 2 + (e * math.sqrt(beta / (1 - beta))) ** 2 / (2 * beta) for e in (0, error)]
    weighted = gaussian_decoder_weight(SCHEDULE) * error**2 * beta / (1 - beta)
    assert weighted == pytest.approx(nll[1] - nll[0], rel=1e-9)
    assert weighted == pytest.approx(error**2 / 2 / (1 - beta), rel=1e-9)


@pytest.mark.parametrize("reading", ["falling", "rising"])
@pytest.mark.parametrize("inner", [1.0, 2.5, 0.0])
@pytest.mark.parametrize("reconstruction", [1.0, 300.0, 0.0])
def test_the_loss_is_the_formula_in_float64(reading: Any, inner: float, reconstruction: float) -> None:
    """Written out in NumPy from methods and schedule alone: nothing but the draws of t and noise is shared."""
    data, steps = batch(8), 24
    weights = LossWeights(inner=inner, c_t=reading, inner_share=2, reconstruction=reconstruction)
    value = id3_loss(SCHEDULE, embed, weights)(Smooth(), data, torch.Generator().manual_seed(3))
    _, drawn, at = noised(data["latents"], SCHEDULE, torch.Generator().manual_seed(3))

    x_0, noise, t = (part.double().numpy() for part in (data["latents"], drawn, at))
    bars = np.cumprod(1 - np.linspace(1e-4 * 1000 / steps, 0.02 * 1000 / steps, steps))

    def guess(rows: slice, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Estimates of the noise and of x_0 at steps t."""
        level = bars[t.astype(int)].reshape(-1, 1, 1, 1)
        x_t = np.sqrt(level) * x_0[rows] + np.sqrt(1 - level) * noise[rows]
        eps = np.tanh(0.5 * x_t + 0.01 * t.reshape(-1, 1, 1, 1))
        return eps, (x_t - np.sqrt(1 - level) * eps) / np.sqrt(level)

    expected = np.mean((guess(slice(8), t)[0] - noise) ** 2)
    estimate = guess(slice(4), t[:4])[1].reshape(4, -1)[:, :16]
    cosines = (estimate * data["contexts"].double().numpy()[:4]).sum(axis=1) / np.linalg.norm(estimate, axis=1)
    sign = {"falling": -1, "rising": 1}[reading]
    c_t = 0.5 * (1 - 1 / (1 + np.exp(sign * t[:4] / steps)))
    expected -= inner * np.mean(c_t * cosines)
    expected += reconstruction * np.mean((guess(slice(1), 0 * t[:1])[1] - x_0[:1]) ** 2)
    assert float(value) == pytest.approx(expected, rel=2e-5)


class Smooth(nn.Module):
    """A noise estimate that NumPy can repeat."""

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor, s: Tensor, generator: torch.Generator) -> Tensor:
        return torch.tanh(0.5 * x_t + 0.01 * t.view(-1, 1, 1, 1))


def test_without_the_inner_product_nobody_is_embedded() -> None:
    def nobody(latents: Tensor) -> Tensor:
        raise AssertionError("embedded")

    value = id3_loss(SCHEDULE, nobody, LossWeights(inner=0))(Smooth(), batch(), torch.Generator().manual_seed(3))
    assert torch.isfinite(value)


def test_training_lowers_the_loss(network: ID3Network) -> None:
    torch.manual_seed(0)
    student = ID3Network(network.unet.config)
    settings = TrainSettings(steps=30, batch_size=8, learning_rate=3e-3, lr_schedule="cosine", log_every=6)
    trained = train_denoiser(
        student, batch(), SCHEDULE, settings, seed=0, loss=id3_loss(SCHEDULE, embed, LossWeights())
    )
    losses = [value for _, value in trained.losses]
    assert losses[-1] < 0.8 * losses[0]


# A small smooth world in float64 for finite differences: 3 latents of 2 x 3 x 3, embeddings of width 5.
G = torch.Generator().manual_seed(0)
MIX = torch.randn(18, 18, generator=G, dtype=torch.float64) / 6
LOOK = torch.randn(18, 5, generator=G, dtype=torch.float64) / 4
Y = F.normalize(torch.randn(3, 5, generator=G, dtype=torch.float64), dim=1)
X = torch.randn(3, 2, 3, 3, generator=G, dtype=torch.float64)
T = torch.tensor([13, 13, 13])


def smooth_denoise(x: Tensor, t: Tensor) -> Tensor:
    return torch.tanh(x.flatten(1) @ MIX + 0.01 * t[:, None]).view_as(x)


def smooth_embed(latents: Tensor) -> Tensor:
    return F.normalize(torch.sin(latents.flatten(1) @ LOOK), dim=1)


def objective(x: Tensor, eps: Tensor) -> Tensor:
    """<y, F(x0hat(x_t))> for each image."""
    return (smooth_embed(SCHEDULE.predict_x_0(x, eps, T)) * Y).sum(dim=1)


@pytest.mark.parametrize("through", [True, False])
def test_the_gradient_is_that_of_finite_differences(through: bool) -> None:
    gamma, h = 1.7, 1e-5
    adjusted = with_identity_score(smooth_denoise, Y, smooth_embed, SCHEDULE, gamma, through_denoiser=through)
    fixed = smooth_denoise(X, T)
    numeric = torch.zeros_like(X).flatten(1)
    for place in range(18):
        step = torch.zeros_like(numeric)
        step[:, place] = h
        up, down = X + step.view_as(X), X - step.view_as(X)
        eps = (smooth_denoise(up, T), smooth_denoise(down, T)) if through else (fixed, fixed)
        numeric[:, place] = (objective(up, eps[0]) - objective(down, eps[1])) / (2 * h)
    scale = (1 - SCHEDULE.levels(T)).sqrt() * gamma * identity_weight(T, 24).view(-1, 1, 1, 1)
    with torch.no_grad():  # as in the samplers
        g = (fixed - adjusted(X, T)) / scale
    assert g.dtype == torch.float64
    torch.testing.assert_close(g, numeric.view_as(X), rtol=1e-5, atol=1e-6)


def test_the_step_goes_towards_the_identity() -> None:
    fixed = smooth_denoise(X, T)
    adjusted = with_identity_score(smooth_denoise, Y, smooth_embed, SCHEDULE, 0.01, through_denoiser=False)
    assert (objective(X, adjusted(X, T)) > objective(X, fixed)).all()


def test_one_image_does_not_see_another() -> None:
    together = with_identity_score(smooth_denoise, Y, smooth_embed, SCHEDULE, 1.0)(X, T)
    for row in range(3):
        part = slice(row, row + 1)
        alone = with_identity_score(smooth_denoise, Y[part], smooth_embed, SCHEDULE, 1.0)(X[part], T[part])
        torch.testing.assert_close(alone, together[part])


def test_a_long_gradient_is_cut_and_a_short_one_is_left() -> None:
    def adjusted(clip_norm: float | None = None) -> Tensor:
        return with_identity_score(smooth_denoise, Y, smooth_embed, SCHEDULE, 1.0, clip_norm=clip_norm)(X, T)

    scale = (1 - SCHEDULE.levels(T)).sqrt() * identity_weight(T, 24).view(-1, 1, 1, 1)
    g = (smooth_denoise(X, T) - adjusted()) / scale
    norms = g.flatten(1).norm(dim=1)
    bound = float(norms.sort().values[1])  # one is longer, one is as long, one is shorter
    clipped = (smooth_denoise(X, T) - adjusted(bound)) / scale
    torch.testing.assert_close(clipped.flatten(1).norm(dim=1), norms.clamp(max=bound))
    torch.testing.assert_close(F.cosine_similarity(clipped.flatten(1), g.flatten(1)), torch.ones(3).double())
    assert torch.equal(adjusted(1e9), adjusted())


def test_the_score_is_adjusted_below_a_step_only() -> None:
    everywhere = with_identity_score(smooth_denoise, Y, smooth_embed, SCHEDULE, 1.0)
    below = with_identity_score(smooth_denoise, Y, smooth_embed, SCHEDULE, 1.0, below=13)
    assert torch.equal(below(X, T), smooth_denoise(X, T))
    assert torch.equal(below(X, T - 1), everywhere(X, T - 1))
    assert not torch.equal(below(X, T - 1), smooth_denoise(X, T - 1))


def test_the_adjustment_has_the_weight_of_the_reading() -> None:
    falling, rising = (
        with_identity_score(smooth_denoise, Y, smooth_embed, SCHEDULE, 1.0, reading=reading)(X, T)
        - smooth_denoise(X, T)
        for reading in ("falling", "rising")
    )
    ratio = (1 + math.exp(13 / 24)) / (1 + math.exp(-13 / 24))
    torch.testing.assert_close(rising, falling * ratio, rtol=1e-6, atol=0)


def test_gamma_zero_is_the_denoiser_itself() -> None:
    assert with_identity_score(smooth_denoise, Y, smooth_embed, SCHEDULE, 0.0) is smooth_denoise
