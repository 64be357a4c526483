from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from harness.diffusion.guidance import adaptive, reverse_adaptive, with_negative
from harness.diffusion.samplers import OWN_SPACING, SAMPLERS, SPACINGS, Denoiser, bind
from harness.diffusion.schedule import Schedule, linear_schedule, spaced_steps
from harness.diffusion.unet import ConditionalUNet, UNetConfig

T = 40
SCHEDULE = linear_schedule(T)


def no_noise(t: int) -> Tensor:
    raise AssertionError("a deterministic sampler asked for noise")


def noise_like(x: Tensor, seed: int = 0):  # type: ignore[no-untyped-def]
    """Noise that depends on the step alone."""
    return lambda t: torch.randn(x.shape, generator=torch.Generator().manual_seed(1000 * seed + t))


def draw(seed: int = 0, batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, 4, 4, generator=torch.Generator().manual_seed(seed))


def oracle(x_0: Tensor, schedule: Schedule) -> Denoiser:
    """The noise that x_t holds if its clean image is x_0."""

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        level = schedule.levels(t)
        return (x_t - level.sqrt() * x_0) / (1.0 - level).sqrt()

    return denoise


@pytest.mark.parametrize("steps", [40, 10, 12, 7, 1])
@pytest.mark.parametrize("name", sorted(set(SAMPLERS) - {"ddpm"}))
def test_samplers_return_the_oracles_image(name: str, steps: int) -> None:
    x_0, x_T = draw(1), draw(2)
    noise = noise_like(x_T) if name == "dpm-solver++-sde" else no_noise
    out = SAMPLERS[name](oracle(x_0, SCHEDULE), x_T, SCHEDULE, steps=steps, noise=noise)
    assert torch.allclose(out, x_0, atol=1e-5)


def _level_mismatch(steps: int, *, quirks: bool) -> float:
    """Largest gap between the noise that a step leaves and the noise that the next step assumes."""
    first = spaced_steps(T, steps)[-1]
    x_T = torch.full((1, 1, 1, 1), (1.0 - SCHEDULE.alpha_bar(first)) ** 0.5)  # x_0 = 0, noise = 1: x_t is the level
    gaps: list[float] = []

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        gaps.append(abs(x_t.item() - (1.0 - SCHEDULE.alpha_bar(int(t))) ** 0.5))
        return torch.ones_like(x_t)

    SAMPLERS["ddim"](denoise, x_T, SCHEDULE, steps=steps, noise=no_noise, reference_quirks=quirks)
    return max(gaps)


@pytest.mark.parametrize("steps", [40, 10, 12, 7])
def test_ddim_noise_levels_fit_together(steps: int) -> None:
    assert _level_mismatch(steps, quirks=False) < 1e-6


def test_the_reference_ddim_has_the_off_by_one() -> None:
    assert _level_mismatch(10, quirks=True) > 1e-3


@pytest.mark.parametrize("steps", [40, 10, 12])
def test_ddpm_returns_the_oracles_image(steps: int) -> None:
    x_0, x_T = draw(1), draw(2)
    out = SAMPLERS["ddpm"](oracle(x_0, SCHEDULE), x_T, SCHEDULE, steps=steps, noise=noise_like(x_T))
    assert torch.allclose(out, x_0, atol=1e-4)


@pytest.mark.parametrize("steps", [40, 8])
def test_ddpm_keeps_the_variance_of_a_gaussian(steps: int) -> None:
    # data N(0, 1): x_t is N(0, 1) at every level and E[noise | x_t] = sqrt(1 - ab) x_t
    x_T = torch.randn(1, 1, 200, 200, generator=torch.Generator().manual_seed(0))

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        return (1.0 - SCHEDULE.levels(t)).sqrt() * x_t

    out = SAMPLERS["ddpm"](denoise, x_T, SCHEDULE, steps=steps, noise=noise_like(x_T))
    # the larger variance beta makes the result somewhat too wide
    assert 0.98 < float(out.var()) < 1.35


def _asked(name: str, **options: object) -> list[int]:
    asked: list[int] = []

    def noise(t: int) -> Tensor:
        asked.append(t)
        return torch.zeros(1, 3, 4, 4)

    SAMPLERS[name](lambda x, t: x, draw(0, 1), SCHEDULE, noise=noise, **options)  # type: ignore[arg-type]
    return asked


def test_which_steps_draw_noise() -> None:
    assert _asked("ddpm", steps=T) == list(range(39, 0, -1)), "every t >= 1"
    assert _asked("ddpm", steps=T, reference_quirks=True) == list(range(39, 1, -1)), "the reference: every t >= 2"
    assert _asked("ddim", steps=10) == []
    assert _asked("ddim", steps=10, eta=1.0) == list(range(36, 0, -4))
    assert _asked("dpm-solver++-sde", steps=10) == list(reversed(SPACINGS["log-snr"](SCHEDULE, 10)))[:-1]
    assert _asked("unipc", steps=10) == _asked("heun", steps=10) == []


def test_ddim_eta_1_matches_the_smaller_ddpm_variance() -> None:
    x_T, t = draw(3), 39
    g = noise_like(x_T)
    denoise: Denoiser = lambda x, t: 0.1 * x  # noqa: E731
    steps: dict[float, Tensor] = {}
    for eta in (0.0, 1.0):
        first: list[Tensor] = []
        SAMPLERS["ddim"](denoise, x_T, SCHEDULE, steps=T, noise=g, eta=eta, on_step=lambda t, x, f=first: f.append(x))
        steps[eta] = first[0]
    level, prev = SCHEDULE.alpha_bar(t), SCHEDULE.alpha_bar(t - 1)
    sigma = ((1 - prev) / (1 - level) * float(SCHEDULE.betas[t])) ** 0.5
    shift = ((1 - prev - sigma**2) ** 0.5 - (1 - prev) ** 0.5) * 0.1 * x_T
    assert torch.allclose(steps[1.0] - steps[0.0], sigma * g(t) + shift, atol=1e-5)


def test_quirks_refuse_what_the_reference_cannot_do() -> None:
    with pytest.raises(ValueError, match="divides T = 40, got 12"):
        SAMPLERS["ddim"](lambda x, t: x, draw(), SCHEDULE, steps=12, noise=no_noise, reference_quirks=True)
    with pytest.raises(ValueError, match="takes all T = 40"):
        SAMPLERS["ddpm"](lambda x, t: x, draw(), SCHEDULE, steps=10, noise=no_noise, reference_quirks=True)


@pytest.mark.parametrize("name", SAMPLERS)
def test_on_step_sees_every_step_and_t_is_the_true_index(name: str) -> None:
    seen: list[int] = []
    given: list[int] = []

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        assert t.shape == (len(x),)
        given.append(int(t[0]))
        return x

    SAMPLERS[name](denoise, draw(), SCHEDULE, steps=12, noise=noise_like(draw()), on_step=lambda t, x: seen.append(t))
    visited = list(reversed(SPACINGS[OWN_SPACING[name]](SCHEDULE, 12)))
    assert seen == visited
    there = [t for pair in pairwise(visited) for t in pair]  # heun: here and at the next step
    assert given == ([*there, visited[-1]] if name == "heun" else visited)


@pytest.fixture
def unet() -> ConditionalUNet:
    torch.manual_seed(0)
    config = UNetConfig(
        initial_channels=32,
        channel_multipliers=(1,),
        is_attention=(True,),
        n_blocks_per_resolution=1,
        context_input_channels=8,
        context_channels=32,
        context_tokens=2,
    )
    model = ConditionalUNet(config).eval()
    for parameter in model.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    return model


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers_leave_the_mode_alone(unet: ConditionalUNet, name: str, training: bool) -> None:
    unet.train(training)
    SAMPLERS[name](bind(unet, torch.randn(2, 8)), draw(), SCHEDULE, steps=2, noise=noise_like(draw()))
    assert all(module.training is training for module in unet.modules())


@pytest.mark.parametrize("name", SAMPLERS)
def test_batches_do_not_change_images(unet: ConditionalUNet, name: str) -> None:
    x_T, context = draw(5, 4), torch.randn(4, 8, generator=torch.Generator().manual_seed(6))
    g = noise_like(x_T)
    whole = SAMPLERS[name](bind(unet, context), x_T, SCHEDULE, steps=8, noise=g)
    parts = [
        SAMPLERS[name](bind(unet, context[s]), x_T[s], SCHEDULE, steps=8, noise=lambda t, s=s: g(t)[s])
        for s in (slice(0, 1), slice(1, 4))
    ]
    assert float((whole - torch.cat(parts)).abs().max()) <= 1e-5 * float(whole.abs().max())


@pytest.mark.parametrize("w", [0.25, 0.5, 3.0])
def test_negative_equal_to_positive_changes_nothing(unet: ConditionalUNet, w: float) -> None:
    x, t, p = draw(7), torch.tensor([5, 30]), torch.randn(2, 8)
    with torch.no_grad():
        plain = unet(x, t, p)
        guided = with_negative(unet, p, w)(x, t, p)
    assert torch.allclose(guided, plain, atol=1e-5 * (1 + 2 * w))


def test_weight_zero_is_the_baseline(unet: ConditionalUNet) -> None:
    assert with_negative(unet, torch.randn(2, 8), 0.0) is unet


def test_guidance_is_the_formula_and_one_call(unet: ConditionalUNet) -> None:
    x, t, p, n = draw(9), torch.tensor([3, 3]), torch.randn(2, 8), torch.randn(2, 8)
    sizes: list[int] = []

    def denoise(x_t: Tensor, t: Tensor, context: object) -> Tensor:
        sizes.append(len(x_t))
        return unet(x_t, t, context)  # type: ignore[arg-type, no-any-return]

    with torch.no_grad():
        expected = 1.5 * unet(x, t, p) - 0.5 * unet(x, t, n)
        assert torch.allclose(with_negative(denoise, n, 0.5)(x, t, p), expected, atol=1e-5)
        once = with_negative(denoise, unet.contextualize(n), 0.5)
        for context in (p, n, p):  # another context must not meet what was joined for the one before
            expected = 1.5 * unet(x, t, context) - 0.5 * unet(x, t, n)
            assert torch.allclose(once(x, t, unet.contextualize(context)), expected, atol=1e-5)
    assert sizes == [4, 4, 4, 4]


def test_outside_of_the_interval_there_is_one_prediction(unet: ConditionalUNet) -> None:
    """Counted in images per network call, and the numbers are those of the plain and of the guided model."""
    x, p, n = draw(9), torch.randn(2, 8), torch.randn(2, 8)
    sizes: list[int] = []

    def denoise(x_t: Tensor, t: Tensor, context: object) -> Tensor:
        sizes.append(len(x_t))
        return unet(x_t, t, context)  # type: ignore[arg-type, no-any-return]

    limited, everywhere = with_negative(denoise, n, 0.5, (10, 20)), with_negative(denoise, n, 0.5)
    with torch.no_grad():
        for step, steered in ((9, False), (10, True), (20, True), (21, False)):
            t = torch.full((2,), step)
            expected = everywhere(x, t, p) if steered else denoise(x, t, p)
            assert torch.equal(limited(x, t, p), expected)
    assert sizes == [2, 2, 4, 4, 4, 4, 2, 2]


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_limited_interval_saves_its_share_of_the_work(unet: ConditionalUNet, name: str) -> None:
    images: dict[int, int] = {}

    def denoise(x_t: Tensor, t: Tensor, context: object) -> Tensor:
        images[int(t[0])] = images.get(int(t[0]), 0) + len(x_t)
        return unet(x_t, t, context)  # type: ignore[arg-type, no-any-return]

    def work(interval: tuple[int, int] | None) -> dict[int, int]:
        images.clear()
        guided = with_negative(denoise, torch.randn(2, 8), 0.5, interval)
        SAMPLERS[name](bind(guided, torch.randn(2, 8)), draw(), SCHEDULE, steps=12, noise=noise_like(draw()))
        return dict(images)

    everywhere, limited = work(None), work((10, 20))
    assert limited == {t: count if 10 <= t <= 20 else count // 2 for t, count in everywhere.items()}
    assert 0 < sum(limited.values()) < 0.8 * sum(everywhere.values())


def test_guidance_refuses_nonsense(unet: ConditionalUNet) -> None:
    with pytest.raises(ValueError, match="at least 0"):
        with_negative(unet, torch.zeros(2, 8), -0.5)
    with pytest.raises(TypeError, match="both"):
        with_negative(unet, torch.zeros(2, 8), 0.5)(
            draw(), torch.zeros(2).long(), unet.contextualize(torch.zeros(2, 8))
        )


def test_adaptive_weights() -> None:
    t = torch.tensor([999, 0])
    forward, reverse = adaptive(2.0, 1000), reverse_adaptive(2.0, 1000)
    assert callable(forward)
    assert callable(reverse)
    assert torch.allclose(forward(t), torch.tensor([0.002, 2.0]))
    assert torch.allclose(reverse(t), torch.tensor([1.998, 0.0]))
