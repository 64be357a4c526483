"""Settings that every latent diffusion method shares, so that their rows differ in the method alone.

Light on purpose: settings are checked before torch is loaded.
"""

from __future__ import annotations

import json
from typing import Literal, Self

from pydantic import Field, model_validator

from harness.components.base import Settings

# Sampling steps of DDIM. Source: NegFaceDiff repository
DDIM_STEPS = 200
# Diffusion steps T of every model that is fitted or imported here. Source: IDiff-Face configuration
T = 1000
# By how much an autoencoder and the U-Net's resolutions shrink an image; its side must be a multiple of the product.
_AUTOENCODER_FACTOR = {"small": 4, "pixel": 2}
_UNET_FACTOR = {"demo": 2, "published": 8, "published-adagn": 8}

Network = Literal["demo", "published", "published-adagn"]


class LatentFitSettings(Settings):
    """How to fit; defaults are IDiff-Face's published training where it applies to any size."""

    size_px: int = Field(128, ge=16, le=256, multiple_of=8, description="side of the generated image in pixels")
    network: Network = Field(
        "published",
        description="the U-Net: published, with cross-attention to the context (216 M weights); published-adagn, with "
        "the context added to the time (135 M); or demo, a small one with cross-attention (2 M)",
    )
    autoencoder: Literal["small", "pixel"] = Field("small", description="a small one, or pixel: diffusion on pixels")
    autoencoder_steps: int = Field(20_000, ge=1, description="optimizer steps of the small autoencoder")
    steps: int = Field(150_000, ge=1, description="optimizer steps of the denoiser; IDiff-Face: 150,000")
    batch_size: int = Field(512, ge=1, description="images per optimizer step; IDiff-Face: 8 devices x 64")
    learning_rate: float = Field(1e-4, gt=0, description="Adam's peak rate; IDiff-Face: 1e-4")
    lr_schedule: Literal["cosine-restarts", "cosine"] = Field(
        "cosine-restarts", description="restarts at 10k, 30k, 70k steps as in IDiff-Face, or one cosine to zero"
    )
    flip: bool = Field(True, description="mirror half of the images; the context is the unmirrored image's")
    keep: Literal["ema", "raw"] = Field("ema", description="which weights to keep; IDiff-Face: in effect raw")
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="of the network's forward pass; IDiff-Face: float16 with a scaled loss"
    )
    save: Literal["float32", "float16"] = Field("float32", description="of the weights on disk")
    devices: int = Field(
        1, ge=1, description="GPUs that share every batch, or processes without one; other noise, so it enters the key"
    )

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        factor = _AUTOENCODER_FACTOR[self.autoencoder] * _UNET_FACTOR[self.network]
        if self.size_px % factor:
            raise ValueError(
                f"size_px {self.size_px}: network {self.network!r} on autoencoder {self.autoencoder!r} halves images "
                f"down to a {factor}th; give a multiple of {factor}"
            )
        if self.batch_size % self.devices:
            raise ValueError(f"batch_size {self.batch_size}: must be a multiple of devices {self.devices}")
        return self


# The settings that not all samplers take.
TAKES: dict[str, frozenset[str]] = {
    "ddim": frozenset({"eta", "reference_quirks", "spacing"}),
    "ddpm": frozenset({"reference_quirks"}),
    "dpm-solver++": frozenset({"order", "spacing"}),
    "dpm-solver++-sde": frozenset({"spacing"}),
    "unipc": frozenset({"order", "spacing"}),
    "heun": frozenset({"spacing"}),
}


class LatentSampleSettings(Settings):
    """How to sample."""

    sampler: Literal["ddim", "ddpm", "dpm-solver++", "dpm-solver++-sde", "unipc", "heun"] = Field(
        "ddim",
        description="DDIM; ancestral DDPM over all steps; DPM-Solver++ 2M or 3M, or its stochastic form 2M SDE; UniPC; "
        "or EDM's Heun method",
    )
    steps: int = Field(
        DDIM_STEPS,
        ge=2,
        le=T,
        description="sampling steps, one network call each; DDPM takes the model's T whatever this says, heun calls "
        "twice in all but the last",
    )
    order: Literal[2, 3] = Field(2, description="of dpm-solver++ and unipc")
    spacing: Literal["uniform", "log-snr", "edm"] | None = Field(
        None,
        description="of the steps: uniform in t, in the log of the signal-to-noise ratio, or in the seventh root of "
        "the noise as EDM has it; null: the sampler's own, uniform for ddim, edm for heun, log-snr for the others",
    )
    eta: float = Field(0.0, ge=0, le=1, description="DDIM noise, 0 deterministic to 1; the other samplers take none")
    reference_quirks: bool = Field(False, description="repeat the index slips of the reference's DDIM and DDPM")
    dtype: Literal["float32", "bfloat16"] = Field(
        "float32", description="of the denoiser; bfloat16 is faster and changes images, so it enters the key"
    )
    compile: bool = Field(
        False,
        description="torch.compile the denoiser: faster after a minute per worker, by other rounding; on a CPU it "
        "needs a C++ compiler",
    )
    batch_size: int = Field(64, ge=1, description="images per denoiser call; no part of the result's key")

    @model_validator(mode="after")
    def _sampler_takes_it(self) -> Self:
        for name in sorted(frozenset().union(*TAKES.values()) - TAKES[self.sampler]):
            value, default = getattr(self, name), LatentSampleSettings.model_fields[name].default
            if value != default:
                takers = ", ".join(sampler for sampler, taken in TAKES.items() if name in taken)
                raise ValueError(
                    f"{name} {json.dumps(value)}: for {takers} only, got sampler {self.sampler!r}; set it to "
                    f"{json.dumps(default)}"
                )
        if self.sampler == "ddim" and self.reference_quirks:
            if T % self.steps:
                raise ValueError(f"steps {self.steps}: with reference_quirks ddim needs a number that divides T = {T}")
            if self.spacing not in (None, "uniform"):
                raise ValueError(f"spacing {self.spacing!r}: with reference_quirks ddim's is uniform; leave it out")
        return self
