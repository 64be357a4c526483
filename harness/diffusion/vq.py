"""VQ-f4, the frozen autoencoder of the published models.

Attribute names are the state-dict names of the published checkpoint; renaming one breaks loading.

Letters: B batch, S image side, C channels, H, W pixels, Z latent channels.

Source: latent diffusion, arXiv 2112.10752, model "vq-f4" for FFHQ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GROUPS = 32  # of every GroupNorm. Source: published code
NORM_EPS = 1e-6  # same source
CODEBOOK_SIZE = 8192  # same source
_CHUNK = 4096  # latent positions compared with the codebook at once


@dataclass(frozen=True)
class VQConfig:
    """Size of a VQ autoencoder; defaults are the published VQ-f4 model."""

    in_channels: int = 3
    out_ch: int = 3
    z_channels: int = 3
    ch: int = 128
    ch_mult: tuple[int, ...] = (1, 2, 4)  # factors of ch, not cumulative
    num_res_blocks: int = 2
    n_embed: int = CODEBOOK_SIZE

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> VQConfig:
        """Read the ``ddconfig`` of a published configuration file."""
        kept: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k in cls.__annotations__
        }
        if values.get("double_z") or values.get("attn_resolutions") or values.get("dropout"):
            raise ValueError("VQ-f4 has no variance half, no attention inside levels and no dropout")
        return cls(**kept)


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(GROUPS, channels, eps=NORM_EPS)


class _VQResidual(nn.Module):
    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = _norm(c_in), nn.Conv2d(c_in, c_out, 3, padding=1)
        self.norm2, self.conv2 = _norm(c_out), nn.Conv2d(c_out, c_out, 3, padding=1)
        if c_in != c_out:
            self.nin_shortcut = nn.Conv2d(c_in, c_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        out: Tensor = h + (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x)
        return out


class _VQAttention(nn.Module):
    """Single-head self-attention over all positions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = _norm(channels)
        self.q, self.k = nn.Conv2d(channels, channels, 1), nn.Conv2d(channels, channels, 1)
        self.v, self.proj_out = nn.Conv2d(channels, channels, 1), nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        q, k, v = (layer(h).flatten(2) for layer in (self.q, self.k, self.v))  # [B, C, HW]
        scores = torch.bmm(q.transpose(1, 2), k) * x.shape[1] ** -0.5  # [B, HW, HW]
        mixed = torch.bmm(v, scores.softmax(dim=-1).transpose(1, 2)).reshape(x.shape)
        out: Tensor = x + self.proj_out(mixed)
        return out


class _Downsample(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(F.pad(x, (0, 1, 0, 1)))  # zeros on the right and at the bottom only
        return out


class _Upsample(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return out


class _Middle(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block_1 = _VQResidual(channels, channels)
        self.attn_1 = _VQAttention(channels)
        self.block_2 = _VQResidual(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.block_2(self.attn_1(self.block_1(x)))
        return out


class _Level(nn.Module):
    """The residual blocks of one resolution, the first of which changes the width."""

    def __init__(self, c_in: int, c_out: int, blocks: int) -> None:
        super().__init__()
        self.block = nn.ModuleList(_VQResidual(c_in if i == 0 else c_out, c_out) for i in range(blocks))

    def forward(self, x: Tensor) -> Tensor:
        for block in self.block:
            x = block(x)
        for name in ("downsample", "upsample"):
            if hasattr(self, name):
                x = getattr(self, name)(x)
        return x


class _Encoder(nn.Module):
    def __init__(self, config: VQConfig) -> None:
        super().__init__()
        widths = [config.ch, *(config.ch * m for m in config.ch_mult)]
        self.conv_in = nn.Conv2d(config.in_channels, config.ch, 3, padding=1)
        self.down = nn.ModuleList()
        for level, c_out in enumerate(widths[1:]):
            stage = _Level(widths[level], c_out, config.num_res_blocks)
            if level < len(config.ch_mult) - 1:
                stage.downsample = _Downsample(c_out)
            self.down.append(stage)
        self.mid = _Middle(widths[-1])
        self.norm_out = _norm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], config.z_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv_in(x)
        for stage in self.down:
            h = stage(h)
        out: Tensor = self.conv_out(F.silu(self.norm_out(self.mid(h))))
        return out


class _Decoder(nn.Module):
    def __init__(self, config: VQConfig) -> None:
        super().__init__()
        widths = [config.ch * m for m in config.ch_mult]
        deepest = widths[-1]
        self.conv_in = nn.Conv2d(config.z_channels, deepest, 3, padding=1)
        self.mid = _Middle(deepest)
        self.up = nn.ModuleList()
        for level, c_out in enumerate(widths):  # up[0] is the highest resolution and runs last
            c_in = widths[level + 1] if level + 1 < len(widths) else deepest
            stage = _Level(c_in, c_out, config.num_res_blocks + 1)
            if level > 0:
                stage.upsample = _Upsample(c_out)
            self.up.append(stage)
        self.norm_out = _norm(widths[0])
        self.conv_out = nn.Conv2d(widths[0], config.out_ch, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        h = self.mid(self.conv_in(z))
        for stage in reversed(self.up):
            h = stage(h)
        out: Tensor = self.conv_out(F.silu(self.norm_out(h)))
        return out


class _Codebook(nn.Module):
    """Nearest entry by squared Euclidean distance; the gradient passes straight through."""

    def __init__(self, entries: int, channels: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(entries, channels)

    def forward(self, z: Tensor) -> Tensor:
        # z [B, Z, H, W]
        flat = z.detach().permute(0, 2, 3, 1).reshape(-1, z.shape[1])  # [BHW, Z]
        codes = self.embedding.weight.detach()  # [entries, Z]
        norms = codes.square().sum(dim=1)
        # |z - c|^2 without |z|^2, which does not depend on c
        nearest = torch.cat([(norms - 2.0 * part @ codes.T).argmin(dim=1) for part in torch.split(flat, _CHUNK)])
        found = codes[nearest].reshape(z.shape[0], *z.shape[2:], -1).permute(0, 3, 1, 2)  # [B, Z, H, W]
        return z + (found - z).detach()


class VQEncoder(nn.Module):
    """The published encoder file: encoder and its 1x1 convolution."""

    def __init__(self, config: VQConfig) -> None:
        super().__init__()
        self.encoder = _Encoder(config)
        self.quant_conv = nn.Conv2d(config.z_channels, config.z_channels, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Images -> continuous latents."""
        out: Tensor = self.quant_conv(self.encoder(images))
        return out


class VQDecoder(nn.Module):
    """The published decoder file: codebook, 1x1 convolution, decoder."""

    def __init__(self, config: VQConfig) -> None:
        super().__init__()
        self.decoder = _Decoder(config)
        self.quantize = _Codebook(config.n_embed, config.z_channels)
        self.post_quant_conv = nn.Conv2d(config.z_channels, config.z_channels, 1)

    def forward(self, z: Tensor, *, quantize: bool = True) -> Tensor:
        """Latents -> images, not clamped."""
        out: Tensor = self.decoder(self.post_quant_conv(self.quantize(z) if quantize else z))
        return out


class VQAutoencoder(nn.Module):
    """VQ-f4: [B, 3, S, S] to [B, 3, S/4, S/4] and back. Latents are neither quantized nor scaled when encoding.

    Source: latent diffusion, arXiv 2112.10752; frozen in IDiff-Face.
    """

    def __init__(self, config: VQConfig | None = None) -> None:
        super().__init__()
        self.config = config or VQConfig()
        self.encoder = VQEncoder(self.config)
        self.decoder = VQDecoder(self.config)

    def encode(self, images: Tensor) -> Tensor:
        """Images, float [B, 3, S, S] in [-1, 1], to latents [B, 3, S/4, S/4]."""
        out: Tensor = self.encoder(images)
        return out

    def decode_unclamped(self, z: Tensor, *, quantize: bool = True) -> Tensor:
        """The decoder's output as it is."""
        out: Tensor = self.decoder(z, quantize=quantize)
        return out

    def decode(self, z: Tensor, *, quantize: bool = True) -> Tensor:
        """Latents [B, 3, H, W] to images clamped to [-1, 1]; skip quantizing where gradients matter."""
        return self.decode_unclamped(z, quantize=quantize).clamp(-1.0, 1.0)
