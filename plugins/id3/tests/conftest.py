"""A tiny ID3 model with random weights, and the recognizer that is its F."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from harness_id3.network import ID3Network

from harness.builtin.small_cnn import SmallCNN, SmallCNNSettings
from harness.components import Crop, Model
from harness.diffusion.latent import LatentDiffusion
from harness.diffusion.schedule import linear_schedule
from harness.testing.latent import TINY_CONFIG, TINY_PX, TINY_T, tiny_autoencoder, unit_contexts, wake


@pytest.fixture(scope="session")
def network() -> ID3Network:
    """Latents 4 x H x W, embeddings of width 16."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = ID3Network(replace(TINY_CONFIG, context_dropout_probability=0.0))
        wake(made)
    return made.eval()


@pytest.fixture(scope="session")
def model(network: ID3Network) -> Model:
    """Images of 32 px, T = 24, and a table of three attribute rows."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        autoencoder = tiny_autoencoder()
    parts = LatentDiffusion(network.unet, autoencoder, linear_schedule(TINY_T), TINY_PX)
    tensors = parts.tensors(network.state_dict(), torch.float32)
    table = torch.tensor([[0.5, 0.0, 0.0, -0.5], [-0.25, 0.125, 0.0, 0.0], [0.0, 0.0, 0.25, 0.5]]).half()
    return Model("id3/1", parts.settings(), {**tensors, "attribute_table": table})


@pytest.fixture(scope="session")
def recognizer() -> SmallCNN:
    """The model's F, with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        made = SmallCNN(SmallCNNSettings(width=16), Crop("raw", TINY_PX))
    made.load(made.state())
    return made


@pytest.fixture(scope="session")
def anchors() -> np.ndarray:
    """Six unit-norm anchors."""
    return unit_contexts()
