"""Mirrored training images: half of every batch, with all that depends on the side."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from harness.diffusion.training import Batch, Loss

_MIRRORED = "mirrored/"  # before the name of a training column: that column of the mirrored images


def mirrored_columns(columns: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Columns of the mirrored images under the names that :func:`with_flips` looks for."""
    return {f"{_MIRRORED}{name}": column for name, column in columns.items()}


def with_flips(plain: Loss) -> Loss:
    """A loss over a batch in which half of the images are mirrored, with all that depends on it; contexts do not."""

    def loss(model: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        latents = batch["latents"]
        flip = torch.rand(len(latents), generator=generator).to(latents.device) < 0.5
        chosen = dict(batch)
        for name, mirrored in batch.items():
            if name.startswith(_MIRRORED):
                plainly = name.removeprefix(_MIRRORED)
                chosen[plainly] = torch.where(flip.view(-1, *[1] * (mirrored.ndim - 1)), mirrored, batch[plainly])
        return plain(model, chosen, generator)

    return loss
