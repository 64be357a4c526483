"""The kinds of models that latent diffusion knows, for what components ``accept``. Light: no torch."""

from __future__ import annotations

LATENT_DIFFUSION = "latent-diffusion/1"  # conditioned on identity contexts
UNCONDITIONAL = "latent-diffusion-unconditional/1"  # the same without contexts
VQ_F4 = "vq-f4/1"  # the published autoencoder alone

WITH_AUTOENCODER = frozenset({LATENT_DIFFUSION, VQ_F4})
"""Models whose autoencoder a fit of another kind can take over."""
