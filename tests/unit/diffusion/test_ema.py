from __future__ import annotations

import pytest
import torch
from torch import nn

from harness.diffusion.ema import EMA, ema_decay


def test_published_decay() -> None:
    assert [ema_decay(update) for update in (1, 2)] == [0.0, 0.0], "at the second one update was made before it"
    assert [ema_decay(update) for update in (3, 4, 401)] == pytest.approx([1 - n**-0.75 for n in (2.0, 3.0, 400.0)])
    assert ema_decay(10_000) == pytest.approx(0.9990, abs=1e-6)
    assert ema_decay(150_000) == pytest.approx(0.99987, abs=1e-5)
    assert ema_decay(10**9) == 0.9999
    with pytest.raises(ValueError, match="counted from 1"):
        ema_decay(0)


def _drift(updates: int) -> tuple[nn.Linear, EMA]:
    module = nn.Linear(1, 1)
    nn.init.zeros_(module.weight)
    ema = EMA(module)
    for _ in range(updates):
        with torch.no_grad():
            module.weight += 1.0
        ema.update(module)
    return module, ema


def test_average_lags_a_constant_drift() -> None:
    module, ema = _drift(100)
    raw, average = module.weight.item(), float(ema.weights()["weight"])
    assert raw == 100.0
    expected = 0.0
    for n in range(1, 101):
        expected = ema_decay(n) * expected + (1 - ema_decay(n)) * n
    assert average == pytest.approx(expected, rel=1e-5)
    assert 10.0 < raw - average < 50.0


def test_the_raw_weights_stay_and_the_state_comes_back() -> None:
    module, ema = _drift(10)
    kept = {n: t.clone() for n, t in ema.state_dict().items()}
    again = EMA(nn.Linear(1, 1))
    again.load_state_dict(kept)
    for e in (ema, again):
        e.update(module)
    assert again.updates == 11
    assert torch.equal(again.weights()["weight"], ema.weights()["weight"])
    assert module.weight.item() == 10.0


def test_buffers_are_copied_and_weights_load_strictly() -> None:
    module = nn.BatchNorm1d(2)
    ema = EMA(module)
    module(torch.randn(8, 2))
    ema.update(module)
    fresh = nn.BatchNorm1d(2)
    fresh.load_state_dict(ema.weights(), strict=True)
    assert torch.equal(fresh.running_mean, module.running_mean)
    assert int(fresh.num_batches_tracked) == 1


def test_bfloat16_modules_are_averaged_in_float32() -> None:
    module = nn.Linear(2, 2).to(torch.bfloat16)
    ema = EMA(module)
    ema.update(module)
    assert ema.weights()["weight"].dtype == torch.float32
