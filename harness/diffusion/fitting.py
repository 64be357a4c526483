"""Fitting a latent diffusion model: the autoencoder first, then the denoiser, from the run's checkpoint on.

Letters: N images, E context width.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from harness.components.model import Model
from harness.diffusion.flips import mirrored_columns, with_flips
from harness.diffusion.hooks import checkpoint_every, run_hooks, warmup
from harness.diffusion.latent import UNET, LatentDiffusion, load_autoencoder
from harness.diffusion.preparation import Prepared, fit_autoencoder, prepare
from harness.diffusion.preview import preview
from harness.diffusion.schedule import Schedule, linear_schedule
from harness.diffusion.settings import LatentFitSettings, Network
from harness.diffusion.training import Loss, TrainSettings, denoising_loss, train_denoiser
from harness.diffusion.unet import (
    DEMO_CONFIG,
    PUBLISHED_ADAGN_CONFIG,
    PUBLISHED_CONFIG,
    PUBLISHED_UNCONDITIONAL_CONFIG,
    ConditionalUNet,
    UNetConfig,
)

if TYPE_CHECKING:
    from harness.components.recognizer import Recognizer
    from harness.components.run import Run
    from harness.faces.faceset import FaceSet


def _denoising(data: Prepared, schedule: Schedule) -> Loss:
    return denoising_loss(schedule)


@dataclass(frozen=True, kw_only=True)
class Fit:
    """What is fitted, and to what.

    Attributes:
        source: the images.
        settings: size, length and rates.
        recognizer: gives the contexts; None fits an unconditional model, which never sees one.
        autoencoder: a model whose autoencoder is used as it is, such as an imported one with VQ-f4; None fits one.
        cpd: contextual partial dropout, the chance per context component.
        network: builds what is trained around a U-Net of the given size; it has the U-Net as ``unet``, or is one.
        extra: further columns of the training data, N rows each.
        mirrored_extra: what those columns are for the mirrored images, where it is something else.
        loss: what is minimized over the prepared source; default: the plain denoising loss.
    """

    source: FaceSet
    settings: LatentFitSettings
    recognizer: Recognizer | None = None
    autoencoder: Model | None = None
    cpd: float = 0.0
    network: Callable[[UNetConfig], nn.Module] = ConditionalUNet
    extra: Mapping[str, Tensor] = field(default_factory=dict)
    mirrored_extra: Mapping[str, Tensor] = field(default_factory=dict)
    loss: Callable[[Prepared, Schedule], Loss] = _denoising


def fit_model(kind: str, fit: Fit, run: Run) -> Model:
    """Fit a model of which the U-Net alone is trained, and pack it as an artifact of that kind."""
    parts, weights = fit_latent_diffusion(fit, run)
    named = {f"{UNET}{name}": tensor for name, tensor in weights.items()}
    return Model(kind, parts.settings(), parts.tensors(named, getattr(torch, fit.settings.save)))


def fit_latent_diffusion(fit: Fit, run: Run) -> tuple[LatentDiffusion, dict[str, Tensor]]:
    """Fit the autoencoder, then a denoiser.

    Returns:
        the parts, and the weights that ``settings.keep`` asks for, by name within the trained network.
    """
    settings, saved = fit.settings, run.checkpoint.load() or {}
    if fit.autoencoder is not None:
        autoencoder = load_autoencoder(fit.autoencoder, run.device)
    else:
        autoencoder = fit_autoencoder(fit.source, settings, run, saved)
    data = prepare(fit.source, fit.recognizer, autoencoder, settings.size_px, run)
    network, parts = _untrained(fit, data, run)
    objective = fit.loss(data, parts.schedule)
    trained = train_denoiser(
        network,
        _columns(fit, data),
        parts.schedule,
        _training(settings),
        seed=run.seed,
        loss=with_flips(objective) if settings.flip else objective,
        hooks=run_hooks(run, settings.steps, saved, "denoiser", lambda step: preview(parts, data.contexts, run, step)),
    )
    preview(parts, data.contexts, run, settings.steps)
    assert trained.ema is not None
    weights = trained.ema.weights() if settings.keep == "ema" else network.state_dict()
    parts.unet.eval()
    return parts, dict(weights)


def _untrained(fit: Fit, data: Prepared, run: Run) -> tuple[nn.Module, LatentDiffusion]:
    """The network with its first weights, and the parts around its U-Net."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(run.generator("denoiser-weights").integers(2**62)))
        network = fit.network(_config(fit, data)).to(run.device)
    unet = network if isinstance(network, ConditionalUNet) else network.unet
    assert isinstance(unet, ConditionalUNet)
    return network, LatentDiffusion(unet, data.autoencoder, linear_schedule(), fit.settings.size_px)


def _config(fit: Fit, data: Prepared) -> UNetConfig:
    size = _size(fit.settings.network, conditional=fit.recognizer is not None)
    return dataclasses.replace(
        size,
        input_channels=data.latents.shape[1],
        context_input_channels=data.contexts.shape[1],
        context_dropout_probability=fit.cpd,
        # As published, a conditional model never sees an empty context. One that cannot see any drops none.
        whole_context_dropout_probability=float(fit.recognizer is None and size.is_context_conditional),
    )


def _size(network: Network, conditional: bool) -> UNetConfig:
    """The network that the settings name; only that of the published unconditional model is built without a context."""
    if network == "published-adagn":
        return PUBLISHED_ADAGN_CONFIG if conditional else PUBLISHED_UNCONDITIONAL_CONFIG
    return DEMO_CONFIG if network == "demo" else PUBLISHED_CONFIG


def _columns(fit: Fit, data: Prepared) -> dict[str, Tensor]:
    """The training data, and that of the mirrored images where they are asked for."""
    columns = {"latents": data.latents, "contexts": data.contexts, **fit.extra}
    mirrored = {"latents": data.mirrored, **fit.mirrored_extra}
    return columns | (mirrored_columns(mirrored) if fit.settings.flip else {})


def _training(settings: LatentFitSettings) -> TrainSettings:
    return TrainSettings(
        steps=settings.steps,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        lr_schedule=settings.lr_schedule,
        warmup=warmup(settings.steps),
        dtype=settings.dtype,
        checkpoint_every=checkpoint_every(settings.steps),
        devices=settings.devices,
    )
