"""Tiny latent diffusion models with random weights whose images have contrast, for the tests of generators."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from harness.arrays import Floats
from harness.components import Model
from harness.diffusion.autoencoder import SmallAutoencoder, SmallConfig
from harness.diffusion.latent import KIND, UNET, LatentDiffusion
from harness.diffusion.schedule import linear_schedule
from harness.diffusion.unet import ConditionalUNet, UNetConfig

TINY_T = 24
TINY_PX = 32
TINY_CONFIG = UNetConfig(
    input_channels=4,
    initial_channels=32,
    channel_multipliers=(1, 1),
    is_attention=(False, True),
    n_blocks_per_resolution=1,
    context_input_channels=16,
    context_channels=32,
    context_tokens=4,
)


@torch.no_grad()
def wake(module: nn.Module) -> None:
    """Fill parameters that start at zero: they would hide the contexts. Draws from torch's global generator."""
    for parameter in module.parameters():
        if not parameter.any():
            parameter.normal_(0, 0.1)


@torch.no_grad()
def tiny_autoencoder() -> SmallAutoencoder:
    """Latents 4 x 8 x 8 of images of 32 px; a random denoiser leaves large latents, so its input is scaled down."""
    autoencoder = SmallAutoencoder(SmallConfig(4, 16, 32)).eval()
    for layer, factor in ((autoencoder.decoder[0], 0.02), (autoencoder.decoder[-2], 3.0)):
        assert isinstance(layer, nn.Conv2d)
        layer.weight.mul_(factor)
    return autoencoder


def tiny_model() -> Model:
    """A ``latent-diffusion/1`` with contexts of width 16 and T = 24."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        unet, autoencoder = ConditionalUNet(TINY_CONFIG), tiny_autoencoder()
        wake(unet)
    parts = LatentDiffusion(unet.eval(), autoencoder, linear_schedule(TINY_T), TINY_PX)
    named = {f"{UNET}{name}": tensor for name, tensor in unet.state_dict().items()}
    return Model(KIND, parts.settings(), parts.tensors(named, torch.float32))


def unit_contexts(count: int = 6) -> Floats:
    """Unit-norm contexts for :func:`tiny_model`, float32 [count, 16]."""
    drawn = np.random.default_rng(0).normal(size=(count, TINY_CONFIG.context_input_channels))
    unit: Floats = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)
    return unit
