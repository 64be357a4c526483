"""A tiny ID3 model with random weights, and the recognizer that is its F."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from harness_id3.network import ID3Network

from harness.builtin.small_cnn import SmallCNN, SmallCNNSettings
from harness.components import Crop, Model
from harness.diffusion.autoencoder import SmallAutoencoder, SmallConfig
from harness.diffusion.latent import LatentDiffusion
from harness.diffusion.schedule import linear_schedule
from harness.diffusion.unet import UNetConfig

CONFIG = UNetConfig(
    input_channels=4,
    initial_channels=32,
    channel_multipliers=(1, 1),
    is_attention=(False, True),
    n_blocks_per_resolution=1,
    context_input_channels=16,
    context_channels=32,
    context_tokens=4,
    context_dropout_probability=0.0,
)


@pytest.fixture(scope="session")
def network() -> ID3Network:
    """Latents 4 x H x W, embeddings of width 16."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        made = ID3Network(CONFIG)
        for parameter in made.parameters():
            if not parameter.any():  # what starts at zero would hide the contexts
                parameter.normal_(0, 0.1)
    return made.eval()


@pytest.fixture(scope="session")
def model(network: ID3Network) -> Model:
    """Images of 32 px, T = 24, and a table of three attribute rows."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(1)
        stage = SmallAutoencoder(SmallConfig(4, 16, 32)).eval()
        stage.decoder[0].weight.mul_(0.02)  # a random denoiser leaves large latents
        stage.decoder[-2].weight.mul_(3)
        recognizer = SmallCNN(SmallCNNSettings(width=16), Crop("raw", 32))
    recognizer.load(recognizer.state())
    parts = LatentDiffusion(network.unet, stage, linear_schedule(24), 32)
    tensors = parts.tensors(network.state_dict(), torch.float32)
    table = torch.tensor([[0.5, 0.0, 0.0, -0.5], [-0.25, 0.125, 0.0, 0.0], [0.0, 0.0, 0.25, 0.5]]).half()
    return Model("id3/1", parts.settings(), {**tensors, "attribute_table": table}, recognizer)


@pytest.fixture(scope="session")
def anchors() -> np.ndarray:
    """Six unit-norm anchors."""
    drawn = np.random.default_rng(0).normal(size=(6, 16))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)
