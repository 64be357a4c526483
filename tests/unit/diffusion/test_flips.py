"""Half of the training images are mirrored, with all that depends on it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from harness.diffusion.flips import mirrored_columns, with_flips
from harness.diffusion.training import Batch


def test_a_mirrored_image_has_the_mirrored_attributes_and_the_same_context() -> None:
    seen: dict[str, Tensor] = {}

    def loss(model: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        seen.update(batch)
        return torch.zeros(())

    count = 400
    latents, yaw = torch.randn(count, 2, 4, 4), torch.randn(count, 4)
    batch = {
        "latents": latents,
        "attributes": yaw,
        "contexts": torch.arange(count),
        **mirrored_columns({"latents": latents.flip(3), "attributes": -yaw}),
    }
    with_flips(loss)(nn.Identity(), batch, torch.Generator().manual_seed(0))
    turned = (seen["latents"] == latents.flip(3)).flatten(1).all(dim=1)
    assert 150 < int(turned.sum()) < 250
    assert torch.equal(seen["latents"][~turned], latents[~turned])
    assert torch.equal(seen["attributes"], torch.where(turned[:, None], -yaw, yaw))
    assert torch.equal(seen["contexts"], batch["contexts"])
