"""Autoencoders: what turns images into the latents that diffusion works on, and back.

- :class:`VQAutoencoder`: the frozen VQ-f4 autoencoder of the published models, in :mod:`harness.diffusion.vq`.
- :class:`SmallAutoencoder`: a light one that the harness trains itself.
- :class:`PixelAutoencoder`: pixels themselves as latents, for diffusion on pixels.

Letters: B batch, S image side, C channels, H, W pixels, Z latent channels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.diffusion.vq import VQAutoencoder, VQConfig

__all__ = [
    "Autoencoder",
    "PixelAutoencoder",
    "SmallAutoencoder",
    "SmallConfig",
    "VQAutoencoder",
    "VQConfig",
    "autoencoder_settings",
    "build_autoencoder",
]

SMALL_GROUPS = 8  # of every GroupNorm in the small autoencoder
STD_FLOOR = 1e-6  # keeps a dead latent channel from dividing by zero


@dataclass(frozen=True)
class SmallConfig:
    """Size of a small autoencoder: 3 x S x S images to latent_channels x S/4 x S/4."""

    latent_channels: int = 8
    width: int = 32  # at half resolution; 64 costs three times as much per image and gains nothing in short training
    inner_width: int = 128  # at quarter resolution
    inner_blocks: int = 1  # residual blocks at quarter resolution, each way


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(SMALL_GROUPS, channels), nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2, self.conv2 = nn.GroupNorm(SMALL_GROUPS, channels), nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        out: Tensor = x + self.conv2(F.silu(self.norm2(h)))
        return out


class SmallAutoencoder(nn.Module):
    """A light autoencoder, two stride-2 stages each way, for small images.

    No KL term and no codebook: latents are standardized per channel, by the batch while training and afterwards by
    the stored mean and standard deviation of the training set, so that noise levels mean what they should.

    Source: ours.
    """

    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, config: SmallConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or SmallConfig()
        outer, inner = c.width, c.inner_width
        self.encoder = nn.Sequential(
            nn.Conv2d(3, outer, 4, stride=2, padding=1),
            _Residual(outer),
            nn.Conv2d(outer, inner, 4, stride=2, padding=1),
            *(_Residual(inner) for _ in range(c.inner_blocks)),
            nn.Conv2d(inner, c.latent_channels, 1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(c.latent_channels, inner, 3, padding=1),
            *(_Residual(inner) for _ in range(c.inner_blocks)),
            nn.Conv2d(inner, 4 * outer, 1),
            nn.PixelShuffle(2),
            _Residual(outer),
            nn.SiLU(),  # no norm here: it would blur overall brightness and color
            nn.Conv2d(outer, 12, 3, padding=1),
            nn.PixelShuffle(2),
        )
        self.register_buffer("latent_mean", torch.zeros(c.latent_channels))
        self.register_buffer("latent_std", torch.ones(c.latent_channels))

    def features(self, images: Tensor) -> Tensor:
        """Latents before standardization, [B, Z, S/4, S/4]."""
        if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] % 4 or images.shape[3] % 4:
            raise ValueError(f"images must be [B, 3, S, S] with S divisible by 4, got {list(images.shape)}")
        out: Tensor = self.encoder(images)
        return out

    def encode(self, images: Tensor) -> Tensor:
        """Images, float [B, 3, S, S] in [-1, 1], to latents [B, Z, S/4, S/4]; differentiable, as decoding is."""
        return (self.features(images) - self.latent_mean[:, None, None]) / self.latent_std[:, None, None]

    def decode_unclamped(self, z: Tensor) -> Tensor:
        """The decoder's output as it is; it takes standardized latents."""
        out: Tensor = self.decoder(z)
        return out.float()

    def decode(self, z: Tensor, *, quantize: bool = True) -> Tensor:
        """Latents to images clamped to [-1, 1]; without a codebook ``quantize`` means nothing."""
        return self.decode_unclamped(z).clamp(-1.0, 1.0)

    def reconstruct_for_training(self, images: Tensor, noise: Tensor) -> Tensor:
        """Encode, standardize by this batch, disturb by ``noise`` [B, Z, S/4, S/4], decode without clamping."""
        h = self.features(images).float()
        std, mean = torch.std_mean(h, dim=(0, 2, 3), keepdim=True)
        return self.decode_unclamped((h - mean) / (std + STD_FLOOR) + noise)

    @torch.no_grad()
    def fit_standardization(self, images: Tensor, batch_size: int = 256) -> None:
        """Store mean and standard deviation per latent channel over images [N, 3, S, S] in [-1, 1]."""
        h = torch.cat([self.features(part).float() for part in torch.split(images, batch_size)])
        std, mean = torch.std_mean(h, dim=(0, 2, 3))
        self.latent_mean.copy_(mean)
        self.latent_std.copy_(std + STD_FLOOR)


class PixelAutoencoder(nn.Module):
    """Pixels as latents, for diffusion on pixels, optionally with each block of pixels folded into channels."""

    def __init__(self, unshuffle: int = 1) -> None:
        super().__init__()
        self.unshuffle = unshuffle

    def encode(self, images: Tensor) -> Tensor:
        """[B, 3, S, S] -> [B, 3 u^2, S/u, S/u]."""
        return F.pixel_unshuffle(images, self.unshuffle)

    def decode(self, z: Tensor, *, quantize: bool = True) -> Tensor:
        """The inverse, clamped to [-1, 1]."""
        return F.pixel_shuffle(z, self.unshuffle).clamp(-1.0, 1.0)


Autoencoder = SmallAutoencoder | PixelAutoencoder | VQAutoencoder
"""All of them encode images, float [B, 3, S, S] in [-1, 1], and decode latents, both ways differentiable."""


def build_autoencoder(settings: Mapping[str, Any]) -> Autoencoder:
    """An autoencoder from its plain settings."""
    values = dict(settings)
    kind = values.pop("kind")
    if kind == "vq":
        return VQAutoencoder(VQConfig.from_dict(values))
    return PixelAutoencoder(**values) if kind == "pixel" else SmallAutoencoder(SmallConfig(**values))


def autoencoder_settings(autoencoder: Autoencoder) -> dict[str, Any]:
    """The plain settings from which :func:`build_autoencoder` makes it."""
    if isinstance(autoencoder, PixelAutoencoder):
        return {"kind": "pixel", "unshuffle": autoencoder.unshuffle}
    kind = "vq" if isinstance(autoencoder, VQAutoencoder) else "small"
    return {"kind": kind, **plain(autoencoder.config)}


def plain(config: Any) -> dict[str, Any]:
    """The fields of a frozen size, with lists for tuples, as JSON gives them back."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(config).items()}
