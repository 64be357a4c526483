"""Solvers against those of diffusers and against flows whose solution is known; and which steps they visit."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, HeunDiscreteScheduler, UniPCMultistepScheduler
from torch import Tensor

from harness.diffusion.samplers import OWN_SPACING, SAMPLERS, SPACINGS, Denoiser
from harness.diffusion.samplers.spacing import RHO
from harness.diffusion.schedule import Schedule, linear_schedule, spaced_steps

SCHEDULE = linear_schedule()
STD = 0.5  # of the Gaussian data
X_T = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)).double()
SAMPLED = [(name, {}) for name in SAMPLERS] + [("dpm-solver++", {"order": 3}), ("unipc", {"order": 3})]


def gaussian(schedule: Schedule) -> Denoiser:
    """E[noise | x_t] for data N(0, STD^2): linear in x_t."""

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        level = schedule.levels(t).double()
        return (1.0 - level).sqrt() * x / (level * STD**2 + 1.0 - level)

    return denoise


def noise(t: int) -> Tensor:
    return torch.randn(X_T.shape, generator=torch.Generator().manual_seed(t)).double()


def no_noise(t: int) -> Tensor:
    raise AssertionError("a deterministic sampler asked for noise")


def by_diffusers(scheduler: Any, visited: Sequence[int], **options: Any) -> Tensor:
    """What a multistep scheduler of diffusers makes of X_T over the same steps, on our levels."""
    steps = list(reversed(visited))
    scheduler.set_timesteps(len(steps))
    scheduler.timesteps = torch.tensor(steps)
    scheduler.sigmas = torch.tensor([*(SCHEDULE.sigma(t) for t in steps), 0.0])
    x, denoise = X_T, gaussian(SCHEDULE)
    for t in steps:
        given = {name: draw(t) for name, draw in options.items()}
        x = scheduler.step(denoise(x, torch.tensor([t, t])), torch.tensor(t), x, **given).prev_sample
    return x


def unipc(order: int, **options: Any) -> UniPCMultistepScheduler:
    return UniPCMultistepScheduler(solver_order=order, final_sigmas_type="zero", **options)


def dpm(**options: Any) -> DPMSolverMultistepScheduler:
    return DPMSolverMultistepScheduler(lower_order_final=False, final_sigmas_type="zero", **options)


ORACLES: dict[str, tuple[str, dict[str, int], Callable[[list[int]], Tensor]]] = {
    "2M": ("dpm-solver++", {}, lambda visited: by_diffusers(dpm(), visited)),
    # the predictor of UniPC alone: what diffusers calls 3M halves a term
    "3M": (
        "dpm-solver++",
        {"order": 3},
        lambda visited: by_diffusers(unipc(3, disable_corrector=list(range(99))), visited),
    ),
    "2M SDE": (
        "dpm-solver++-sde",
        {},
        lambda visited: by_diffusers(dpm(algorithm_type="sde-dpmsolver++"), visited, variance_noise=noise),
    ),
    "UniPC-2": ("unipc", {}, lambda visited: by_diffusers(unipc(2), visited)),
    "UniPC-3": ("unipc", {"order": 3}, lambda visited: by_diffusers(unipc(3), visited)),
}


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("name", ORACLES)
def test_multistep_solvers_agree_with_diffusers(name: str, spacing: str) -> None:
    ours, options, theirs = ORACLES[name]
    for steps in (5, 20):
        visited = list(SPACINGS[spacing](SCHEDULE, steps))
        found = SAMPLERS[ours](
            gaussian(SCHEDULE), X_T, SCHEDULE, steps=steps, noise=noise, spacing=SPACINGS[spacing], **options
        )
        torch.testing.assert_close(found, theirs(visited), rtol=0, atol=1e-5)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_heun_agrees_with_diffusers(spacing: str) -> None:
    scheduler, denoise = HeunDiscreteScheduler(), gaussian(SCHEDULE)
    scheduler.alphas_cumprod = SCHEDULE.alpha_bars
    visited = list(reversed(SPACINGS[spacing](SCHEDULE, 12)))
    scheduler.set_timesteps(timesteps=visited)
    x = X_T / math.sqrt(SCHEDULE.alpha_bar(visited[0]))
    for t in scheduler.timesteps:
        scaled = scheduler.scale_model_input(x, t)
        x = scheduler.step(denoise(scaled, t.long().expand(2)), t, x).prev_sample
    found = SAMPLERS["heun"](denoise, X_T, SCHEDULE, steps=12, noise=no_noise, spacing=SPACINGS[spacing])
    torch.testing.assert_close(found, x, rtol=1e-5, atol=1e-5)


# A schedule that is even in lambda from -3 to 3 and fine enough to have 192 whole steps of one length.
LENGTHS = (24, 48)
LEVELS = torch.sigmoid(2 * torch.linspace(3.0, -3.0, 48 * 4 + 1, dtype=torch.double))
EVEN = Schedule(betas=1.0 - LEVELS / torch.cat([torch.ones(1).double(), LEVELS[:-1]]), alpha_bars=LEVELS)


def error(count: int, sample: Callable[[Sequence[int]], Tensor]) -> float:
    """Distance to the known solution after so many steps of equal length, without that of the last, to t = 0.

    The exact flow keeps x_t / std_t; what a sampler gives in the end is the estimate of x_0 at the cleanest level.
    """
    first, last = (EVEN.alpha_bar(t) for t in (0, EVEN.T - 1))
    variance, variance_last = (level * STD**2 + 1.0 - level for level in (first, last))
    exact = X_T * math.sqrt(variance / variance_last) * math.sqrt(first) * STD**2 / variance
    return float((sample(range(0, EVEN.T, (EVEN.T - 1) // count)) - exact).square().mean().sqrt())


def measured_order(sample: Callable[[Sequence[int]], Tensor]) -> float:
    few, many = (error(count, sample) for count in LENGTHS)
    return math.log2(few / many)


@pytest.mark.parametrize(
    ("name", "options", "least", "most"),
    [
        ("ddim", {}, 0.9, 1.1),
        ("heun", {}, 1.9, 2.2),
        ("dpm-solver++", {}, 1.9, 2.2),
        ("dpm-solver++", {"order": 3}, 2.8, 4.5),
        ("unipc", {}, 2.8, 3.2),  # the corrector adds one
        ("unipc", {"order": 3}, 2.8, 4.5),
    ],
)
def test_the_order_of_convergence(name: str, options: dict[str, int], least: float, most: float) -> None:
    def sample(visited: Sequence[int]) -> Tensor:
        return SAMPLERS[name](
            gaussian(EVEN), X_T, EVEN, steps=len(visited), noise=no_noise, spacing=lambda *_: visited, **options
        )

    assert least < measured_order(sample) < most


def test_higher_orders_are_closer_at_equal_calls() -> None:
    def of(name: str, calls: int, **options: int) -> float:
        return error(
            calls,
            lambda visited: SAMPLERS[name](
                gaussian(EVEN), X_T, EVEN, steps=len(visited), noise=no_noise, spacing=lambda *_: visited, **options
            ),
        )

    ddim, two, three, pc2, pc3 = (
        of(name, 24, **options)
        for name, options in (
            ("ddim", {}),
            ("dpm-solver++", {}),
            ("dpm-solver++", {"order": 3}),
            ("unipc", {}),
            ("unipc", {"order": 3}),
        )
    )
    assert ddim > 10 * two > 10 * pc2 > 10 * three > 10 * pc3
    assert of("heun", 12) < ddim


def test_the_sde_keeps_the_law_of_the_data() -> None:
    """Fresh noise at every step, and still the standard deviation of the data, over 20,000 numbers."""
    x_T = torch.randn(1, 1, 100, 200, generator=torch.Generator().manual_seed(1)).double()

    def fresh(t: int) -> Tensor:
        return torch.randn(x_T.shape, generator=torch.Generator().manual_seed(1000 + t)).double()

    out = SAMPLERS["dpm-solver++-sde"](gaussian(SCHEDULE), x_T, SCHEDULE, steps=50, noise=fresh)
    assert float(out.std()) == pytest.approx(STD, rel=0.02)
    correlation = float(torch.corrcoef(torch.stack([out.flatten(), x_T.flatten()]))[0, 1])
    assert abs(correlation) < 0.05, "little is left of the noise it started from"


@pytest.mark.parametrize("name", SPACINGS)
@pytest.mark.parametrize("T", [1000, 40])
@pytest.mark.parametrize("steps", [1, 2, 5, 37, 40, 999, 1000])
def test_spacings_visit_distinct_steps_from_the_first_to_the_last(name: str, T: int, steps: int) -> None:
    if steps > T:
        with pytest.raises(ValueError, match=f"between 1 and T = {T} steps, got {steps}"):
            SPACINGS[name](linear_schedule(T), steps)
        return
    visited = list(SPACINGS[name](linear_schedule(T), steps))
    assert len(visited) == steps
    assert visited == sorted(set(visited))
    assert visited[0] == 0
    assert visited[-1] == spaced_steps(T, steps)[-1]


def test_edms_steps_are_the_nearest_to_its_formula() -> None:
    """Equation 5 of EDM, between the first and the last level visited."""
    visited = SPACINGS["edm"](SCHEDULE, 18)
    low, high = SCHEDULE.sigma(0), SCHEDULE.sigma(visited[-1])
    levels = torch.tensor([SCHEDULE.sigma(t) ** (1 / RHO) for t in range(SCHEDULE.T)])
    for i, t in enumerate(reversed(visited)):
        sigma = (high ** (1 / 7) + i / 17 * (low ** (1 / 7) - high ** (1 / 7))) ** 7
        assert abs(int((levels - sigma ** (1 / 7)).abs().argmin()) - t) <= 1
    gaps = [a**2 - b**2 for a, b in pairwise(reversed(visited))]
    assert gaps[0] > gaps[-1], "steps lie closer at the clean end"


def test_own_spacings_are_the_samplers_defaults() -> None:
    for name, sampler in SAMPLERS.items():
        runs = []
        for options in ({}, {"spacing": SPACINGS[OWN_SPACING[name]]}):
            seen: list[int] = []
            sampler(
                gaussian(SCHEDULE),
                X_T,
                SCHEDULE,
                steps=8,
                noise=noise,
                on_step=lambda t, x, s=seen: s.append(t),
                **options,
            )
            runs.append(seen)
        assert runs[0] == runs[1]
