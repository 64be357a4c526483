from __future__ import annotations

import pytest
import torch
from torch import nn

from harness.diffusion.weights import load_strict, take_prefix
from harness.errors import DataError


def _tensors() -> dict[str, torch.Tensor]:
    return {"weight": torch.ones(2, 3, dtype=torch.float16), "bias": torch.full((2,), 2.0)}


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_loads_and_converts(device: str) -> None:
    module = nn.Linear(3, 2, device=device)
    load_strict(module, _tensors(), "file")
    assert module.weight.dtype == torch.float32
    assert module.weight.requires_grad
    assert torch.equal(module(torch.ones(1, 3)), torch.full((1, 2), 5.0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bias": None}, r"model.safetensors: .*missing bias \[2\]"),
        ({"extra": torch.ones(1)}, r"unexpected extra \[1\]"),
        ({"weight": torch.ones(3, 2)}, r"weight has shape \[3, 2\], expected \[2, 3\]"),
    ],
)
def test_names_what_does_not_fit(change: dict[str, torch.Tensor | None], message: str) -> None:
    module = nn.Linear(3, 2)
    before = module.weight.clone()
    tensors = {n: t for n, t in {**_tensors(), **change}.items() if t is not None}
    with pytest.raises(DataError, match=message):
        load_strict(module, tensors, "model.safetensors")
    assert torch.equal(module.weight, before), "nothing is loaded by half"


def test_long_lists_are_cut() -> None:
    with pytest.raises(DataError, match="and 1 more"):
        load_strict(nn.Linear(3, 2), {"a": torch.ones(1), "b": torch.ones(1)}, "file")


def test_take_prefix() -> None:
    assert set(take_prefix({"a.b": torch.ones(1), "c": torch.ones(1)}, "a.")) == {"b"}
