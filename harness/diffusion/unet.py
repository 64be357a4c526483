"""The conditional denoising U-Net of IDiff-Face (variant "CA": context by cross-attention).

It predicts the noise in x_t from x_t, the step t and an identity context. The published size and the demo size are
configurations of the same code, and tensor names are those of the published checkpoints.

Letters: B batch, C channels, H, W pixels, D context channels, E width of a raw context, K tokens.

Source: IDiff-Face, arXiv 2308.04995.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.diffusion.layers import GROUPS, NORM_EPS, AttentionBlock, KeysValues, ResidualBlock, TimeEmbedding
from harness.diffusion.schedule import REFERENCE_STEPS, linear_schedule
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

    @property
    def widths(self) -> tuple[int, ...]:
        """The stem's width, then one width per resolution: cumulative products, not factors of the stem."""
        widths = [self.initial_channels]
        for multiplier in self.channel_multipliers:
            widths.append(round(widths[-1] * multiplier))
        return tuple(widths)

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
            ValueError: an unknown key, or a published variant other than the conditional "CA" one.
        """
        fixed = {
            "condition_type": "CA",
            "is_context_conditional": True,
            "n_context_classes": 0,
            "learn_empty_context": False,
        }
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


@dataclass(frozen=True)
class Contextualized:
    """A context as the attention blocks read it, in the order in which they run.

    Made once by :meth:`ConditionalUNet.contextualize` and then used for every sampling step.
    """

    blocks: tuple[KeysValues, ...]

    def __len__(self) -> int:
        return int(self.blocks[0].keys.shape[0])

    def select(self, rows: Tensor | Sequence[int]) -> Contextualized:
        """Pick or repeat rows, for example one identity's context for each of its images."""
        index = torch.as_tensor(rows, device=self.blocks[0].keys.device)
        return Contextualized(tuple(KeysValues(b.keys[index], b.values[index]) for b in self.blocks))

    @staticmethod
    def concatenate(parts: Sequence[Contextualized]) -> Contextualized:
        """Join along the batch; all parts have the same number of tokens."""
        columns = zip(*(part.blocks for part in parts), strict=True)
        return Contextualized(
            tuple(KeysValues(torch.cat([b.keys for b in c]), torch.cat([b.values for b in c])) for c in columns)
        )


class _Stage(nn.Module):
    """A residual block with or without attention."""

    def __init__(self, c_in: int, c_out: int, config: UNetConfig, *, attention: bool) -> None:
        super().__init__()
        self.res = ResidualBlock(c_in, c_out, 4 * config.initial_channels)
        self.attn = _attention(c_out, config) if attention else None


class _Down(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1)


class _Up(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(channels, channels, 4, stride=2, padding=1)


class _Middle(nn.Module):
    def __init__(self, channels: int, config: UNetConfig) -> None:
        super().__init__()
        self.res1 = ResidualBlock(channels, channels, 4 * config.initial_channels)
        self.attn = _attention(channels, config)
        self.res2 = ResidualBlock(channels, channels, 4 * config.initial_channels)


def _attention(channels: int, config: UNetConfig) -> AttentionBlock:
    return AttentionBlock(channels, config.heads(channels), config.context_channels, config.context_tokens)


def _down_path(config: UNetConfig) -> nn.ModuleList:
    widths, last = config.widths, len(config.is_attention) - 1
    path = nn.ModuleList()
    for level, attention in enumerate(config.is_attention):
        c_in, c_out = widths[level], widths[level + 1]
        for block in range(config.n_blocks_per_resolution):
            path.append(_Stage(c_in if block == 0 else c_out, c_out, config, attention=attention))
        if level < last:
            path.append(_Down(c_out))
    return path


def _up_path(config: UNetConfig) -> nn.ModuleList:
    widths = config.widths
    path = nn.ModuleList()
    for level in reversed(range(len(config.is_attention))):
        outer, width, attention = widths[level], widths[level + 1], config.is_attention[level]
        for _ in range(config.n_blocks_per_resolution):
            path.append(_Stage(2 * width, width, config, attention=attention))
        path.append(_Stage(width + outer, outer, config, attention=attention))  # already at the next width
        if level > 0:
            path.append(_Up(outer))
    return path


class ConditionalUNet(nn.Module):
    """Noise predictor eps(x_t, t, context). At initialization the network's own output is exactly zero."""

    def __init__(self, config: UNetConfig = PUBLISHED_CONFIG) -> None:
        super().__init__()
        self.config = config
        stem, deepest = config.initial_channels, config.widths[-1]
        self.image_proj = nn.Conv2d(config.input_channels, stem, 3, padding=1)
        self.time_emb = TimeEmbedding(stem)
        self.context_emb = nn.Linear(config.context_input_channels, config.context_channels)
        self.down = _down_path(config)
        self.middle = _Middle(deepest, config)
        self.up = _up_path(config)
        self.norm = nn.GroupNorm(GROUPS, stem, eps=NORM_EPS)
        self.final = nn.Conv2d(stem, config.output_channels or config.input_channels, 3, padding=1)
        nn.init.zeros_(self.final.weight)
        nn.init.zeros_(self.final.bias)  # type: ignore[arg-type]

    def project(self, context: Tensor | None, *, batch: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """Project raw contexts and, in training mode, apply contextual partial dropout.

        Args:
            context: float [B, E]; None is "no context": a zero projected vector, which is not what a zero
                context gives (that one passes the linear layer and becomes its bias).
            batch: B when context is None.
            generator: source of the dropout masks on the CPU; None uses torch's global one.

        Returns:
            float [B, D].
        """
        if context is None:
            return self.context_emb.weight.new_zeros(batch, self.config.context_channels)
        expected = self.config.context_input_channels
        if context.ndim != 2 or context.shape[1] != expected:
            raise ValueError(f"contexts must have shape [B, {expected}], got {list(context.shape)}")
        projected: Tensor = self.context_emb(context.to(self.context_emb.weight.dtype))
        if not self.training:
            return projected
        return projected * self._dropout_mask(len(context), generator).to(projected)

    def _dropout_mask(self, batch: int, generator: torch.Generator | None) -> Tensor:
        # inverted dropout, one mask per sample shared by all blocks; [B, D]
        p, p_whole = self.config.context_dropout_probability, self.config.whole_context_dropout_probability
        mask = torch.ones(batch, self.config.context_channels)
        if p > 0.0:
            mask = (torch.rand(mask.shape, generator=generator) >= p).float() / (1.0 - p)
        if p_whole > 0.0:
            mask = mask * (torch.rand(batch, 1, generator=generator) >= p_whole)
        return mask

    def attention_blocks(self) -> list[AttentionBlock]:
        """The attention blocks in the order in which they run."""
        stages = [*self.down, self.middle, *self.up]
        return [s.attn for s in stages if isinstance(s, (_Stage, _Middle)) and s.attn is not None]

    def contextualize(
        self,
        context: Tensor | None,
        *,
        batch: int = 1,
        extra_tokens: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Contextualized:
        """Compute everything that depends on the context and not on x_t or t: once per identity, not per step.

        Args:
            context, batch, generator: as in :meth:`project`.
            extra_tokens: float [B, D, K'], appended to the K identity tokens of every cross-attention as they are.
        """
        projected = self.project(context, batch=batch, generator=generator)  # [B, D]
        if extra_tokens is not None and extra_tokens.shape[:2] != projected.shape:
            expected = [*projected.shape, "K'"]
            raise ValueError(f"extra tokens must have shape {expected}, got {list(extra_tokens.shape)}")
        return Contextualized(tuple(b.keys_values(projected, extra_tokens) for b in self.attention_blocks()))

    def forward(
        self,
        x_t: Tensor,
        t: Tensor,
        context: Tensor | Contextualized | None,
        *,
        extra_tokens: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Predict the noise.

        Args:
            x_t: float [B, C, H, W]; H and W divisible by 2^(resolutions - 1).
            t: integer steps [B], 0-based, unscaled.
            context: raw contexts [B, E], or what :meth:`contextualize` made of them, or None.
            extra_tokens, generator: as in :meth:`contextualize`; not with a contextualized context.

        Returns:
            float32 [B, C, H, W].
        """
        self._check(x_t, t)
        if not isinstance(context, Contextualized):
            context = self.contextualize(context, batch=len(x_t), extra_tokens=extra_tokens, generator=generator)
        elif extra_tokens is not None:
            raise ValueError("give extra tokens to contextualize(), not to forward() with its result")
        if len(context) != len(x_t):
            raise ValueError(f"{len(x_t)} images but {len(context)} contexts")
        predicted = self._denoise(x_t, self.time_emb(t), iter(context.blocks))
        if self.config.prediction == "noise":
            return predicted
        level = linear_schedule(self.config.T).levels(t)
        return (1.0 - level).sqrt() * x_t.float() + level.sqrt() * predicted

    def _check(self, x_t: Tensor, t: Tensor) -> None:
        c, factor = self.config.input_channels, 2 ** (len(self.config.is_attention) - 1)
        if x_t.ndim != 4 or x_t.shape[1] != c or x_t.shape[2] % factor or x_t.shape[3] % factor:
            raise ValueError(f"x_t must be [B, {c}, H, W], H and W divisible by {factor}, got {list(x_t.shape)}")
        if t.shape != x_t.shape[:1]:
            raise ValueError(f"t must have shape [{len(x_t)}], got {list(t.shape)}")

    def _denoise(self, x_t: Tensor, time: Tensor, context: Any) -> Tensor:
        def run(stage: nn.Module, h: Tensor) -> Tensor:
            if isinstance(stage, _Stage):
                h = stage.res(h, time)
                return h if stage.attn is None else stage.attn(h, next(context))
            assert isinstance(stage, (_Down, _Up))
            resized: Tensor = stage.conv(h)
            return resized

        # contiguous: a channels-last layout makes GroupNorm twenty times slower on the CPU
        h = self.image_proj(x_t.contiguous().to(self.image_proj.weight.dtype))
        skips = [h]
        for stage in self.down:
            h = run(stage, h)
            skips.append(h)
        middle = self.middle
        h = middle.res2(middle.attn(middle.res1(h, time), next(context)), time)
        for stage in self.up:
            h = run(stage, torch.cat([h, skips.pop()], dim=1) if isinstance(stage, _Stage) else h)
        eps: Tensor = self.final(F.silu(self.norm(h)))
        return eps.float()
