"""The building blocks of the conditional U-Net: time embedding, residual block, attention block.

Attribute names are the state-dict names of the published IDiff-Face checkpoints; renaming one breaks loading.

Letters: B batch, C channels, H, W pixels, N = H W image tokens, K context tokens, D context channels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GROUPS = 32  # of every GroupNorm. Source: IDiff-Face code
NORM_EPS = 1e-5
MAX_PERIOD = 10_000.0  # of the time embedding. Source: DDPM, arXiv 2006.11239, appendix B
MLP_FACTOR = 4  # hidden width of the attention block's MLP over its channels


def _zeroed(module: nn.Conv2d) -> nn.Conv2d:
    nn.init.zeros_(module.weight)
    if module.bias is not None:
        nn.init.zeros_(module.bias)
    return module


class TimeEmbedding(nn.Module):
    """Raw step index t [B] -> [B, 4 * channels]: cosines, then sines, then two linear layers."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.frequencies = channels // 2
        self.lin1 = nn.Linear(channels, 4 * channels)
        self.lin2 = nn.Linear(4 * channels, 4 * channels)

    def forward(self, t: Tensor) -> Tensor:
        k = torch.arange(self.frequencies, device=t.device, dtype=torch.float32)
        angles = t.float()[:, None] * torch.exp(-math.log(MAX_PERIOD) * k / self.frequencies)  # [B, frequencies]
        waves = torch.cat([angles.cos(), angles.sin()], dim=1)
        out: Tensor = self.lin2(F.silu(self.lin1(waves.to(self.lin1.weight.dtype))))
        return out


class _Norm(nn.Module):
    """A GroupNorm one level down, where the published names have it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, channels, eps=NORM_EPS)

    def forward(self, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        # x [B, C, H, W]; scale, shift [B, C]
        return torch.addcmul(shift[:, :, None, None], self.norm(x), 1.0 + scale[:, :, None, None])


class ResidualBlock(nn.Module):
    """Two convolutions, the second after a norm whose scale and shift come from the time.

    In an AdaGN network the context is added to the time's embedding; elsewhere ``context_channels`` is 0.
    """

    def __init__(self, c_in: int, c_out: int, time_channels: int, context_channels: int = 0) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(GROUPS, c_in, eps=NORM_EPS)
        self.conv1 = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.time_emb = nn.Sequential(nn.SiLU(), nn.Linear(time_channels, c_out))
        self.context_emb = nn.Sequential(nn.SiLU(), nn.Linear(context_channels, c_out)) if context_channels else None
        self.scale_emb = nn.Linear(c_out, c_out)
        self.shift_emb = nn.Linear(c_out, c_out)
        self.norm2 = _Norm(c_out)
        self.conv2 = _zeroed(nn.Conv2d(c_out, c_out, 3, padding=1))
        self.shortcut: nn.Module = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else nn.Identity()

    def forward(self, x: Tensor, time: Tensor, context: Tensor) -> Tensor:
        # x [B, c_in, H, W], time [B, time_channels], projected context [B, D] -> [B, c_out, H, W]
        h = self.conv1(F.silu(self.norm1(x)))
        e = self.time_emb(time)  # [B, c_out]
        if self.context_emb is not None:
            e = e + self.context_emb(context)
        h = self.norm2(h, self.scale_emb(e), self.shift_emb(e))
        out: Tensor = self.shortcut(x) + self.conv2(F.silu(h))
        return out


@dataclass(frozen=True)
class KeysValues:
    """What one attention block needs of the context: keys and values, [B, C, K] each."""

    keys: Tensor
    values: Tensor


def _pointwise(layer: nn.Conv1d | nn.Linear, tokens: Tensor) -> Tensor:
    # tokens [B, C, N]; on the CPU a 1x1 convolution runs twice as fast as the same linear layer in float32
    return F.conv1d(tokens, layer.weight.reshape(*layer.weight.shape[:2], 1), layer.bias)


class Attention(nn.Module):
    """Multi-head attention. Written out: images here have 16 to 256 tokens, too few for fused kernels to pay."""

    def __init__(self, channels: int, heads: int, source_channels: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (channels / heads) ** -0.5
        self.to_q = nn.Conv1d(channels, channels, 1)
        self.to_k = nn.Conv1d(source_channels, channels, 1)
        self.to_v = nn.Conv1d(source_channels, channels, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)

    def keys_values(self, source: Tensor) -> KeysValues:
        """Keys and values of source tokens [B, D, K]."""
        return KeysValues(_pointwise(self.to_k, source), _pointwise(self.to_v, source))

    def _split(self, tokens: Tensor) -> Tensor:
        return tokens.reshape(tokens.shape[0] * self.heads, -1, tokens.shape[2])  # [B heads, C / heads, N]

    def forward(self, tokens: Tensor, source: KeysValues) -> Tensor:
        # tokens [B, C, N] -> [B, C, N]
        q = self._split(_pointwise(self.to_q, tokens) * self.scale)
        k, v = self._split(source.keys), self._split(source.values)
        weights = torch.bmm(q.transpose(1, 2), k).float().softmax(dim=-1)  # [B heads, N, K]
        mixed = torch.bmm(v, weights.to(v.dtype).transpose(1, 2))  # [B heads, C / heads, N]
        return _pointwise(self.proj_out, mixed.reshape(tokens.shape))


class AttentionBlock(nn.Module):
    """Self-attention, cross-attention to the context and an MLP, between two 1x1 convolutions.

    One GroupNorm ``x_norm`` serves all three parts. The last convolution starts at zero.
    """

    def __init__(self, channels: int, heads: int, context_channels: int, context_tokens: int) -> None:
        super().__init__()
        self.context_tokens = context_tokens
        self.x_proj_in = nn.Conv2d(channels, channels, 1)
        self.x_proj_out = _zeroed(nn.Conv2d(channels, channels, 1))
        self.self_attention = Attention(channels, heads, channels)
        self.c_proj_in = nn.Linear(context_channels, context_channels * context_tokens)
        self.cross_attention = Attention(channels, heads, context_channels)
        self.x_norm = nn.GroupNorm(GROUPS, channels, eps=NORM_EPS)
        self.c_norm = nn.GroupNorm(GROUPS, context_channels, eps=NORM_EPS)
        self.ff = nn.Sequential(
            nn.Linear(channels, MLP_FACTOR * channels), nn.GELU(), nn.Linear(MLP_FACTOR * channels, channels)
        )

    def keys_values(self, context: Tensor, extra_tokens: Tensor | None) -> KeysValues:
        """What this block reads from a projected context [B, D] and from further tokens [B, D, K']."""
        tokens = self.c_proj_in(context).unflatten(1, (-1, self.context_tokens))  # [B, D, K], channel outermost
        tokens = self.c_norm(tokens)
        if extra_tokens is not None:
            tokens = torch.cat([tokens, extra_tokens.to(tokens.dtype)], dim=2)  # [B, D, K + K']
        return self.cross_attention.keys_values(tokens)

    def _mlp(self, tokens: Tensor) -> Tensor:
        hidden = F.gelu(_pointwise(self.ff[0], tokens))  # type: ignore[arg-type]
        return _pointwise(self.ff[2], hidden)  # type: ignore[arg-type]

    def forward(self, x: Tensor, context: KeysValues) -> Tensor:
        # x [B, C, H, W] -> [B, C, H, W]
        h = self.x_proj_in(x).flatten(2)  # [B, C, N]
        normed = self.x_norm(h)
        h = h + self.self_attention(normed, self.self_attention.keys_values(normed))
        h = h + self.cross_attention(self.x_norm(h), context)
        h = h + self._mlp(self.x_norm(h))
        out: Tensor = x + self.x_proj_out(h.reshape(x.shape))
        return out


class SelfAttentionBlock(nn.Module):
    """Self-attention after a norm, beside the identity: all the attention that an AdaGN network has."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, channels, eps=NORM_EPS)
        self.attention = Attention(channels, heads, channels)

    def forward(self, x: Tensor) -> Tensor:
        # x [B, C, H, W] -> [B, C, H, W]
        tokens = self.norm(x).flatten(2)  # [B, C, N]
        out: Tensor = x + self.attention(tokens, self.attention.keys_values(tokens)).reshape(x.shape)
        return out
