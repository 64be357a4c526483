"""A whole latent diffusion model: first stage, denoiser and noise schedule as one artifact, fitted and sampled.

What IDiff-Face fits, NegFaceDiff samples from and ID3 builds on. It travels as a :class:`harness.components.Model` of
kind ``latent-diffusion/1``: tensors under ``unet.`` and ``first_stage.``, plain settings to rebuild them from.

Letters: N images, B batch, S image side, C, H, W latent channels, height and width, E context width, T steps.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from harness.components.data import Floats, Images, Model, SamplePlan
from harness.diffusion.autoencoder import PixelStage, SmallAutoencoder, SmallConfig, VQAutoencoder, VQConfig
from harness.diffusion.samplers import SAMPLERS, Denoiser, bind
from harness.diffusion.schedule import Schedule, linear_schedule
from harness.diffusion.settings import LatentFitSettings, LatentSampleSettings
from harness.diffusion.training import (
    Batch,
    Hooks,
    Loss,
    TrainSettings,
    denoising_loss,
    train_autoencoder,
    train_denoiser,
)
from harness.diffusion.unet import DEMO_CONFIG, PUBLISHED_CONFIG, ConditionalUNet, Contextualised, UNetConfig
from harness.diffusion.weights import load_strict, take_prefix
from harness.faces.coding import contact_sheet, from_unit, to_unit

if TYPE_CHECKING:
    from harness.components.recognizer import Recognizer
    from harness.components.run import Run
    from harness.faces.faceset import FaceSet

KIND = "latent-diffusion/1"
UNET, FIRST_STAGE = "unet.", "first_stage."
AnyStage = SmallAutoencoder | PixelStage | VQAutoencoder
# The ones that are fitted here; the published VQ-f4 is imported.
FIRST_STAGES: dict[str, dict[str, Any]] = {"small": {"kind": "small"}, "pixel": {"kind": "pixel", "unshuffle": 2}}
CHECKPOINTS = 20  # over each training, and more of a long one:
CHECKPOINT_STEPS = 1000  # the most steps that a killed fit does again
PREPARE_BATCH = 256  # images encoded and embedded at once
WARMUP_STEPS = 100  # of the learning rate schedule "cosine"
PREVIEW = 4  # identities, and images of each, in the pictures that a fit leaves at its checkpoints
_MIRRORED = "mirrored/"  # before the name of a training column: that column of the mirrored images
PREVIEW_SAMPLING = LatentSampleSettings.model_validate({"sampler": "dpm-solver++", "steps": 10})


@dataclass(frozen=True)
class LatentDiffusion:
    """The parts, on one device, in evaluation mode."""

    unet: ConditionalUNet
    first_stage: AnyStage
    schedule: Schedule
    size_px: int

    @classmethod
    def from_model(cls, model: Model, device: str = "cpu", dtype: str = "float32") -> LatentDiffusion:
        """Rebuild the parts from an artifact.

        Args:
            dtype: of the denoiser; first stage, noise levels and the samplers' arithmetic stay float32.

        Raises:
            DataError: tensors do not fit the settings.
        """
        settings = model.settings
        with torch.device("meta"):
            unet = ConditionalUNet(UNetConfig.from_dict(settings["unet"]))
        load_strict(unet, take_prefix(model.tensors, UNET), "model")
        unet.to(device, getattr(torch, dtype)).eval().requires_grad_(False)
        schedule = linear_schedule(settings["T"])
        return cls(unet, load_first_stage(model, device), schedule, settings["size_px"])

    def settings(self) -> dict[str, Any]:
        """Plain values from which :meth:`from_model` rebuilds the parts."""
        if isinstance(self.first_stage, PixelStage):
            stage: dict[str, Any] = {"kind": "pixel", "unshuffle": self.first_stage.unshuffle}
        else:
            kind = "vq" if isinstance(self.first_stage, VQAutoencoder) else "small"
            stage = {"kind": kind, **_plain(self.first_stage.config)}
        return {"unet": _plain(self.unet.config), "first_stage": stage, "T": self.schedule.T, "size_px": self.size_px}

    def tensors(self, weights: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
        """The tensors of an artifact.

        Args:
            weights: of the denoiser and whatever a method adds, by their names in the artifact.
            dtype: of the floating point tensors on disk.
        """
        stage = {f"{FIRST_STAGE}{name}": tensor for name, tensor in self.first_stage.state_dict().items()}
        both = {**weights, **stage}
        return {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in both.items()}

    @cached_property
    def latent_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        with torch.no_grad():
            device = next(self.unet.parameters()).device
            z = self.first_stage.encode(torch.zeros(1, 3, self.size_px, self.size_px, device=device))
        return int(z.shape[1]), int(z.shape[2]), int(z.shape[3])


def _plain(config: UNetConfig | SmallConfig | VQConfig) -> dict[str, Any]:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(config).items()}


def build_first_stage(settings: Mapping[str, Any]) -> AnyStage:
    """A first stage from its plain settings."""
    values = dict(settings)
    kind = values.pop("kind")
    if kind == "vq":
        return VQAutoencoder(VQConfig.from_dict(values))
    return PixelStage(**values) if kind == "pixel" else SmallAutoencoder(SmallConfig(**values))


def load_first_stage(model: Model, device: str = "cpu") -> AnyStage:
    """The first stage of an artifact, frozen.

    Raises:
        DataError: tensors do not fit the settings.
    """
    with torch.device("meta"):
        stage = build_first_stage(model.settings["first_stage"])
    load_strict(stage, take_prefix(model.tensors, FIRST_STAGE), "model")
    return stage.to(device).eval().requires_grad_(False)


@dataclass(frozen=True)
class Prepared:
    """A source ready to fit a denoiser on: latents [N, C, H, W], those of the mirrored images, contexts [N, E]."""

    first_stage: AnyStage
    latents: Tensor
    mirrored: Tensor
    contexts: Tensor


def prepare(
    source: FaceSet,
    recognizer: Recognizer | None,
    run: Run,
    settings: LatentFitSettings,
    saved: dict[str, Any],
    first_stage: Model | None = None,
) -> Prepared:
    """Fit the first stage, or take it over from a model, and turn a source into latents and contexts.

    The context of an image is the unit-norm embedding of the raw, unmirrored image; without a recognizer it is a
    single zero.

    Args:
        saved: the run's checkpoint so far, which this function reads and extends: ``{"first_stage": ...}``.
        first_stage: a model whose first stage is used as it is.
    """
    if first_stage is not None:
        stage = load_first_stage(first_stage, run.device)
    else:
        stage = _fit_first_stage(source, run, settings, saved)
    progress = run.progress(len(source), "encoded images")
    latents, mirrored, contexts = [], [], []
    for batch in source.batches(PREPARE_BATCH):  # a published source does not fit in memory as floats
        pixels = to_unit(batch.images, settings.size_px).to(run.device)
        with torch.no_grad():
            latents.append(stage.encode(pixels).cpu())
            mirrored.append(stage.encode(pixels.flip(3)).cpu())
        if recognizer is None:
            contexts.append(torch.zeros(len(batch), 1))
        else:
            embeddings = recognizer.embed(batch.images)
            contexts.append(torch.from_numpy(embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)))
        progress.advance(len(batch))
    return Prepared(stage, torch.cat(latents), torch.cat(mirrored), torch.cat(contexts))


def _fit_first_stage(source: FaceSet, run: Run, settings: LatentFitSettings, saved: dict[str, Any]) -> AnyStage:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(run.generator("first-stage-weights").integers(2**62)))
        stage = build_first_stage(FIRST_STAGES[settings.first_stage]).to(run.device)
    if isinstance(stage, SmallAutoencoder):
        if "first_stage" in saved:
            load_strict(stage, saved["first_stage"], "checkpoint")
        else:
            train = _autoencoder_training(settings)
            hooks = _hooks(run, train.steps, saved, "autoencoder")
            train_autoencoder(stage, _levels(source, settings.size_px), train, seed=run.seed, hooks=hooks)
            saved.pop("autoencoder", None)
            saved["first_stage"] = stage.state_dict()
    return stage.eval().requires_grad_(False)


def _autoencoder_training(settings: LatentFitSettings) -> TrainSettings:
    steps = settings.autoencoder_steps
    return TrainSettings(
        steps=steps,
        batch_size=64,
        learning_rate=2e-3,
        lr_schedule="cosine",
        warmup=min(WARMUP_STEPS, steps // 10),
        dtype=settings.dtype,
        checkpoint_every=_checkpoint_every(steps),
        devices=settings.devices,
    )


def _checkpoint_every(steps: int) -> int:
    return min(max(1, steps // CHECKPOINTS), CHECKPOINT_STEPS)


def _levels(source: FaceSet, size_px: int) -> Tensor:
    """All images of a source at this size, uint8 [N, 3, S, S]."""
    levels = np.empty((len(source), 3, size_px, size_px), np.uint8)
    done = 0
    for batch in source.batches(PREPARE_BATCH):
        levels[done : done + len(batch)] = from_unit(to_unit(batch.images, size_px)).transpose(0, 3, 1, 2)
        done += len(batch)
    return torch.from_numpy(levels)


def _hooks(
    run: Run, steps: int, saved: dict[str, Any], name: str, preview: Callable[[int], None] = lambda step: None
) -> Hooks:
    """Connect a training loop to the run: progress, curves, stopping, and a checkpoint under its own name.

    ``preview`` is called with the number of finished steps at every checkpoint.
    """
    progress = run.progress(steps, f"{name} steps")

    def on_step(step: int) -> None:
        progress.advance(step - progress.done)

    def save(state: dict[str, Tensor]) -> None:
        saved[name] = state
        run.checkpoint.save(saved)
        preview(int(state["step"]))

    return Hooks(
        on_step=on_step,
        log=lambda what, value, step: run.log(f"{name}/{what}", value, step),
        save=save,
        restore=lambda: saved.get(name),
        stop_requested=lambda: run.stop_requested,
    )


def fit_latent_diffusion(
    source: FaceSet,
    recognizer: Recognizer | None,
    run: Run,
    settings: LatentFitSettings,
    *,
    cpd: float,
    network: Callable[[UNetConfig], nn.Module] | None = None,
    extra: Mapping[str, Tensor] | None = None,
    mirrored_extra: Mapping[str, Tensor] | None = None,
    loss: Callable[[Prepared, Schedule], Loss] | None = None,
    first_stage: Model | None = None,
) -> tuple[LatentDiffusion, dict[str, Tensor]]:
    """Fit the first stage, then a denoiser, from the run's checkpoint on.

    Args:
        recognizer: gives the contexts; None fits an unconditional model, which never sees one.
        settings: size, length and rates.
        cpd: contextual partial dropout, the chance per context component.
        network: builds what is trained around a U-Net of the given size; it has the U-Net as ``unet``. Default: the
            U-Net itself.
        extra: further columns of the training data, N rows each.
        mirrored_extra: what those columns are for the mirrored images, where it is something else.
        loss: replaces the plain denoising loss.
        first_stage: a model whose first stage is used as it is, such as an imported one with VQ-f4.

    Returns:
        the parts, and the weights that ``settings.keep`` asks for, by name within the trained network.
    """
    saved = run.checkpoint.load() or {}
    data = prepare(source, recognizer, run, settings, saved, first_stage)
    schedule = linear_schedule()
    base = DEMO_CONFIG if settings.network == "demo" else PUBLISHED_CONFIG
    config = dataclasses.replace(
        base,
        input_channels=data.latents.shape[1],
        context_input_channels=data.contexts.shape[1],
        context_dropout_probability=cpd,
        # As published, a conditional model never sees an empty context.
        whole_context_dropout_probability=1.0 if recognizer is None else 0.0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(run.generator("denoiser-weights").integers(2**62)))
        module = (network or ConditionalUNet)(config).to(run.device)
    unet = module if isinstance(module, ConditionalUNet) else module.unet
    assert isinstance(unet, ConditionalUNet)
    parts = LatentDiffusion(unet, data.first_stage, schedule, settings.size_px)
    columns = {"latents": data.latents, "contexts": data.contexts, **(extra or {})}
    if settings.flip:
        mirrored = {"latents": data.mirrored, **(mirrored_extra or {})}
        columns |= {f"{_MIRRORED}{name}": column for name, column in mirrored.items()}
    objective = loss(data, schedule) if loss else denoising_loss(schedule)
    trained = train_denoiser(
        module,
        columns,
        schedule,
        TrainSettings(
            steps=settings.steps,
            batch_size=settings.batch_size,
            learning_rate=settings.learning_rate,
            lr_schedule=settings.lr_schedule,
            warmup=min(WARMUP_STEPS, settings.steps // 10),
            dtype=settings.dtype,
            checkpoint_every=_checkpoint_every(settings.steps),
            devices=settings.devices,
        ),
        seed=run.seed,
        loss=_with_flips(objective) if settings.flip else objective,
        hooks=_hooks(run, settings.steps, saved, "denoiser", lambda step: _preview(parts, data, run, step)),
    )
    _preview(parts, data, run, settings.steps)
    assert trained.ema is not None
    weights = trained.ema.weights() if settings.keep == "ema" else module.state_dict()
    unet.eval()
    return parts, dict(weights)


@torch.no_grad()
def _preview(parts: LatentDiffusion, data: Prepared, run: Run, step: int) -> None:
    """A picture of what the raw weights draw now: rows are contexts of training images, columns are noises.

    A method's further tokens (ID3's attributes) are left out. The noise is the run's own, so training is not disturbed.
    """
    was_training = parts.unet.training
    chosen = data.contexts[:: max(1, len(data.contexts) // PREVIEW)][:PREVIEW]
    plan = SamplePlan.grid(len(chosen), PREVIEW)
    contexts = chosen[torch.from_numpy(plan.identities)].to(run.device)
    unconditional = parts.unet.config.whole_context_dropout_probability == 1.0
    parts.unet.eval()
    try:
        keys_values = parts.unet.contextualise(None if unconditional else contexts, batch=len(plan))
        images = sample_images(parts, plan, run, bind(parts.unet, keys_values), PREVIEW_SAMPLING)
    finally:
        parts.unet.train(was_training)
    run.picture(f"denoiser-{step:07d}", contact_sheet(images, PREVIEW))


def _with_flips(plain: Loss) -> Loss:
    """A loss over a batch in which half of the images are mirrored, with all that depends on it; contexts do not."""

    def loss(model: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        latents = batch["latents"]
        flip = torch.rand(len(latents), generator=generator).to(latents.device) < 0.5
        chosen = dict(batch)
        for name, mirrored in batch.items():
            if name.startswith(_MIRRORED):
                plainly = name.removeprefix(_MIRRORED)
                chosen[plainly] = torch.where(flip.view(-1, *[1] * (mirrored.ndim - 1)), mirrored, batch[plainly])
        return plain(model, chosen, generator)

    return loss


def sample_images(
    parts: LatentDiffusion, rows: SamplePlan, run: Run, denoiser: Denoiser, settings: LatentSampleSettings
) -> Images:
    """Sample one batch of planned images, each from its own noise; uint8 RGB [B, S, S, 3]."""
    shape = parts.latent_shape
    who, which = rows.identities.tolist(), rows.samples.tolist()
    x_0 = SAMPLERS[settings.sampler](
        denoiser,
        run.noise(who, which, shape, "x_T"),
        parts.schedule,
        steps=parts.schedule.T if settings.sampler == "ddpm" else settings.steps,
        noise=lambda t: run.noise(who, which, shape, "sampler", t),
        reference_quirks=settings.reference_quirks,
        eta=1.0 if settings.sampler == "ddpm" else settings.eta,  # DDPM has its noise; eta is a setting of DDIM
    )
    with torch.no_grad():
        return from_unit(parts.first_stage.decode(x_0))


def contextualise(parts: LatentDiffusion, rows: SamplePlan, column: Floats | None, run: Run) -> Contextualised:
    """Keys and values of a pool column for a batch, computed once per distinct identity.

    Args:
        column: float32 [I, E], a column of the plan's pool; None for "no context".
    """
    names, places = np.unique(rows.identities, return_inverse=True)
    given = None if column is None else torch.from_numpy(column[names]).to(run.device)
    with torch.no_grad():
        return parts.unet.contextualise(given, batch=len(names)).select(torch.from_numpy(places))
