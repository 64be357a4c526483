from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from harness.diffusion.schedule import linear_schedule, spaced_steps

ALPHA_BARS = {0: 0.9999, 1: 0.99978009, 5: 0.99910153, 499: 0.07858724, 995: 4.374975e-5, 999: 4.035830e-5}


@pytest.mark.parametrize("t", ALPHA_BARS)
def test_published_levels(t: int) -> None:
    assert linear_schedule().alpha_bar(t) == pytest.approx(ALPHA_BARS[t], rel=1e-6)


def test_other_lengths_scale_the_betas() -> None:
    betas = linear_schedule(40).betas
    assert betas.dtype == torch.float32
    assert float(betas[0]) == pytest.approx(0.0025)
    assert float(betas[-1]) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="T > 20"):
        linear_schedule(20)


def test_level_before_the_first_step_is_clean() -> None:
    assert linear_schedule().alpha_bar(-1) == 1.0
    assert linear_schedule().alpha_bar(-5) == 1.0


def test_alpha_between_is_exact_for_one_step_and_multiplies() -> None:
    schedule = linear_schedule()
    assert schedule.alpha_between(7, 6) == 1.0 - float(schedule.betas[7])
    assert schedule.alpha_between(999, -1) == pytest.approx(schedule.alpha_bar(999), rel=1e-5)


@pytest.mark.parametrize(("T", "steps"), [(1000, 200), (1000, 7), (40, 12), (40, 40), (40, 1)])
def test_spaced_steps(T: int, steps: int) -> None:
    visited = spaced_steps(T, steps)
    assert len(visited) == len(set(visited)) == steps
    assert visited[0] == 0
    assert visited[-1] < T
    gaps = {b - a for a, b in pairwise(visited)}
    assert gaps <= {T // steps, T // steps + 1}
    if T % steps == 0:
        assert list(visited) == list(range(0, T, T // steps))


@pytest.mark.parametrize("steps", [0, 41])
def test_impossible_step_counts(steps: int) -> None:
    with pytest.raises(ValueError, match="between 1 and T = 40"):
        spaced_steps(40, steps)


def test_predict_x_0_inverts_add_noise() -> None:
    schedule, g = linear_schedule(40), torch.Generator().manual_seed(0)
    x_0, noise = torch.randn(5, 3, 4, 4, generator=g), torch.randn(5, 3, 4, 4, generator=g)
    t = torch.tensor([0, 1, 10, 20, 30])
    recovered = schedule.predict_x_0(schedule.add_noise(x_0, noise, t), noise, t)
    assert torch.allclose(recovered, x_0, atol=1e-3)
