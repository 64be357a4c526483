from __future__ import annotations

import pytest
import torch
from torch import nn

from harness.diffusion.autoencoder import PixelAutoencoder, SmallAutoencoder, SmallConfig, VQAutoencoder, VQConfig
from harness.diffusion.vq import VQDecoder

VQ_TINY = VQConfig(ch=32, ch_mult=(1, 2, 2), num_res_blocks=1, n_embed=64)
SMALL_TINY = SmallConfig(latent_channels=4, width=8, inner_width=16)


def images(batch: int = 2, side: int = 16) -> torch.Tensor:
    return 2.0 * torch.rand(batch, 3, side, side, generator=torch.Generator().manual_seed(0)) - 1.0


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_published_vq_parameter_counts() -> None:
    with torch.device("meta"):
        model = VQAutoencoder()
    assert _count(model.encoder.encoder) == 22_337_411
    assert _count(model.encoder.quant_conv) == _count(model.decoder.post_quant_conv) == 12
    assert _count(model.decoder.decoder) == 32_960_771
    assert _count(model.decoder.quantize) == 24_576


@pytest.mark.parametrize("side", [16, 28, 32])
@pytest.mark.parametrize(
    ("autoencoder", "channels", "factor"),
    [
        (VQAutoencoder(VQ_TINY), 3, 4),
        (SmallAutoencoder(SMALL_TINY), 4, 4),
        (PixelAutoencoder(), 3, 1),
        (PixelAutoencoder(2), 12, 2),
    ],
    ids=["vq", "small", "pixels", "pixels-unshuffled"],
)
def test_autoencoders_share_shapes_and_range(autoencoder: nn.Module, channels: int, factor: int, side: int) -> None:
    x = images(side=side)
    with torch.no_grad():
        z = autoencoder.encode(x)  # type: ignore[operator]
        assert z.shape == (2, channels, side // factor, side // factor)
        for quantize in (True, False):
            out = autoencoder.decode(10.0 * z, quantize=quantize)  # type: ignore[operator]
            assert out.shape == x.shape
            assert float(out.abs().max()) <= 1.0


@pytest.mark.parametrize("autoencoder", [VQAutoencoder(VQ_TINY), SmallAutoencoder(SMALL_TINY), PixelAutoencoder(2)])
@pytest.mark.parametrize("quantize", [True, False])
def test_gradients_pass_the_decoder(autoencoder: nn.Module, quantize: bool) -> None:
    z = (0.1 * autoencoder.encode(images()).detach()).requires_grad_()  # type: ignore[operator]
    autoencoder.decode(z, quantize=quantize).sum().backward()  # type: ignore[operator]
    assert z.grad is not None
    assert z.grad.abs().sum() > 0


@pytest.mark.parametrize("unshuffle", [1, 2])
def test_pixels_come_back(unshuffle: int) -> None:
    autoencoder, x = PixelAutoencoder(unshuffle), images()
    assert torch.equal(autoencoder.decode(autoencoder.encode(x)), x)


def test_codebook_takes_the_nearest_entry() -> None:
    decoder = VQDecoder(VQ_TINY)
    z = torch.randn(2, 3, 5, 4, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        decoder.quantize.embedding.weight.normal_(generator=torch.Generator().manual_seed(2))
        codes = decoder.quantize.embedding.weight
        found = decoder.quantize(z)
        distances = (z.permute(0, 2, 3, 1)[..., None, :] - codes).square().sum(dim=-1)  # [B, H, W, entries]
        expected = codes[distances.argmin(dim=-1)].permute(0, 3, 1, 2)
    assert torch.allclose(found, expected, atol=1e-6)


def test_vq_configuration_files() -> None:
    published = {"double_z": False, "resolution": 256, "ch": 128, "ch_mult": [1, 2, 4], "attn_resolutions": []}
    assert VQConfig.from_dict(published) == VQConfig()
    with pytest.raises(ValueError, match="no attention"):
        VQConfig.from_dict({"attn_resolutions": [32]})


def test_small_latents_are_standardized_and_the_statistics_travel() -> None:
    torch.manual_seed(0)
    model, x = SmallAutoencoder(SMALL_TINY), images(64)
    model.fit_standardization(x, batch_size=10)
    z = model.encode(x)
    assert torch.allclose(z.mean(dim=(0, 2, 3)), torch.zeros(4), atol=1e-4)
    assert torch.allclose(z.std(dim=(0, 2, 3)), torch.ones(4), atol=1e-4)
    again = SmallAutoencoder(SMALL_TINY)
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.encode(x), z)


def test_small_size() -> None:
    assert _count(SmallAutoencoder()) < 1_000_000
    with pytest.raises(ValueError, match="divisible by 4"):
        SmallAutoencoder().encode(images(side=18))
