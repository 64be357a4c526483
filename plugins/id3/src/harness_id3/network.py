"""The denoiser of ID3: the U-Net of IDiff-Face with attribute tokens beside the identity tokens.

The paper's backbone, resolution and injection points are not public; building on the same U-Net isolates the method.
The projection's layer sizes are the paper's.

Letters: B batch, C channels, H, W pixels, D context channels, E width of a raw context, K attribute tokens.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from harness.diffusion.unet import ConditionalUNet, UNetConfig
from harness_id3.attributes import NAMES

HIDDEN = (512, 256, 768)  # layer sizes of the projection, ReLU between. Source: ID3, section on the setup
TOKENS = 8  # ours
LEAST_SPREAD = 1e-3  # of an attribute that varies: a tenth of a degree. Ours
ATTRIBUTE_DROPOUT = 0.1  # ours: allows the ablation "no attributes" from one model


class AttributeTokens(nn.Module):
    """Attributes [B, 4] to K tokens [B, D, K]; rows with an unknown attribute give zero tokens.

    Attributes are standardized by their mean and spread in the fit's source, which the module keeps (ours). As they
    are, they vary by a tenth around one value, the projection sees a constant, and training switches its units off
    before they say anything: in two fits of the demo model every unit of the second layer ended dead.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, context_channels: int) -> None:
        super().__init__()
        self.context_channels = context_channels
        self.register_buffer("mean", torch.zeros(len(NAMES)))
        self.register_buffer("spread", torch.ones(len(NAMES)))
        sizes = (len(NAMES), *HIDDEN)
        layers: list[nn.Module] = []
        for c_in, c_out in pairwise(sizes):
            layers += [nn.Linear(c_in, c_out), nn.ReLU()]
        self.project = nn.Sequential(*layers[:-1], nn.Linear(HIDDEN[-1], context_channels * TOKENS))

    def standardize_by(self, attributes: Tensor) -> None:
        """Take mean and spread from a source's known attributes [N, 4]; with N 0, and of what does not vary, none."""
        if len(attributes):
            spread = attributes.std(dim=0, correction=0)
            self.mean.copy_(attributes.mean(dim=0))
            self.spread.copy_(torch.where(spread > LEAST_SPREAD, spread, torch.ones_like(spread)))

    def forward(self, attributes: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """In training mode some rows are dropped; ``generator`` (on the CPU) draws which."""
        known = torch.isfinite(attributes).all(dim=1)
        if self.training:
            kept = torch.rand(len(attributes), generator=generator) >= ATTRIBUTE_DROPOUT
            known = known & kept.to(known.device)
        standard = (torch.nan_to_num(attributes) - self.mean) / self.spread
        tokens: Tensor = self.project(standard)
        return (tokens * known[:, None]).view(len(attributes), self.context_channels, TOKENS)


class ID3Network(nn.Module):
    """eps(x_t, t, y, s)."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.unet = ConditionalUNet(config)
        self.attributes = AttributeTokens(config.context_channels)

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor, s: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Predict the noise.

        Args:
            x_t: [B, C, H, W]; t: [B]; y: identity embeddings [B, E]; s: attributes [B, 4], NaN where unknown.
            generator: draws the dropouts in training mode.
        """
        tokens = self.attributes(s, generator)
        eps: Tensor = self.unet(x_t, t, y, extra_tokens=tokens, generator=generator)
        return eps
