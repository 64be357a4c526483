"""What a model draws so far: the pictures that a fit leaves at its checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from harness.coding import contact_sheet
from harness.components.images import SamplePlan
from harness.diffusion.latent import LatentDiffusion
from harness.diffusion.samplers import bind
from harness.diffusion.sampling import sample_images
from harness.diffusion.settings import LatentSampleSettings

if TYPE_CHECKING:
    from harness.components.run import Run

SIDE = 4  # identities, and images of each
SAMPLING = LatentSampleSettings.model_validate({"sampler": "dpm-solver++", "steps": 10})


@torch.no_grad()
def preview(parts: LatentDiffusion, contexts: Tensor, run: Run, step: int) -> None:
    """A picture of what the raw weights draw now: rows are contexts of training images, columns are noises.

    A method's further tokens (ID3's attributes) are left out. The noise is the run's own, so training is not disturbed.

    Args:
        contexts: of the training images, [N, E].
        step: names the picture.
    """
    was_training = parts.unet.training
    chosen = contexts[:: max(1, len(contexts) // SIDE)][:SIDE]
    plan = SamplePlan.grid(len(chosen), SIDE)
    of_each = chosen[torch.from_numpy(plan.identities)].to(run.device)
    parts.unet.eval()
    try:
        keys_values = parts.unet.contextualize(None if parts.unet.config.is_unconditional else of_each, batch=len(plan))
        images = sample_images(parts, plan, run, bind(parts.unet, keys_values), SAMPLING)
    finally:
        parts.unet.train(was_training)
    run.picture(f"denoiser-{step:07d}", contact_sheet(images, SIDE))
