from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from harness.diffusion.unet import (
    DEMO_CONFIG,
    PUBLISHED_ADAGN_CONFIG,
    PUBLISHED_CONFIG,
    PUBLISHED_UNCONDITIONAL_CONFIG,
    ConditionalUNet,
    Contextualized,
    UNetConfig,
)

TINY = UNetConfig(
    input_channels=4,
    initial_channels=32,
    channel_multipliers=(1, 2),
    is_attention=(False, True),
    n_blocks_per_resolution=1,
    context_input_channels=16,
    context_channels=32,
    context_tokens=4,
)

ADAGN = replace(TINY, condition_type="AdaGN")
UNCONDITIONAL = replace(ADAGN, is_context_conditional=False)


def make(config: UNetConfig = TINY, *, seed: int = 0) -> ConditionalUNet:
    """A network whose zero-initialized layers are filled, so that outputs say something."""
    torch.manual_seed(seed)
    unet = ConditionalUNet(config)
    for parameter in unet.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return unet.eval()


def inputs(batch: int = 3, config: UNetConfig = TINY) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(1)
    x = torch.randn(batch, config.input_channels, 8, 8, generator=g)
    t = torch.randint(0, 1000, (batch,), generator=g)
    return x, t, torch.randn(batch, config.context_input_channels, generator=g)


def _count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_published_parameter_counts() -> None:
    with torch.device("meta"):
        unet = ConditionalUNet(PUBLISHED_CONFIG)
    parts = {name: _count(child) for name, child in unet.named_children()}
    assert parts == {
        "image_proj": 2_688,
        "time_emb": 185_088,
        "context_emb": 131_328,
        "down": 69_941_856,
        "middle": 36_145_920,
        "up": 109_931_520,
        "norm": 192,
        "final": 2_595,
    }
    assert _count(unet) == 216_341_187
    assert len(unet.attention_blocks()) == 16
    assert PUBLISHED_CONFIG.widths == (96, 96, 192, 384, 768)


def test_demo_size() -> None:
    assert 1_900_000 < _count(ConditionalUNet(DEMO_CONFIG)) < 2_700_000


@pytest.mark.parametrize("config", [TINY, ADAGN, UNCONDITIONAL])
def test_output_is_exactly_zero_at_initialization(config: UNetConfig) -> None:
    x, t, context = inputs()
    assert not ConditionalUNet(config)(x, t, context).any()


@pytest.mark.parametrize("config", [TINY, ADAGN, UNCONDITIONAL])
def test_context_once_gives_the_same_numbers(config: UNetConfig) -> None:
    unet, (x, t, context) = make(config), inputs()
    with torch.no_grad():
        once = unet.contextualize(context)
        assert torch.equal(unet(x, t, once), unet(x, t, context))
        rows = [2, 0, 0]
        picked = unet(x, t, unet.contextualize(context).select(rows))
        assert torch.allclose(picked, unet(x, t, context[rows]), atol=1e-6)
        halves = Contextualized.concatenate([unet.contextualize(context[:1]), unet.contextualize(context[1:])])
        assert torch.allclose(unet(x, t, halves), unet(x, t, context), atol=1e-5)


@pytest.mark.parametrize("config", [TINY, ADAGN])
def test_context_matters_and_none_differs_from_zeros(config: UNetConfig) -> None:
    unet, (x, t, context) = make(config), inputs()
    with torch.no_grad():
        outputs = [unet(x, t, c) for c in (context, context.flip(0), torch.zeros_like(context), None)]
    for i in range(len(outputs)):
        for j in range(i):
            assert not torch.allclose(outputs[i], outputs[j], atol=1e-4)
    assert not unet.project(None, batch=2).any()
    bias = unet.context_emb.bias
    assert torch.allclose(unet.project(torch.zeros(1, 16))[0], bias)


def test_the_unconditional_network_reads_no_context() -> None:
    unet, (x, t, context) = make(UNCONDITIONAL), inputs()
    assert not hasattr(unet, "context_emb")
    with torch.no_grad():
        outputs = [unet(x, t, c) for c in (context, torch.zeros(3, 1), None)]
    assert outputs[0].any()
    assert all(torch.equal(output, outputs[0]) for output in outputs)
    assert unet.project(context).shape == unet.project(None, batch=3).shape == (3, 0)


def test_an_adagn_network_takes_no_tokens() -> None:
    unet, (x, t, context) = make(ADAGN), inputs()
    with pytest.raises(ValueError, match="extra tokens need cross-attention, which this network has not"):
        unet(x, t, context, extra_tokens=torch.zeros(3, TINY.context_channels, 8))


@pytest.mark.parametrize("config", [TINY, ADAGN])
def test_samples_do_not_influence_one_another(config: UNetConfig) -> None:
    unet, (x, t, context) = make(config), inputs()
    with torch.no_grad():
        whole = unet(x, t, context)
        alone = torch.cat([unet(x[i : i + 1], t[i : i + 1], context[i : i + 1]) for i in range(3)])
    assert torch.allclose(whole, alone, atol=1e-5)


def test_extra_tokens_change_no_name_and_are_read() -> None:
    unet, (x, t, context) = make(), inputs()
    g = torch.Generator().manual_seed(2)
    tokens = torch.randn(3, TINY.context_channels, 8, generator=g)
    with torch.no_grad():
        plain = unet(x, t, context)
        with_tokens = unet(x, t, context, extra_tokens=tokens)
        once = unet(x, t, unet.contextualize(context, extra_tokens=tokens))
    assert not torch.allclose(plain, with_tokens, atol=1e-4)
    assert torch.equal(with_tokens, once)
    with pytest.raises(ValueError, match="extra tokens"):
        unet(x, t, context, extra_tokens=tokens[:2])


@pytest.mark.parametrize("config", [TINY, ADAGN])
@pytest.mark.parametrize("p", [0.25, 0.5])
def test_partial_dropout_of_the_projected_context(p: float, config: UNetConfig) -> None:
    unet = make(replace(config, context_dropout_probability=p))
    context = torch.randn(4000, 16, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        complete = unet.project(context)
        assert torch.equal(complete, unet.project(context)), "evaluation mode is deterministic"
        unet.train()
        dropped = unet.project(context, generator=torch.Generator().manual_seed(4))
    zeroed = dropped == 0.0
    assert float(zeroed.float().mean()) == pytest.approx(p, abs=0.01)
    assert torch.allclose(dropped[~zeroed], complete[~zeroed] / (1.0 - p))
    per_sample = zeroed.float().mean(dim=1)
    assert float(per_sample.max()) < 1.0, "components are dropped, not whole contexts"
    assert float(per_sample.std()) == pytest.approx((p * (1 - p) / 32) ** 0.5, rel=0.1), "independently"


def test_whole_context_dropout_is_the_missing_context() -> None:
    values = {**TINY.__dict__, "context_dropout_probability": 0.0, "whole_context_dropout_probability": 0.3}
    unet = make(UNetConfig(**values)).train()
    with torch.no_grad():
        projected = unet.project(torch.ones(4000, 16), generator=torch.Generator().manual_seed(5))
    gone = (projected == 0.0).all(dim=1)
    assert float(gone.float().mean()) == pytest.approx(0.3, abs=0.03)
    assert (projected[~gone] != 0.0).all()


def test_dropout_follows_the_generator_and_leaves_the_global_one_alone() -> None:
    unet, (x, t, context) = make().train(), inputs()
    before = torch.get_rng_state()
    with torch.no_grad():
        a, b = (unet(x, t, context, generator=torch.Generator().manual_seed(6)) for _ in range(2))
        other = unet(x, t, context, generator=torch.Generator().manual_seed(7))
    assert torch.equal(a, b)
    assert not torch.equal(a, other)
    assert torch.equal(before, torch.get_rng_state())


def test_bfloat16_weights_run_and_stay_close() -> None:
    unet, (x, t, context) = make(), inputs()
    with torch.no_grad():
        exact = unet(x, t, context)
        half = unet.to(torch.bfloat16)(x, t, context)
    assert half.dtype == torch.float32
    assert float((half - exact).abs().max() / exact.abs().max()) < 0.05


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channel_multipliers": (1, 1.3)}, "multiples of 32"),
        ({"is_attention": (True,)}, "one entry per resolution"),
        ({"context_dropout_probability": 1.0}, r"\[0, 1\)"),
    ],
)
def test_bad_configurations(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        UNetConfig(**{**TINY.__dict__, **change})


def test_configuration_files() -> None:
    published = {"condition_type": "CA", "n_context_classes": 0, "channel_multipliers": [1, 2, 2, 2]}
    assert UNetConfig.from_dict(published) == PUBLISHED_CONFIG
    assert UNetConfig.from_dict({"condition_type": "AdaGN"}) == PUBLISHED_ADAGN_CONFIG
    free = {"condition_type": "AdaGN", "is_context_conditional": False}
    assert UNetConfig.from_dict(free) == PUBLISHED_UNCONDITIONAL_CONFIG
    with pytest.raises(ValueError, match="condition_type must be 'CA' or 'AdaGN', got 'LN'"):
        UNetConfig.from_dict({"condition_type": "LN"})
    with pytest.raises(ValueError, match="must be of condition_type 'AdaGN'"):
        UNetConfig.from_dict({"is_context_conditional": False})
    with pytest.raises(ValueError, match="n_context_classes must be 0"):
        UNetConfig.from_dict({"n_context_classes": 3})
    with pytest.raises(ValueError, match="unknown key 'widths'"):
        UNetConfig.from_dict({"widths": [1]})


def test_shapes_are_checked_at_entry() -> None:
    unet, (x, t, context) = make(), inputs()
    with pytest.raises(ValueError, match="x_t must be"):
        unet(x[:, :, :7], t, context)
    with pytest.raises(ValueError, match="t must have shape"):
        unet(x, t[:1], context)
    with pytest.raises(ValueError, match=r"contexts must have shape \[B, 16\]"):
        unet(x, t, context[:, :8])
    with pytest.raises(ValueError, match="3 images but 1 contexts"):
        unet(x, t, context[:1])
