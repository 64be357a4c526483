"""DPM-Solver++ 2M: exact where the answer is known, and closer to the exact flow than DDIM at equal steps."""

from __future__ import annotations

import math
from functools import cache
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from harness.diffusion.samplers import SAMPLERS, Denoiser, ddim, dpm_solver
from harness.diffusion.samplers.spacing import log_snr_steps, uniform_steps
from harness.diffusion.schedule import Schedule, linear_schedule, spaced_steps
from harness.diffusion.settings import LatentSampleSettings

SCHEDULE = linear_schedule()
SMALL = linear_schedule(40)
MIXTURE = ((-0.8, 0.1, 0.9), (0.1, 0.2, 0.05))  # means and standard deviations


def no_noise(t: int) -> Tensor:
    raise AssertionError("a deterministic sampler asked for noise")


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def oracle(x_0: Tensor, schedule: Schedule) -> Denoiser:
    """The noise that x_t holds if its clean image is x_0."""
    return lambda x, t: (x - schedule.levels(t).sqrt() * x_0) / (1.0 - schedule.levels(t)).sqrt()


@cache
def mixture(means: tuple[float, ...], stds: tuple[float, ...]) -> Denoiser:
    """E[noise | x_t] for data from an even mixture of Gaussians, per pixel, in float64."""
    mu, s = (torch.tensor(values, dtype=torch.double) for values in (means, stds))

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        level = SCHEDULE.levels(t).double()[..., None]  # [B, 1, 1, 1, 1]
        variance = level * s**2 + 1.0 - level
        off = x[..., None] - level.sqrt() * mu  # [B, C, H, W, K]
        share = (-0.5 * variance.log() - 0.5 * off**2 / variance).softmax(dim=-1)
        return (1.0 - level[..., 0]).sqrt() * (share * off / variance).sum(dim=-1)

    return denoise


X_T = draw(0, 1, 1, 20, 20).double()


@cache
def flow(denoise: Denoiser) -> Tensor:
    """Where the exact flow takes X_T, to 0.001: DPM-Solver++ over all T steps."""
    return dpm_solver.sample(denoise, X_T, SCHEDULE, steps=SCHEDULE.T, noise=no_noise)


def error(name: str, denoise: Denoiser, steps: int, **options: object) -> float:
    """Root mean square distance to the exact flow."""
    found = SAMPLERS[name](denoise, X_T, SCHEDULE, steps=steps, noise=no_noise, **options)
    return float((found - flow(denoise)).square().mean().sqrt())


@pytest.mark.parametrize("steps", [40, 10, 12, 7, 2, 1])
def test_returns_the_oracles_image(steps: int) -> None:
    x_0 = draw(1, 2, 3, 4, 4)
    out = dpm_solver.sample(oracle(x_0, SMALL), draw(2, 2, 3, 4, 4), SMALL, steps=steps, noise=no_noise)
    assert torch.allclose(out, x_0, atol=1e-5)


@pytest.mark.parametrize("steps", [5, 10, 20, 50])
@pytest.mark.parametrize(
    "data",
    [((0.2,), (0.3,)), MIXTURE, ((-2.0, 1.0), (0.5, 0.5))],
    ids=["gaussian", "mixture", "wide"],
)
def test_closer_than_ddim_at_equal_steps(data: tuple[tuple[float, ...], tuple[float, ...]], steps: int) -> None:
    denoise = mixture(*data)
    assert error("dpm-solver++", denoise, steps) < 0.7 * error("ddim", denoise, steps)


def test_the_exact_flow_of_a_gaussian() -> None:
    std = 0.3
    denoise, last = mixture((0.0,), (std,)), SCHEDULE.alpha_bar(998)
    # for N(0, std^2) the flow keeps x_t / std_t
    exact = X_T * std / math.sqrt(last * std**2 + 1.0 - last)
    for steps, bound in ((500, 1e-3), (50, 4e-3)):
        out = dpm_solver.sample(denoise, X_T, SCHEDULE, steps=steps, noise=no_noise)
        assert float((out - exact).abs().max()) < bound


def test_second_order() -> None:
    denoise = mixture(*MIXTURE)
    orders = {name: math.log2(error(name, denoise, 20) / error(name, denoise, 40)) for name in ("ddim", "dpm-solver++")}
    assert orders["ddim"] < 1.3
    assert orders["dpm-solver++"] > 1.7


def test_log_snr_steps_are_better_than_ddims() -> None:
    denoise = mixture(*MIXTURE)
    ours = [error("dpm-solver++", denoise, steps) for steps in (10, 20)]
    evenly = [error("dpm-solver++", denoise, steps, spacing=uniform_steps) for steps in (10, 20)]
    assert all(a < 0.3 * b for a, b in zip(ours, evenly, strict=True))


@pytest.mark.parametrize("T", [1000, 40])
@pytest.mark.parametrize("steps", [1, 2, 5, 10, 37, 40, 200, 999, 1000])
def test_the_steps_visited(T: int, steps: int) -> None:
    if steps > T:
        with pytest.raises(ValueError, match=f"between 1 and T = {T} steps, got {steps}"):
            log_snr_steps(linear_schedule(T), steps)
        return
    visited = list(log_snr_steps(linear_schedule(T), steps))
    assert len(visited) == steps
    assert visited == sorted(set(visited))
    assert visited[0] == 0
    assert visited[-1] == spaced_steps(T, steps)[-1]


def test_the_steps_are_even_in_log_snr() -> None:
    levels = [SCHEDULE.log_snr(t) for t in log_snr_steps(SCHEDULE, 10)]
    gaps = [a - b for a, b in pairwise(levels)]
    # the first step t = 1 is 0.4 away from t = 0, so the clean end cannot be even
    assert max(gaps) < 1.5 * min(gaps)


def test_2m_is_the_papers_formula_to_the_last_bit() -> None:
    """Algorithm 2 in the order of operations that committed results were computed with."""
    x_T, denoise = draw(3, 2, 3, 4, 4), lambda x, t: torch.sin(3 * x) * SMALL.levels(t)
    visited, x, before = log_snr_steps(SMALL, 9), x_T, None
    for i in reversed(range(9)):
        level, here = SMALL.alpha_bar(visited[i]), SMALL.log_snr(visited[i])
        x_0 = (x - math.sqrt(1.0 - level) * denoise(x, torch.full((2,), visited[i]))) / math.sqrt(level)
        if i == 0:
            x = x_0
            break
        level_next = SMALL.alpha_bar(visited[i - 1])
        h, d = SMALL.log_snr(visited[i - 1]) - here, x_0
        if before is not None:
            half = 0.5 * h / (here - before[0])
            d = (1.0 + half) * x_0 - half * before[1]
        x = math.sqrt((1.0 - level_next) / (1.0 - level)) * x - math.sqrt(level_next) * math.expm1(-h) * d
        before = here, x_0
    assert torch.equal(dpm_solver.sample(denoise, x_T, SMALL, steps=9, noise=no_noise), x)


def test_one_call_of_the_network_per_step_and_the_name() -> None:
    given: list[int] = []
    seen: list[int] = []

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        given.append(int(t[0]))
        return x

    x = draw(0, 2, 3, 4, 4)
    SAMPLERS[LatentSampleSettings(sampler="dpm-solver++").sampler](
        denoise, x, SMALL, steps=12, noise=no_noise, on_step=lambda t, x: seen.append(t)
    )
    assert seen == given == list(reversed(log_snr_steps(SMALL, 12)))
    assert SAMPLERS["ddim"] is ddim.sample
