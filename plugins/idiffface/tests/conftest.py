"""A tiny latent diffusion model with random weights, whose images have contrast."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from harness.components import Model
from harness.diffusion.autoencoder import SmallAutoencoder, SmallConfig
from harness.diffusion.latent import UNET, LatentDiffusion
from harness.diffusion.schedule import linear_schedule
from harness.diffusion.unet import ConditionalUNet, UNetConfig

CONFIG = UNetConfig(
    input_channels=4,
    initial_channels=32,
    channel_multipliers=(1, 1),
    is_attention=(False, True),
    n_blocks_per_resolution=1,
    context_input_channels=16,
    context_channels=32,
    context_tokens=4,
)


@pytest.fixture(scope="session")
def model() -> Model:
    """Latents 4 x 8 x 8, images of 32 px, contexts of width 16, T = 24."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        unet, stage = ConditionalUNet(CONFIG), SmallAutoencoder(SmallConfig(4, 16, 32))
        for parameter in unet.parameters():
            if not parameter.any():  # what starts at zero would hide the contexts
                parameter.normal_(0, 0.1)
        stage.decoder[0].weight.mul_(0.02)  # a random denoiser leaves large latents
        stage.decoder[-2].weight.mul_(3)
    parts = LatentDiffusion(unet.eval(), stage.eval(), linear_schedule(24), 32)
    named = {f"{UNET}{name}": tensor for name, tensor in unet.state_dict().items()}
    return Model("latent-diffusion/1", parts.settings(), parts.tensors(named, torch.float32))


@pytest.fixture(scope="session")
def contexts() -> np.ndarray:
    """Six unit-norm contexts."""
    drawn = np.random.default_rng(0).normal(size=(6, 16))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)
