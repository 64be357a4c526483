from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from harness.diffusion.autoencoder import SmallAutoencoder, SmallConfig
from harness.diffusion.schedule import linear_schedule
from harness.diffusion.training import (
    Batch,
    Hooks,
    Loss,
    TrainSettings,
    batch_rows,
    denoising_loss,
    noised,
    train,
    train_autoencoder,
    train_denoiser,
)
from harness.diffusion.unet import ConditionalUNet, UNetConfig
from harness.errors import DataError, StageError, Stopped

SCHEDULE = linear_schedule(40)
CONFIG = UNetConfig(
    input_channels=2,
    initial_channels=32,
    channel_multipliers=(1,),
    is_attention=(True,),
    n_blocks_per_resolution=1,
    context_input_channels=8,
    context_channels=32,
    context_tokens=2,
    whole_context_dropout_probability=0.1,
)
SHORT = TrainSettings(steps=12, batch_size=4, learning_rate=1e-3, lr_schedule="cosine", log_every=5)


def make() -> ConditionalUNet:
    torch.manual_seed(0)
    return ConditionalUNet(CONFIG)


def data(count: int = 10) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(1)
    return {"latents": torch.randn(count, 2, 4, 4, generator=g), "contexts": torch.randn(count, 8, generator=g)}


def run(settings: TrainSettings = SHORT, *, seed: int = 0, hooks: Hooks | None = None) -> dict[str, Tensor]:
    """Raw and averaged weights after a run."""
    model = make()
    trained = train_denoiser(model, data(), SCHEDULE, settings, seed=seed, hooks=hooks)
    assert trained.ema is not None
    return {**{f"raw.{n}": t for n, t in model.state_dict().items()}, **trained.ema.weights()}


def same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)


@pytest.mark.parametrize(
    ("step", "lr"), [(0, 1e-4), (5_000, 5e-5), (10_000, 1e-4), (30_000, 1e-4), (70_000, 1e-4), (110_000, 5e-5)]
)
def test_published_learning_rates(step: int, lr: float) -> None:
    assert TrainSettings(steps=150_000).lr(step) == pytest.approx(lr, rel=1e-12)


def test_the_published_length_ends_a_cycle() -> None:
    assert 0.0 <= TrainSettings(steps=150_000).lr(149_999) < 1e-12
    assert TrainSettings(steps=150_000).lr(9_999) < 1e-11


def test_plain_cosine_warms_up_and_ends_at_zero() -> None:
    settings = TrainSettings(steps=100, learning_rate=2.0, lr_schedule="cosine", warmup=10)
    assert settings.lr(0) == pytest.approx(0.2)
    assert settings.lr(10) == pytest.approx(2.0)
    assert settings.lr(55) == pytest.approx(1.0)
    assert settings.lr(99) < 1e-3


def test_every_item_comes_once_per_epoch() -> None:
    rows = np.concatenate([batch_rows(0, step, 10, 4) for step in range(5)])  # two epochs, one batch across both
    assert sorted(rows[:10]) == sorted(rows[10:]) == list(range(10))
    assert list(rows[:10]) != list(rows[10:])
    assert not np.array_equal(batch_rows(0, 0, 1000, 64), batch_rows(1, 0, 1000, 64))


def test_batches_may_exceed_the_data() -> None:
    assert np.bincount(batch_rows(0, 0, 3, 7), minlength=3).tolist() in ([3, 2, 2], [2, 3, 2], [2, 2, 3])


def test_runs_repeat_and_follow_the_seed() -> None:
    first = run()
    assert same(first, run())
    assert not same(first, run(seed=1))


def test_training_ignores_and_keeps_the_global_generator() -> None:
    first = run()
    torch.manual_seed(99)
    model = make()
    torch.manual_seed(99)
    before = torch.get_rng_state()
    train_denoiser(model, data(), SCHEDULE, SHORT, seed=0)
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(t, first[f"raw.{n}"]) for n, t in model.state_dict().items())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_resumed_equals_uninterrupted(dtype: str) -> None:
    settings = replace(SHORT, dtype=dtype, checkpoint_every=4)  # type: ignore[arg-type]
    saved: list[dict[str, Tensor]] = []
    steps = 0

    def count(step: int) -> None:
        nonlocal steps
        steps = step

    with pytest.raises(Stopped, match="after 7 of 12 steps"):
        run(settings, hooks=Hooks(on_step=count, save=saved.append, stop_requested=lambda: steps == 7))
    assert [int(s["step"]) for s in saved] == [4, 7]
    whole = run(settings)
    for checkpoint in saved:
        assert all(isinstance(t, Tensor) for t in checkpoint.values())
        assert same(run(settings, hooks=Hooks(restore=lambda c=checkpoint: c)), whole)


def test_the_average_is_not_the_raw_weights() -> None:
    weights = run()
    assert not torch.equal(weights["final.weight"], weights["raw.final.weight"])


def test_hooks_and_losses() -> None:
    steps: list[int] = []
    logged: list[tuple[str, int]] = []
    model = make().eval()
    hooks = Hooks(on_step=steps.append, log=lambda name, value, step: logged.append((name, step)))
    trained = train_denoiser(model, data(), SCHEDULE, replace(SHORT, ema=False), seed=0, hooks=hooks)
    assert steps == list(range(1, 13))
    assert [step for step, _ in trained.losses] == [5, 10, 12]
    assert [step for name, step in logged if name == "loss"] == [5, 10, 12]
    assert trained.ema is None
    assert not model.training, "the mode it came in"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_training_learns(dtype: str) -> None:
    settings = replace(SHORT, steps=50, batch_size=8, learning_rate=4e-3, dtype=dtype, log_every=10)  # type: ignore[arg-type]
    flat = {"latents": torch.ones(8, 2, 4, 4), "contexts": torch.ones(8, 8)}
    losses = train_denoiser(make(), flat, SCHEDULE, settings, seed=0).losses
    assert losses[0][1] > 0.5
    assert losses[-1][1] < 0.7 * losses[0][1]


def test_a_step_in_float16_whose_gradients_overflow_changes_nothing() -> None:
    saved: list[dict[str, Tensor]] = []

    def loss(model: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        calls.append(1)
        assert isinstance(model, ConditionalUNet)
        return model.final.bias.float().sum() * (1e36 if len(calls) == 1 else 1e-3)  # type: ignore[union-attr]

    calls: list[int] = []
    settings = replace(SHORT, steps=3, dtype="float16", checkpoint_every=1)
    model, start = make(), make().state_dict()
    train(model, data(), loss, settings, seed=0, hooks=Hooks(save=saved.append))
    first, second = ({n[4:]: t for n, t in state.items() if n.startswith("raw.")} for state in saved)
    assert all(torch.equal(first[name], start[name]) for name in start)
    assert any(not torch.equal(second[name], start[name]) for name in start)
    assert float(saved[0]["scaler.scale"]) < 2.0**16, "the scale is lowered after an overflow, and is kept"


def overflowing(calls_until_finite: float) -> Loss:
    calls: list[int] = []

    def loss(model: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        calls.append(1)
        assert isinstance(model, ConditionalUNet)
        value: Tensor = model.final.bias.float().sum()  # type: ignore[union-attr]
        return value * (float("inf") if len(calls) <= calls_until_finite else 1e-3)

    return loss


def test_a_loss_that_overflows_in_float16_is_skipped_until_the_scale_is_not_to_blame() -> None:
    settings = replace(SHORT, steps=4, dtype="float16")
    model, start = make(), make().state_dict()
    train(model, data(), overflowing(2), settings, seed=0)
    assert any(not torch.equal(tensor, start[name]) for name, tensor in model.state_dict().items())
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())
    with pytest.raises(StageError, match="the loss is nan at step 16"):
        train(make(), data(), overflowing(math.inf), replace(settings, steps=40), seed=0)


def test_another_loss_sees_the_model_the_batch_and_the_generator() -> None:
    seen: list[set[str]] = []

    def loss(model: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        seen.append(set(batch))
        assert model.training
        x_0, noise, t = noised(batch["latents"], SCHEDULE, generator)
        assert torch.equal(batch["latents"][:, 0, 0, 0], batch["marks"]), "rows stay together"
        eps = model(SCHEDULE.add_noise(x_0, noise, t), t, batch["contexts"], generator=generator)
        return (eps - noise).square().mean()

    tensors = data()
    tensors["marks"] = tensors["latents"][:, 0, 0, 0]
    ours, default = make(), make()
    train_denoiser(ours, tensors, SCHEDULE, SHORT, seed=0, loss=loss)
    train_denoiser(default, data(), SCHEDULE, SHORT, seed=0)
    assert seen == [{"latents", "contexts", "marks"}] * 12
    assert same(ours.state_dict(), default.state_dict())


def test_the_default_loss_is_the_formula() -> None:
    # an untrained network answers 0, so the loss is the mean square of the noise
    batch, g = data(4), torch.Generator()
    loss = denoising_loss(SCHEDULE)(make(), batch, g.manual_seed(3))
    _, noise, t = noised(batch["latents"], SCHEDULE, g.manual_seed(3))
    assert loss.item() == pytest.approx(float(noise.square().mean()))
    assert int(t.min()) >= 0
    assert int(t.max()) < 40


def test_a_loss_that_is_not_finite_stops_with_a_reason() -> None:
    bad = data()
    bad["latents"][3] = math.nan
    with pytest.raises(StageError, match=r"ConditionalUNet: the loss is nan at step \d"):
        train_denoiser(make(), bad, SCHEDULE, SHORT, seed=0)


def test_a_checkpoint_of_another_run_is_refused() -> None:
    saved: list[dict[str, Tensor]] = []
    run(replace(SHORT, checkpoint_every=4), hooks=Hooks(save=saved.append))
    other = {n: t for n, t in saved[0].items() if n != "raw.final.bias"}
    with pytest.raises(DataError, match=r"training checkpoint: .*missing final.bias"):
        run(hooks=Hooks(restore=lambda: other))
    other = {n: t for n, t in saved[0].items() if not n.startswith("ema.")}
    with pytest.raises(DataError, match="no averaged weights"):
        run(hooks=Hooks(restore=lambda: other))


def test_data_of_different_lengths_is_refused() -> None:
    with pytest.raises(ValueError, match="one length"):
        train(
            make(),
            {"latents": torch.zeros(2, 1), "contexts": torch.zeros(3, 1)},
            denoising_loss(SCHEDULE),
            SHORT,
            seed=0,
        )


def test_the_autoencoder_learns_and_its_latents_are_standardized() -> None:
    torch.manual_seed(0)
    model = SmallAutoencoder(SmallConfig(latent_channels=4, width=16, inner_width=32))
    g = torch.Generator().manual_seed(2)
    colors = torch.randint(0, 256, (64, 3, 1, 1), generator=g, dtype=torch.uint8)
    settings = TrainSettings(
        steps=120, batch_size=16, learning_rate=5e-3, lr_schedule="cosine", log_every=20, dtype="float32"
    )
    trained = train_autoencoder(model, colors.expand(-1, -1, 16, 16), settings, seed=0)
    assert trained.losses[-1][1] < 0.5 * trained.losses[0][1]
    x = colors.expand(-1, -1, 16, 16).float() / 127.5 - 1.0
    with torch.no_grad():
        z = model.encode(x)
        assert torch.allclose(z.mean(dim=(0, 2, 3)), torch.zeros(4), atol=1e-3)
        assert torch.allclose(z.std(dim=(0, 2, 3)), torch.ones(4), atol=1e-2)
        assert float((model.decode(z) - x).abs().mean()) < 0.35
