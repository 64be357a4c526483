"""Two processes that train together, through Lightning Fabric on the CPU, train one model."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import Any

import pytest
import torch

from harness.errors import StageError
from harness.ranks import Ranks

# What one process of two (or, without LOCAL_RANK, the only one) does; it writes what it found to a file.
WORK = """
import os, sys
import torch
from harness.diffusion.schedule import linear_schedule
from harness.diffusion.training import Hooks, TrainSettings, denoising_loss, train
from harness.diffusion.unet import ConditionalUNet, UNetConfig
from harness.errors import StageError, Stopped

RANK = int(os.environ.get("LOCAL_RANK", 0))
CONFIG = UNetConfig(
    input_channels=2, initial_channels=32, channel_multipliers=(1,), is_attention=(True,), n_blocks_per_resolution=1,
    context_input_channels=8, context_channels=32, context_tokens=2, context_dropout_probability=0.0,
)
g = torch.Generator().manual_seed(1)
DATA = {"latents": torch.randn(10, 2, 4, 4, generator=g), "contexts": torch.randn(10, 8, generator=g)}
SETTINGS = {"batch_size": 4, "learning_rate": 1e-3, "lr_schedule": "cosine", "devices": int(sys.argv[2])}

def exact(model, batch, generator):  # draws nothing; float64, since Adam makes much of small differences
    x = batch["latents"].double().flatten(1)
    return (model(x) - x.flip(1)).square().mean()

def trained(loss, hooks=None, data=DATA, **more):
    torch.manual_seed(0)
    linear = torch.nn.Linear
    perceptron = torch.nn.Sequential(linear(32, 16), torch.nn.Tanh(), linear(16, 32)).double()
    model = perceptron if loss is exact else ConditionalUNet(CONFIG)
    train(model, data, loss, TrainSettings(**SETTINGS, **{"steps": 8, **more}), seed=0, hooks=hooks or Hooks())
    return model.state_dict()

def fails(**arguments):
    try:
        trained(exact, **arguments)
    except (StageError, Stopped) as error:
        return str(error)

noisy, saved = denoising_loss(linear_schedule(40)), []
found = {"exact": trained(exact), "noisy": trained(noisy, Hooks(save=saved.append), checkpoint_every=3)}
found["resumed"] = [trained(noisy, Hooks(restore=lambda c=c: c)) for c in saved]
asked = iter([False, False, True])
found["stopped"] = fails(hooks=Hooks(stop_requested=lambda: RANK == 0 and next(asked)))
spoiled = {**DATA, "latents": DATA["latents"] * (float("nan") if RANK else 1.0)}
found["nan"] = fails(data=spoiled)
torch.save(found, sys.argv[1])
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What the only process found, then each of two."""
    folder = tmp_path_factory.mktemp("ranks")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    places: list[tuple[str, int, dict[str, str]]] = [("alone", 1, {})]
    places += [(f"rank{rank}", 2, {**address, "LOCAL_RANK": str(rank)}) for rank in range(2)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WORK, str(folder / name), str(devices)],
            env={**os.environ, **more, "OMP_NUM_THREADS": "1"},
        )
        for name, devices, more in places
    ]
    assert [process.wait(timeout=300) for process in processes] == [0, 0, 0]
    return [torch.load(folder / name) for name, _, _ in places]


def apart(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    return max(float((a[name] - b[name]).abs().max()) for name in a)


def test_shares_of_a_batch_train_as_the_batch_does(found: list[dict[str, Any]]) -> None:
    alone, *ranks = (each["exact"] for each in found)
    assert all(apart(weights, alone) < 1e-9 for weights in ranks)


def test_all_processes_hold_the_same_weights_whatever_noise_they_draw(found: list[dict[str, Any]]) -> None:
    alone, *ranks = (each["noisy"] for each in found)
    assert apart(*ranks) == 0
    assert apart(ranks[0], alone) > 1e-4, "the second process's noise is its own"


def test_resumed_equals_uninterrupted(found: list[dict[str, Any]]) -> None:
    for each in found:
        assert len(each["resumed"]) == 2
        assert all(apart(weights, each["noisy"]) == 0 for weights in each["resumed"])


def test_what_one_is_told_or_finds_stops_all(found: list[dict[str, Any]]) -> None:
    assert {each["stopped"] for each in found} == {"training stopped after 2 of 8 steps; a checkpoint was kept"}
    assert found[0]["nan"] is None
    assert all("the loss is nan at step 0" in each["nan"] for each in found[1:])


def test_alone_nothing_is_changed_and_fabric_is_not_imported() -> None:
    script = "import sys, torch; from harness.ranks import Ranks; r = Ranks(1, torch.device('cpu'));"
    script += "assert r.mean(0.3) == 0.3 and 'lightning_fabric' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_several_need_somebody_to_start_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    with pytest.raises(StageError, match="devices 2: only what runs as a stage"):
        Ranks(2, torch.device("cpu"))
