"""The denoiser of ID3: the U-Net of IDiff-Face with attribute tokens beside the identity tokens.

The paper's backbone, resolution and injection points are not public; building on the same U-Net isolates the method.
The projection's layer sizes are the paper's, which layers they are of is ours.

Letters: B batch, C channels, H, W pixels, D context channels, E width of a raw context, K attribute tokens.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from harness.diffusion.unet import ConditionalUNet, UNetConfig
from harness_id3.attributes import NAMES
from harness_id3.readings import Projection

SIZES = (512, 256, 768)  # layer sizes of the projection, ReLU between. Source: ID3, section on the setup
TOKENS = 8  # of the projection "then-linear". Ours
LEAST_SPREAD = 1e-3  # of an attribute that varies: a tenth of a degree. Ours
ATTRIBUTE_DROPOUT = 0.1  # ours: allows the ablation "no attributes" from one model


class AttributeTokens(nn.Module):
    """Attributes [B, 4] to K tokens [B, D, K]; rows with an unknown attribute give zero tokens.

    Attributes are standardized by their mean and spread in the fit's source, which the module keeps (ours). As they
    are, they vary by a tenth around one value, the projection sees a constant, and training switches its units off
    before they say anything: in two fits of the demo model every unit of the second layer ended dead.

    The paper's "three-layer perceptron with layer sizes (512, 256, 768)" is read as 4 -> 512 -> 256 -> 768. It does not
    say how 768 values reach the denoiser, so both readings are ours: "then-linear", a further linear layer makes eight
    tokens of the context's width; "as-tokens", the values are tokens as they are, three of the published network's 256
    channels.

    Args:
        context_channels: D.

    Raises:
        ValueError: "as-tokens", and D does not divide 768.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, context_channels: int, projection: Projection = "then-linear") -> None:
        super().__init__()
        if projection == "as-tokens" and SIZES[-1] % context_channels:
            raise ValueError(f"{SIZES[-1]} values make no tokens of {context_channels} channels")
        self.context_channels = context_channels
        self.register_buffer("mean", torch.zeros(len(NAMES)))
        self.register_buffer("spread", torch.ones(len(NAMES)))
        layers: list[nn.Module] = []
        for c_in, c_out in pairwise((len(NAMES), *SIZES)):
            layers += [nn.Linear(c_in, c_out), nn.ReLU()]
        last = [nn.Linear(SIZES[-1], context_channels * TOKENS)] if projection == "then-linear" else []
        self.project = nn.Sequential(*layers[:-1], *last)

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
        return (tokens * known[:, None]).view(len(attributes), self.context_channels, -1)


class ID3Network(nn.Module):
    """eps(x_t, t, y, s)."""

    def __init__(self, config: UNetConfig, projection: Projection = "then-linear") -> None:
        super().__init__()
        self.unet = ConditionalUNet(config)
        self.attributes = AttributeTokens(config.context_channels, projection)

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor, s: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Predict the noise.

        Args:
            x_t: [B, C, H, W]; t: [B]; y: identity embeddings [B, E]; s: attributes [B, 4], NaN where unknown.
            generator: draws the dropouts in training mode.
        """
        tokens = self.attributes(s, generator)
        eps: Tensor = self.unet(x_t, t, y, extra_tokens=tokens, generator=generator)
        return eps
