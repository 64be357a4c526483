"""Training loops for denoisers and small autoencoders: seeded, resumable, one optimizer step at a time.

A run that is interrupted and resumed from its last checkpoint gives the weights of an uninterrupted one.

Letters: N training items, B batch, C channels, H, W pixels, E context width, T diffusion steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.nn import functional as F

from harness.arrays import Ints
from harness.diffusion.autoencoder import SmallAutoencoder
from harness.diffusion.ema import EMA
from harness.diffusion.schedule import Schedule
from harness.diffusion.weights import load_strict
from harness.errors import DataError, StageError, Stopped
from harness.noise import generator as numpy_generator
from harness.ranks import Ranks

LEARNING_RATE = 1e-4  # Source: IDiff-Face configuration
BATCH_SIZE = 64  # per device. Source: IDiff-Face configuration
FIRST_CYCLE_STEPS = 10_000  # of the cosine schedule with restarts. Source: IDiff-Face configuration
CYCLE_FACTOR = 2  # each cycle is this much longer than the one before. Source: IDiff-Face configuration

Batch = Mapping[str, Tensor]
Loss = Callable[[nn.Module, Batch, torch.Generator], Tensor]
"""Module in training mode, a batch, the generator of this run's noise (on the CPU) -> scalar loss."""


def cosine_restarts(step: int, total: int, *, first_cycle: int = FIRST_CYCLE_STEPS) -> float:
    """Learning rate factor of cosine annealing with warm restarts: 1 at steps 0, 10k, 30k, 70k, down to 0 before.

    Source: SGDR, arXiv 1608.03983; cycle lengths from the IDiff-Face configuration.
    """
    start, length = 0, first_cycle
    while step >= start + length:
        start, length = start + length, length * CYCLE_FACTOR
    return 0.5 * (1.0 + math.cos(math.pi * (step - start) / length))


def cosine_to_zero(step: int, total: int, *, warmup: int = 0) -> float:
    """Learning rate factor: linear warm-up, then one cosine to 0 at ``total`` steps, for short runs."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


@dataclass(frozen=True)
class TrainSettings:
    """How long and how fast to train.

    Attributes:
        steps: optimizer steps.
        batch_size: items per step; items are drawn without replacement, epoch after epoch.
        learning_rate: peak of Adam's learning rate.
        lr_schedule: "cosine-restarts" as published, or "cosine" once to zero.
        warmup: steps of linear warm-up of "cosine".
        dtype: "bfloat16" and "float16" run the network under autocast; weights, loss and optimizer stay float32. With
            "float16", as published, the loss is scaled, and a step that overflows changes nothing but the scale.
        ema: keep an averaged copy of the weights.
        checkpoint_every: steps between checkpoints; 0 writes none.
        log_every: steps between logged losses (means since the last).
        devices: processes that share each batch, see ``harness.ranks``.
    """

    steps: int
    batch_size: int = BATCH_SIZE
    learning_rate: float = LEARNING_RATE
    lr_schedule: Literal["cosine-restarts", "cosine"] = "cosine-restarts"
    warmup: int = 0
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    ema: bool = True
    checkpoint_every: int = 0
    log_every: int = 100
    devices: int = 1

    def lr(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        if self.lr_schedule == "cosine":
            return self.learning_rate * cosine_to_zero(step, self.steps, warmup=self.warmup)
        return self.learning_rate * cosine_restarts(step, self.steps)


@dataclass(frozen=True)
class Hooks:
    """What a training run tells its surroundings. Every default does nothing.

    Attributes:
        on_step: called with the number of finished steps after each.
        log: called with name, value, step.
        save: takes a checkpoint, a flat dictionary of tensors.
        restore: gives the last saved checkpoint, or None to start from the beginning.
        stop_requested: asked before each step; when true, a checkpoint is saved and ``Stopped`` is raised.
    """

    on_step: Callable[[int], None] = lambda step: None
    log: Callable[[str, float, int], None] = lambda name, value, step: None
    save: Callable[[dict[str, Tensor]], None] = lambda state: None
    restore: Callable[[], Mapping[str, Tensor] | None] = lambda: None
    stop_requested: Callable[[], bool] = lambda: False


@dataclass(frozen=True)
class Trained:
    """Result of a run; the module itself holds the raw weights.

    Attributes:
        ema: the averaged weights, or None where they were off.
        losses: (step, mean loss) pairs as logged since the start or the last resumption.
    """

    ema: EMA | None
    losses: list[tuple[int, float]] = field(default_factory=list)


def batch_rows(seed: int, step: int, count: int, batch_size: int) -> Ints:
    """Rows of the batch of a step: consecutive pieces of one seeded permutation of N after another.

    A pure function of its arguments, so resuming needs no state.
    """
    positions = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs, offsets = np.divmod(positions, count)
    rows = np.empty(batch_size, dtype=np.int64)
    for epoch in np.unique(epochs):
        rows[epochs == epoch] = _permutation(seed, int(epoch), count)[offsets[epochs == epoch]]
    return rows


@lru_cache(maxsize=2)  # a batch may span two epochs
def _permutation(seed: int, epoch: int, count: int) -> Ints:
    return numpy_generator(seed, f"training/order/{epoch}").permutation(count)


def denoising_loss(schedule: Schedule) -> Loss:
    """Mean squared error of the predicted noise at uniform steps t, over a batch of "latents" and "contexts".

    Source: DDPM, arXiv 2006.11239, equation 14.
    """

    def loss(model: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        x_0, noise, t = noised(batch["latents"], schedule, generator)
        eps = model(schedule.add_noise(x_0, noise, t), t, batch["contexts"], generator=generator)
        return noise_error(model, eps, noise, schedule.levels(t))

    return loss


def noise_error(model: nn.Module, eps: Tensor, noise: Tensor, level: Tensor) -> Tensor:
    """Mean squared error of the network's own prediction, from its noise estimate.

    For a network that predicts the noise this is the error of the noise; for one that predicts v it is that divided by
    the noise level's ab, since eps - noise = sqrt(ab) (v_predicted - v).

    Args:
        model: a U-Net, or a network that has it as ``unet``.
        eps, noise: [B, C, H, W].
        level: ab at each item's step, [B, 1, 1, 1].
    """
    config = getattr(getattr(model, "unet", model), "config", None)
    scale = level if getattr(config, "prediction", "noise") == "v" else torch.ones_like(level)
    return ((eps.float() - noise).square() / scale).mean()


def noised(x_0: Tensor, schedule: Schedule, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Draw noise like x_0 [B, C, H, W] and uniform steps t [B] on the CPU; returns all three on x_0's device."""
    t = torch.randint(0, schedule.T, (len(x_0),), generator=generator)
    noise = torch.randn(x_0.shape, generator=generator)
    return x_0, noise.to(x_0.device), t.to(x_0.device)


@dataclass
class _State:
    """Everything that changes during a run, and its checkpoint form."""

    module: nn.Module
    optimizer: torch.optim.Adam
    ema: EMA | None
    generator: torch.Generator
    scaler: GradScaler
    ranks: Ranks
    step: int = 0

    def checkpoint(self) -> dict[str, Tensor]:
        state = {"step": torch.tensor(self.step), "generator": self.ranks.gather(self.generator.get_state())}
        state |= {f"raw.{n}": t.detach().clone() for n, t in self.module.state_dict().items()}
        if self.ema is not None:
            state |= {f"ema.{n}": t.clone() for n, t in self.ema.state_dict().items()}
        state |= {f"scaler.{n}": torch.tensor(v) for n, v in self.scaler.state_dict().items()}
        for name, parameter in self.module.named_parameters():
            for key, value in self.optimizer.state[parameter].items():
                state[f"adam.{name}.{key}"] = value.detach().clone()
        return state

    def restore(self, state: Mapping[str, Tensor]) -> None:
        def below(prefix: str) -> dict[str, Tensor]:
            return {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}

        load_strict(self.module, below("raw."), "training checkpoint")
        if self.ema is not None:
            if not below("ema."):
                raise DataError("training checkpoint: no averaged weights, but the settings ask for them")
            self.ema.load_state_dict(below("ema."))
        for name, parameter in self.module.named_parameters():
            keys = ("step", "exp_avg", "exp_avg_sq")
            self.optimizer.state[parameter] = {
                k: state[f"adam.{name}.{k}"].to(parameter.device, copy=True)
                for k in keys
                if f"adam.{name}.{k}" in state
            }
        if self.scaler.is_enabled():
            self.scaler.load_state_dict({n: v.item() for n, v in below("scaler.").items()})
        saved = state["generator"].cpu()  # of every process
        self.generator.set_state(saved[self.ranks.rank].clone() if self.ranks.count > 1 else saved)
        self.step = int(state["step"])


def train(
    module: nn.Module, data: Batch, loss: Loss, settings: TrainSettings, *, seed: int, hooks: Hooks | None = None
) -> Trained:
    """Minimize a loss over data that fits in memory.

    Args:
        module: trained in place, on its own device; left in the mode it came in.
        data: tensors of equal length N; a batch holds the same rows of each, moved to the module's device.
        loss: see ``Loss``.
        settings: length, rates, precision.
        seed: drives the order of items and all noise; the module's initial weights are the caller's.
        hooks: progress, logging, checkpoints, stopping.

    Raises:
        StageError: the loss is not finite.
        Stopped: ``hooks.stop_requested`` said so; a checkpoint was saved.
    """
    hooks = hooks or Hooks()
    count = _count(data)
    optimizer = torch.optim.Adam(module.parameters(), lr=settings.learning_rate, fused=True)
    device = next(module.parameters()).device
    ranks = Ranks(settings.devices, device)
    purpose = f"training/noise/{ranks.rank}" if ranks.rank else "training/noise"
    generator = torch.Generator().manual_seed(int(numpy_generator(seed, purpose).integers(2**62)))
    scaler = GradScaler(device.type, enabled=settings.dtype == "float16")
    state = _State(module, optimizer, EMA(module) if settings.ema else None, generator, scaler, ranks)
    saved = hooks.restore()
    if saved is not None:
        state.restore(saved)
    was_training = module.training
    module.train()
    try:
        losses = list(_steps(state, data, count, loss, settings, seed, hooks))
    finally:
        module.train(was_training)
    return Trained(state.ema, losses)


def _count(data: Batch) -> int:
    lengths = {name: len(tensor) for name, tensor in data.items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        raise ValueError(f"training data needs tensors of one length, at least 1; got {lengths}")
    return next(iter(lengths.values()))


def _steps(
    state: _State, data: Batch, count: int, loss: Loss, settings: TrainSettings, seed: int, hooks: Hooks
) -> Iterator[tuple[int, float]]:
    recent: list[float] = []
    while state.step < settings.steps:
        if state.ranks.mean(float(hooks.stop_requested())) > 0:  # asked of the first process, obeyed by all
            hooks.save(state.checkpoint())
            raise Stopped(f"training stopped after {state.step} of {settings.steps} steps; a checkpoint was kept")
        rows = torch.from_numpy(state.ranks.share(batch_rows(seed, state.step, count, settings.batch_size)))
        recent.append(_one_step(state, {n: t[rows] for n, t in data.items()}, loss, settings))
        hooks.on_step(state.step)
        if state.step % settings.log_every == 0 or state.step == settings.steps:
            mean = sum(recent) / len(recent)
            hooks.log("loss", mean, state.step)
            hooks.log("learning_rate", settings.lr(state.step - 1), state.step)
            yield state.step, mean
            recent.clear()
        if settings.checkpoint_every and state.step % settings.checkpoint_every == 0 and state.step < settings.steps:
            hooks.save(state.checkpoint())


def _one_step(state: _State, batch: Batch, loss: Loss, settings: TrainSettings) -> float:
    device = next(state.module.parameters()).device
    batch = {name: tensor.to(device) for name, tensor in batch.items()}
    for group in state.optimizer.param_groups:
        group["lr"] = settings.lr(state.step)
    with torch.autocast(device.type, getattr(torch, settings.dtype), enabled=settings.dtype != "float32"):
        value = loss(state.module, batch, state.generator)
    number = state.ranks.mean(float(value.detach()))
    # An overflow in float16 is skipped below, and the scale halved; where it is down at 1, it is not at fault.
    if not math.isfinite(number) and state.scaler.get_scale() <= 1.0:
        raise StageError(
            f"training {type(state.module).__name__}: the loss is {number} at step {state.step} "
            f"(learning rate {settings.lr(state.step):.3g}, dtype {settings.dtype}). "
            "Check the training data for values that are not finite, lower the learning rate or use float32."
        )
    state.optimizer.zero_grad(set_to_none=True)
    state.scaler.scale(value).backward()  # type: ignore[no-untyped-call]
    state.ranks.average_gradients(state.module.parameters())
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.step += 1
    if state.ema is not None:
        state.ema.update(state.module)
    return number


def train_denoiser(
    model: nn.Module,
    data: Batch,
    schedule: Schedule,
    settings: TrainSettings,
    *,
    seed: int,
    loss: Loss | None = None,
    hooks: Hooks | None = None,
) -> Trained:
    """Train a noise predictor.

    Args:
        model: called as ``model(x_t, t, contexts, generator=generator)`` by the default loss.
        data: "latents" [N, C, H, W], "contexts" [N, E], and whatever another loss needs.
        schedule: noise levels.
        settings, seed, hooks: as in :func:`train`.
        loss: replaces :func:`denoising_loss`, for example to add terms to it.
    """
    return train(model, data, loss or denoising_loss(schedule), settings, seed=seed, hooks=hooks)


def reconstruction_loss(images: Tensor, decoded: Tensor) -> Tensor:
    """L1 at full and half resolution plus L1 of the differences between neighbors, for images [B, 3, S, S].

    Source: ours; the differences keep edges sharp without a perceptual network.
    """
    value = F.l1_loss(decoded, images) + F.l1_loss(F.avg_pool2d(decoded, 2), F.avg_pool2d(images, 2))
    for dim in (2, 3):
        value = value + F.l1_loss(decoded.diff(dim=dim), images.diff(dim=dim))
    return value


def autoencoder_loss(latent_noise: float) -> Loss:
    """Reconstruction of "images" from latents disturbed by Gaussian noise of this standard deviation."""

    def loss(model: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        assert isinstance(model, SmallAutoencoder)
        images = to_float(batch["images"])
        side = images.shape[-1] // 4
        noise = torch.randn(len(images), model.config.latent_channels, side, side, generator=generator)
        return reconstruction_loss(images, model.reconstruct_for_training(images, latent_noise * noise.to(images)))

    return loss


def to_float(images: Tensor) -> Tensor:
    """uint8 images to float in [-1, 1]; float images pass."""
    return images.float() / 127.5 - 1.0 if images.dtype == torch.uint8 else images


LATENT_NOISE = 0.05  # in units of the latents' standard deviation. Source: ours


def train_autoencoder(
    model: SmallAutoencoder,
    images: Tensor,
    settings: TrainSettings,
    *,
    seed: int,
    latent_noise: float = LATENT_NOISE,
    hooks: Hooks | None = None,
) -> Trained:
    """Train a small autoencoder and store the statistics of its latents.

    Args:
        model: trained in place; afterwards it holds the averaged weights where ``settings.ema`` is on.
        images: [N, 3, S, S], uint8 or float in [-1, 1].
        settings, seed, hooks: as in :func:`train`.
        latent_noise: noise on the latents in training, so that decoding forgives small errors of the denoiser.
    """
    result = train(model, {"images": images}, autoencoder_loss(latent_noise), settings, seed=seed, hooks=hooks)
    if result.ema is not None:
        model.load_state_dict(result.ema.weights())
    device = next(model.parameters()).device
    sample = to_float(images[: 16 * settings.batch_size]).to(device)
    model.fit_standardization(sample)
    return result
