"""What the tests of several methods share: a tiny latent diffusion model with random weights, and contexts for it."""

from __future__ import annotations

import numpy as np
import pytest

from harness.components import Model
from harness.testing.latent import tiny_model, unit_contexts


@pytest.fixture(scope="session")
def model() -> Model:
    """Latents 4 x 8 x 8, images of 32 px, contexts of width 16, T = 24."""
    return tiny_model()


@pytest.fixture(scope="session")
def contexts() -> np.ndarray:
    """Six unit-norm contexts."""
    return unit_contexts()
