"""A whole latent diffusion model as one artifact: autoencoder, denoiser and noise schedule.

What IDiff-Face fits, NegFaceDiff samples from and ID3 builds on. It travels as a :class:`harness.components.Model` of
kind ``latent-diffusion/1``: tensors under ``unet.`` and ``first_stage.`` (so the files call the autoencoder), and plain
settings to rebuild them from.

Letters: S image side, C, H, W latent channels, height and width, T steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from harness.components.model import Model
from harness.diffusion.autoencoder import Autoencoder, autoencoder_settings, build_autoencoder, plain
from harness.diffusion.kinds import LATENT_DIFFUSION
from harness.diffusion.schedule import Schedule, linear_schedule
from harness.diffusion.unet import ConditionalUNet, UNetConfig
from harness.diffusion.weights import load_strict, take_prefix

KIND = LATENT_DIFFUSION
UNET, AUTOENCODER = "unet.", "first_stage."  # before the names of tensors


@dataclass(frozen=True)
class LatentDiffusion:
    """The parts, on one device, in evaluation mode."""

    unet: ConditionalUNet
    autoencoder: Autoencoder
    schedule: Schedule
    size_px: int

    @classmethod
    def from_model(cls, model: Model, device: str = "cpu", dtype: str = "float32") -> LatentDiffusion:
        """Rebuild the parts from an artifact.

        Args:
            dtype: of the denoiser; autoencoder, noise levels and the samplers' arithmetic stay float32.

        Raises:
            DataError: tensors do not fit the settings.
        """
        settings = model.settings
        with torch.device("meta"):
            unet = ConditionalUNet(UNetConfig.from_dict(settings["unet"]))
        load_strict(unet, take_prefix(model.tensors, UNET), "model")
        unet.to(device, getattr(torch, dtype)).eval().requires_grad_(False)
        schedule = linear_schedule(settings["T"])
        return cls(unet, load_autoencoder(model, device), schedule, settings["size_px"])

    def settings(self) -> dict[str, Any]:
        """Plain values from which :meth:`from_model` rebuilds the parts."""
        return {
            "unet": plain(self.unet.config),
            **described(self.autoencoder),
            "T": self.schedule.T,
            "size_px": self.size_px,
        }

    def tensors(self, weights: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
        """The tensors of an artifact.

        Args:
            weights: of the denoiser and whatever a method adds, by their names in the artifact.
            dtype: of the floating point tensors on disk.
        """
        both = {**weights, **autoencoder_tensors(self.autoencoder)}
        return {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in both.items()}

    @cached_property
    def latent_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        with torch.no_grad():
            device = next(self.unet.parameters()).device
            z = self.autoencoder.encode(torch.zeros(1, 3, self.size_px, self.size_px, device=device))
        return int(z.shape[1]), int(z.shape[2]), int(z.shape[3])


def described(autoencoder: Autoencoder) -> dict[str, Any]:
    """The settings of an artifact that :func:`load_autoencoder` reads."""
    return {"first_stage": autoencoder_settings(autoencoder)}


def autoencoder_tensors(autoencoder: Autoencoder) -> dict[str, Tensor]:
    """The tensors of an artifact that :func:`load_autoencoder` reads."""
    return {f"{AUTOENCODER}{name}": tensor for name, tensor in autoencoder.state_dict().items()}


def load_autoencoder(model: Model, device: str = "cpu") -> Autoencoder:
    """The autoencoder of an artifact, frozen; of a whole latent diffusion model, or of an autoencoder alone.

    Raises:
        DataError: tensors do not fit the settings.
    """
    with torch.device("meta"):
        autoencoder = build_autoencoder(model.settings["first_stage"])
    load_strict(autoencoder, take_prefix(model.tensors, AUTOENCODER), "model")
    return autoencoder.to(device).eval().requires_grad_(False)
