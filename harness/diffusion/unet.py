"""The denoising U-Net of IDiff-Face.

It predicts the noise in x_t from x_t, the step t and an identity context, which enters by cross-attention (variant
"CA", that of all published numbers) or is added to the time (variant "AdaGN", which exists without a context as well).
Published sizes and the demo size are configurations of the same code, and tensor names are those of the published
checkpoints.

Letters: B batch, C channels, H, W pixels, D context channels, E width of a raw context, K tokens.

Source: IDiff-Face, arXiv 2308.04995.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.diffusion.layers import (
    GROUPS,
    NORM_EPS,
    AttentionBlock,
    KeysValues,
    ResidualBlock,
    SelfAttentionBlock,
    TimeEmbedding,
)
from harness.diffusion.schedule import linear_schedule
from harness.diffusion.unet_config import (
    DEMO_CONFIG,
    PUBLISHED_ADAGN_CONFIG,
    PUBLISHED_CONFIG,
    PUBLISHED_UNCONDITIONAL_CONFIG,
    UNetConfig,
)

__all__ = [
    "DEMO_CONFIG",
    "PUBLISHED_ADAGN_CONFIG",
    "PUBLISHED_CONFIG",
    "PUBLISHED_UNCONDITIONAL_CONFIG",
    "ConditionalUNet",
    "Contextualized",
    "UNetConfig",
]


@dataclass(frozen=True)
class Contextualized:
    """A context as the blocks of the network read it.

    Made once by :meth:`ConditionalUNet.contextualize` and then used for every sampling step.

    Attributes:
        projected: what the residual blocks of an AdaGN network read, [B, D]; the unconditional one has D = 0.
        blocks: what the attention blocks of a CA network read, in the order in which they run.
    """

    projected: Tensor
    blocks: tuple[KeysValues, ...] = ()

    def __len__(self) -> int:
        return int(self.projected.shape[0])

    def select(self, rows: Tensor | Sequence[int]) -> Contextualized:
        """Pick or repeat rows, for example one identity's context for each of its images."""
        index = torch.as_tensor(rows, device=self.projected.device)
        blocks = tuple(KeysValues(b.keys[index], b.values[index]) for b in self.blocks)
        return Contextualized(self.projected[index], blocks)

    @staticmethod
    def concatenate(parts: Sequence[Contextualized]) -> Contextualized:
        """Join along the batch; all parts have the same number of tokens."""
        columns = zip(*(part.blocks for part in parts), strict=True)
        blocks = tuple(KeysValues(torch.cat([b.keys for b in c]), torch.cat([b.values for b in c])) for c in columns)
        return Contextualized(torch.cat([part.projected for part in parts]), blocks)


class _Stage(nn.Module):
    """A residual block with or without attention."""

    def __init__(self, c_in: int, c_out: int, config: UNetConfig, *, attention: bool) -> None:
        super().__init__()
        self.res = _residual(c_in, c_out, config)
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
        self.res1 = _residual(channels, channels, config)
        self.attn = _attention(channels, config)
        self.res2 = _residual(channels, channels, config)


def _residual(c_in: int, c_out: int, config: UNetConfig) -> ResidualBlock:
    return ResidualBlock(c_in, c_out, 4 * config.initial_channels, config.residual_context_channels)


def _attention(channels: int, config: UNetConfig) -> AttentionBlock | SelfAttentionBlock:
    if config.condition_type == "AdaGN":
        return SelfAttentionBlock(channels, config.heads(channels))
    return AttentionBlock(channels, config.heads(channels), config.context_channels, config.context_tokens)


def _attend(attention: nn.Module | None, x: Tensor, context: Iterator[KeysValues]) -> Tensor:
    """Attention where there is any; that of a CA network takes the next of the contexts."""
    if attention is None:
        return x
    out: Tensor = attention(x, next(context)) if isinstance(attention, AttentionBlock) else attention(x)
    return out


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
        if config.is_context_conditional:
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
            float [B, D]; [B, 0] from the unconditional network, whatever it is given.
        """
        if not self.config.is_context_conditional:
            return self.final.weight.new_zeros(batch if context is None else len(context), 0)
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
        """The attention blocks that read the context, in the order in which they run."""
        stages = [*self.down, self.middle, *self.up]
        return [s.attn for s in stages if isinstance(s, (_Stage, _Middle)) and isinstance(s.attn, AttentionBlock)]

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

        Raises:
            ValueError: a shape is wrong, or there are extra tokens and the network has no cross-attention.
        """
        projected = self.project(context, batch=batch, generator=generator)  # [B, D]
        if extra_tokens is not None and self.config.condition_type != "CA":
            raise ValueError("extra tokens need cross-attention, which this network has not")
        if extra_tokens is not None and extra_tokens.shape[:2] != projected.shape:
            expected = [*projected.shape, "K'"]
            raise ValueError(f"extra tokens must have shape {expected}, got {list(extra_tokens.shape)}")
        blocks = tuple(block.keys_values(projected, extra_tokens) for block in self.attention_blocks())
        return Contextualized(projected, blocks)

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
        predicted = self._denoise(x_t, self.time_emb(t), context)
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

    def _denoise(self, x_t: Tensor, time: Tensor, context: Contextualized) -> Tensor:
        blocks, projected = iter(context.blocks), context.projected

        def run(stage: nn.Module, h: Tensor) -> Tensor:
            if isinstance(stage, _Stage):
                return _attend(stage.attn, stage.res(h, time, projected), blocks)
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
        h = _attend(middle.attn, middle.res1(h, time, projected), blocks)
        h = middle.res2(h, time, projected)
        for stage in self.up:
            h = run(stage, torch.cat([h, skips.pop()], dim=1) if isinstance(stage, _Stage) else h)
        eps: Tensor = self.final(F.silu(self.norm(h)))
        return eps.float()
