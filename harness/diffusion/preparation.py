"""A source made ready for a denoiser: the autoencoder that is fitted to it, then its latents and contexts.

Letters: N images, S image side, C, H, W latent channels, height and width, E context width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from harness.coding import from_unit, to_unit
from harness.diffusion.autoencoder import Autoencoder, SmallAutoencoder, build_autoencoder
from harness.diffusion.hooks import checkpoint_every, run_hooks, warmup
from harness.diffusion.settings import LatentFitSettings
from harness.diffusion.training import TrainSettings, train_autoencoder
from harness.diffusion.weights import load_strict

if TYPE_CHECKING:
    from harness.components.recognizer import Recognizer
    from harness.components.run import Run
    from harness.faces.faceset import FaceSet

# The ones that are fitted here; the published VQ-f4 is imported.
AUTOENCODERS: dict[str, dict[str, Any]] = {"small": {"kind": "small"}, "pixel": {"kind": "pixel", "unshuffle": 2}}
BATCH = 256  # images encoded and embedded at once
_TRAINING, _TRAINED = "autoencoder", "trained-autoencoder"  # keys of the fit's checkpoint


@dataclass(frozen=True)
class Prepared:
    """A source ready to fit a denoiser on: latents [N, C, H, W], those of the mirrored images, contexts [N, E]."""

    autoencoder: Autoencoder
    latents: Tensor
    mirrored: Tensor
    contexts: Tensor


def prepare(
    source: FaceSet, recognizer: Recognizer | None, autoencoder: Autoencoder, size_px: int, run: Run
) -> Prepared:
    """Turn a source into latents and contexts, batch by batch: a published one does not fit in memory as floats.

    The context of an image is the unit-norm embedding of the raw, unmirrored image; without a recognizer it is a
    single zero.

    Args:
        size_px: S, to which images are resized before they are encoded.
    """
    progress = run.progress(len(source), "encoded images")
    latents, mirrored, contexts = [], [], []
    for batch in source.batches(BATCH):
        pixels = to_unit(batch.images, size_px).to(run.device)
        with torch.no_grad():
            latents.append(autoencoder.encode(pixels).cpu())
            mirrored.append(autoencoder.encode(pixels.flip(3)).cpu())
        if recognizer is None:
            contexts.append(torch.zeros(len(batch), 1))
        else:
            embeddings = recognizer.embed(batch.images)
            contexts.append(torch.from_numpy(embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)))
        progress.advance(len(batch))
    return Prepared(autoencoder, torch.cat(latents), torch.cat(mirrored), torch.cat(contexts))


def fit_autoencoder(source: FaceSet, settings: LatentFitSettings, run: Run, saved: dict[str, Any]) -> Autoencoder:
    """The autoencoder that the settings name, fitted to a source where it has weights, and frozen.

    Args:
        saved: the fit's checkpoint so far, which this function reads and extends.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(run.generator("first-stage-weights").integers(2**62)))
        autoencoder = build_autoencoder(AUTOENCODERS[settings.autoencoder]).to(run.device)
    if isinstance(autoencoder, SmallAutoencoder):
        _train(autoencoder, source, settings, run, saved)
    return autoencoder.eval().requires_grad_(False)


def _train(
    autoencoder: SmallAutoencoder, source: FaceSet, settings: LatentFitSettings, run: Run, saved: dict[str, Any]
) -> None:
    """Train, from the checkpoint on."""
    if _TRAINED in saved:
        load_strict(autoencoder, saved[_TRAINED], "checkpoint")
        return
    training = _training(settings)
    hooks = run_hooks(run, training.steps, saved, _TRAINING)
    train_autoencoder(autoencoder, _levels(source, settings.size_px), training, seed=run.seed, hooks=hooks)
    saved.pop(_TRAINING, None)
    saved[_TRAINED] = autoencoder.state_dict()


def _training(settings: LatentFitSettings) -> TrainSettings:
    steps = settings.autoencoder_steps
    return TrainSettings(
        steps=steps,
        batch_size=64,
        learning_rate=2e-3,
        lr_schedule="cosine",
        warmup=warmup(steps),
        dtype=settings.dtype,
        checkpoint_every=checkpoint_every(steps),
        devices=settings.devices,
    )


def _levels(source: FaceSet, size_px: int) -> Tensor:
    """All images of a source at this size, uint8 [N, 3, S, S]."""
    levels = np.empty((len(source), 3, size_px, size_px), np.uint8)
    done = 0
    for batch in source.batches(BATCH):
        levels[done : done + len(batch)] = from_unit(to_unit(batch.images, size_px)).transpose(0, 3, 1, 2)
        done += len(batch)
    return torch.from_numpy(levels)
