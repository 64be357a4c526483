"""Sizes and variants of the denoising U-Net.

Source: IDiff-Face, arXiv 2308.04995.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from harness.diffusion.layers import GROUPS
from harness.diffusion.schedule import REFERENCE_STEPS
from harness.errors import unknown


@dataclass(frozen=True)
class UNetConfig:
    """Size of the network. Defaults are the published model; names are those of its configuration file.

    Attributes:
        input_channels: channels of x_t.
        initial_channels: width of the stem, a multiple of 32.
        channel_multipliers: one per resolution; each multiplies the **previous** width. Fractions such as 4/3 are
            fine as long as every width is a multiple of 32.
        is_attention: whether the blocks of a resolution carry attention; the middle always does.
        attention_heads: -1 means width / attention_head_channels.
        attention_head_channels: width of one head.
        n_blocks_per_resolution: residual blocks on the way down; the way up has one more.
        context_input_channels: E, width of the identity embedding.
        context_channels: D, width after projection, a multiple of 32.
        context_tokens: K, tokens that each attention block makes of the context.
        context_dropout_probability: p of contextual partial dropout, on single components, in training mode only.
        whole_context_dropout_probability: chance that a sample trains without context, as if it were None; 1 makes
            an unconditional model.
        condition_type: how the context enters: "CA", by cross-attention in every attention block, or "AdaGN", added to
            the time in every residual block.
        is_context_conditional: False for the network without a context, which is an AdaGN one.
        output_channels: None means input_channels.
        prediction: what the network puts out: the noise, as published, or v = sqrt(ab) eps - sqrt(1 - ab) x_0, from
            which :meth:`ConditionalUNet.forward` makes the noise (Progressive Distillation, arXiv 2202.00512). A small
            network on small latents cannot copy x_t exactly enough through its group norms, and at the noisy end that
            error is divided by sqrt(ab); v has no such floor.
        T: diffusion steps; only v needs to know.
    """

    input_channels: int = 3
    initial_channels: int = 96
    channel_multipliers: tuple[float, ...] = (1, 2, 2, 2)
    is_attention: tuple[bool, ...] = (False, True, True, True)
    attention_heads: int = -1
    attention_head_channels: int = 32
    n_blocks_per_resolution: int = 2
    context_input_channels: int = 512
    context_channels: int = 256
    context_tokens: int = 32
    context_dropout_probability: float = 0.25
    whole_context_dropout_probability: float = 0.0
    condition_type: Literal["CA", "AdaGN"] = "CA"
    is_context_conditional: bool = True
    output_channels: int | None = None
    prediction: Literal["noise", "v"] = "noise"
    T: int = REFERENCE_STEPS

    def __post_init__(self) -> None:
        if not self.channel_multipliers or len(self.channel_multipliers) != len(self.is_attention):
            raise ValueError(
                f"channel_multipliers and is_attention need one entry per resolution, "
                f"got {len(self.channel_multipliers)} and {len(self.is_attention)}"
            )
        for name, width in [("widths", w) for w in self.widths] + [("context_channels", self.context_channels)]:
            if width % GROUPS:
                raise ValueError(f"{name} must be multiples of {GROUPS}, got {width}")
        if not 0.0 <= self.context_dropout_probability < 1.0:
            raise ValueError(f"a dropout probability lies in [0, 1), got {self.context_dropout_probability}")
        if not 0.0 <= self.whole_context_dropout_probability <= 1.0:
            raise ValueError(f"a probability lies in [0, 1], got {self.whole_context_dropout_probability}")
        if self.condition_type not in ("CA", "AdaGN"):
            raise ValueError(f"condition_type must be 'CA' or 'AdaGN', got {self.condition_type!r}")
        if not self.is_context_conditional and self.condition_type != "AdaGN":
            raise ValueError("a network that is not is_context_conditional must be of condition_type 'AdaGN'")

    @property
    def widths(self) -> tuple[int, ...]:
        """The stem's width, then one width per resolution: cumulative products, not factors of the stem."""
        widths = [self.initial_channels]
        for multiplier in self.channel_multipliers:
            widths.append(round(widths[-1] * multiplier))
        return tuple(widths)

    @property
    def residual_context_channels(self) -> int:
        """What the residual blocks read of the context: its D channels, or 0 for none."""
        return self.context_channels if self.condition_type == "AdaGN" and self.is_context_conditional else 0

    @property
    def is_unconditional(self) -> bool:
        """Whether the network never sees a context: it has no use for one, or was trained without."""
        return not self.is_context_conditional or self.whole_context_dropout_probability == 1.0

    def heads(self, width: int) -> int:
        """Attention heads at a width."""
        heads = width // self.attention_head_channels if self.attention_heads == -1 else self.attention_heads
        if heads < 1 or width % heads:
            raise ValueError(f"{heads} attention heads do not divide a width of {width}")
        return heads

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> UNetConfig:
        """Read a configuration, published ones included.

        Raises:
            ValueError: an unknown key, or a variant that no published model is of.
        """
        fixed = {"n_context_classes": 0, "learn_empty_context": False}
        known = {field.name for field in fields(cls)}
        kept: dict[str, Any] = {}
        for key, value in values.items():
            if key in fixed:
                if value != fixed[key]:
                    raise ValueError(f"U-Net configuration: {key} must be {fixed[key]!r}, got {value!r}")
            elif key not in known:
                raise ValueError(f"U-Net configuration: {unknown('key', key, known)}")
            else:
                kept[key] = tuple(value) if isinstance(value, list) else value
        return cls(**kept)


PUBLISHED_CONFIG = UNetConfig()  # IDiff-Face CPD25: 216,341,187 parameters
PUBLISHED_ADAGN_CONFIG = replace(PUBLISHED_CONFIG, condition_type="AdaGN")  # 134,595,939
PUBLISHED_UNCONDITIONAL_CONFIG = replace(PUBLISHED_ADAGN_CONFIG, is_context_conditional=False)  # 132,392,163

DEMO_CONFIG = UNetConfig(  # for latents 8 x 8 x 8 of the small autoencoder, on one CPU core
    input_channels=8,
    initial_channels=64,
    channel_multipliers=(1, 1.5),
    is_attention=(False, True),  # at 8 x 8 too it is slower, and at equal time identity and pictures were worse
    n_blocks_per_resolution=1,
    context_input_channels=128,
    context_channels=64,
    context_tokens=8,
    whole_context_dropout_probability=0.1,
    prediction="v",
)
