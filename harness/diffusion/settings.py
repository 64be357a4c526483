"""Settings that every latent diffusion method shares, so that their rows differ in the method alone.

Light on purpose: settings are checked before torch is loaded.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from harness.components.base import Settings

# Sampling steps of DDIM. Source: NegFaceDiff repository
DDIM_STEPS = 200


class LatentFitSettings(Settings):
    """How to fit; defaults are IDiff-Face's published training (methods 1.6) where it applies to any size."""

    size_px: int = Field(128, ge=16, le=256, multiple_of=8, description="side of the generated image in pixels")
    network: Literal["demo", "published"] = Field("published", description="size of the U-Net: about 1 or 216 M")
    first_stage: Literal["small", "pixel"] = Field("small", description="small autoencoder, or diffusion on pixels")
    autoencoder_steps: int = Field(20_000, ge=1, description="optimizer steps of the small autoencoder")
    steps: int = Field(150_000, ge=1, description="optimizer steps of the denoiser; published: 150,000")
    batch_size: int = Field(512, ge=1, description="images per optimizer step; published: 8 devices x 64")
    learning_rate: float = Field(1e-4, gt=0, description="Adam's peak rate; published: 1e-4")
    lr_schedule: Literal["cosine-restarts", "cosine"] = Field(
        "cosine-restarts", description="restarts at 10k, 30k, 70k steps as published, or one cosine to zero"
    )
    flip: bool = Field(True, description="mirror half of the images; the context is the unmirrored image's")
    keep: Literal["ema", "raw"] = Field("ema", description="which weights to keep; published: in effect raw")
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="of the network's forward pass")
    save: Literal["float32", "float16"] = Field("float32", description="of the weights on disk")


class LatentSampleSettings(Settings):
    """How to sample."""

    sampler: Literal["ddim", "ddpm", "dpm-solver++"] = Field(
        "ddim", description="DDIM, ancestral DDPM over all steps, or DPM-Solver++ 2M, which wants fewest steps"
    )
    steps: int = Field(DDIM_STEPS, ge=1, description="sampling steps; DDPM takes the model's T whatever this says")
    eta: float = Field(0.0, ge=0, le=1, description="DDIM noise, 0 deterministic to 1")
    reference_quirks: bool = Field(False, description="repeat the reference samplers' index slips (methods A3, B3)")
    batch_size: int = Field(64, ge=1, description="images per denoiser call; no part of the result's key")
