"""The margin trainer and its small network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from harness.builtin.heads import CosFace
from harness.builtin.margin import MarginTrainer
from harness.builtin.small_cnn import SmallCNN, SmallCNNSettings
from harness.coding import to_unit
from harness.components import Crop, Given, Recognizer, Run
from harness.errors import DataError, InputError, StageError, Stopped
from harness.faces.faceset import FaceSet
from harness.plugins import registry
from harness.stats.verification import unit
from harness.training.loop import flip_and_scale
from harness.training.settings import MarginSettings

MakeFaces = Callable[..., FaceSet]
FAST = {"epochs": 3, "batch_size": 24, "backbone_settings": {"width": 16}}


def train(faces: FaceSet, run: Run, **settings: Any) -> Recognizer:
    return MarginTrainer(MarginSettings(**(FAST | settings))).train(Given(dataset=faces), run)


def same_weights(a: Recognizer, b: Recognizer) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state().values(), b.state().values(), strict=True))


@pytest.fixture
def faces(make_faces: MakeFaces, colored: tuple[np.ndarray, np.ndarray]) -> FaceSet:
    return make_faces(*colored)


@pytest.fixture(params=["plain", "dropout"])
def dropout(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network without randomness of its own, and one with dropout, as IResNet has."""
    if request.param == "dropout":
        plain = SmallCNN.features
        monkeypatch.setattr(SmallCNN, "features", lambda self, x: F.dropout(plain(self, x), 0.4, self.network.training))


def test_training_tells_people_apart(faces: FaceSet) -> None:
    recognizer = train(faces, Run(0), epochs=12)
    assert recognizer.takes == Crop("arcface", 32)
    e = unit(recognizer.embed(faces.images()))
    cosine, same = e @ e.T, faces.labels[:, None] == faces.labels[None]
    apart = ~np.eye(len(e), dtype=bool)
    assert cosine[same & apart].mean() > cosine[~same].mean() + 0.5


@pytest.mark.usefixtures("dropout")
def test_stopped_training_goes_on_to_the_same_weights(faces: FaceSet, tmp_path: Path) -> None:
    whole = train(faces, Run(5))
    for stop_after in (2, 4, 7):  # within an epoch, at its end, in a later one
        folder = tmp_path / str(stop_after)
        folder.mkdir()
        calls = iter(range(100))
        with pytest.raises(Stopped, match=f"step {stop_after} of 12"):
            train(faces, Run(5, folder=folder, should_stop=lambda: next(calls) + 1 == stop_after))  # noqa: B023
        events: list[dict[str, Any]] = []
        resumed = train(faces, Run(5, folder=folder, emit=lambda kind, data: events.append(data)))  # noqa: B023
        assert same_weights(whole, resumed)
        counted = [event for event in events if "done" in event]
        assert counted[-1]["done"] == counted[-1]["total"] == 12 * 24
    killed = tmp_path / "2"  # the finished run's last checkpoint: nothing is left to do
    assert same_weights(whole, train(faces, Run(5, folder=killed)))


@pytest.mark.usefixtures("dropout")
def test_the_seed_decides_and_the_global_generator_does_not(faces: FaceSet) -> None:
    torch.manual_seed(1)
    first = train(faces, Run(0), epochs=1)
    state = torch.random.get_rng_state()
    second = train(faces, Run(0), epochs=1)
    assert same_weights(first, second)
    assert torch.equal(state, torch.random.get_rng_state())
    assert not same_weights(first, train(faces, Run(1), epochs=1))


def test_loss_that_is_not_finite_stops_with_its_step_and_batch(
    faces: FaceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, calls = SmallCNN.features, []

    def broken(self: SmallCNN, x: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return plain(self, x) * (float("nan") if len(calls) == 3 else 1.0)

    monkeypatch.setattr(SmallCNN, "features", broken)
    with pytest.raises(StageError, match=r"the loss is nan at step 2 of 12.*kept in (\S+)") as error:
        train(faces, Run(0, folder=tmp_path))
    kept = load_file(str(error.value).rpartition(" ")[2])  # labels, pixels and network inputs of the step, by position
    assert sorted(tuple(t.shape) for t in kept.values()) == [(24,), (24,), (24, 3, 32, 32), (24, 3, 32, 32)]


def test_float16_weights_are_rounded(faces: FaceSet) -> None:
    recognizer = train(faces, Run(0), epochs=1, save="float16")
    assert all(torch.equal(x, x.half().float()) for x in recognizer.state().values())
    assert all(x.dtype == torch.float32 for x in recognizer.state().values())


def test_bfloat16_training_learns(faces: FaceSet) -> None:
    losses: list[float] = []
    run = Run(0, emit=lambda kind, data: losses.append(data["value"]) if data.get("name") == "loss" else None)
    train(faces, run, epochs=6, dtype="bfloat16")
    assert losses[-1] < losses[0] - 1


@pytest.mark.parametrize("name", sorted(MarginTrainer.recipes))
def test_recipes_are_valid(name: str) -> None:
    MarginSettings(**MarginTrainer.recipes[name])


def test_one_identity_is_refused(make_faces: MakeFaces) -> None:
    alone = make_faces(np.zeros((4, 32, 32, 3), np.uint8), np.zeros(4, np.int64))
    with pytest.raises(StageError, match="4 images of 1 identities"):
        train(alone, Run(0))


class Frozen(Recognizer):
    """Has no network to train."""


def test_a_backbone_can_be_trained_and_its_code_counts(faces: FaceSet, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MarginTrainer(MarginSettings()).uses() == (SmallCNN, CosFace)
    monkeypatch.setattr(registry(), "load", lambda kind, name: Frozen)
    with pytest.raises(InputError, match="backbone 'small-cnn' is Frozen, expected a TrainableRecognizer"):
        train(faces, Run(0))


def test_wrong_backbone_settings_are_named(faces: FaceSet) -> None:
    with pytest.raises(InputError, match=r"backbone_settings\.depth"):
        train(faces, Run(0), backbone_settings={"depth": 3})


def test_augmentation_flips_half_and_stays_in_range() -> None:
    x = torch.linspace(-1, 1, 5).expand(2000, 3, 2, 5).clone()
    settings = MarginSettings(flip=0.5, color_jitter=0.0)
    y = flip_and_scale(x, settings, torch.Generator().manual_seed(0), slice(None), len(x))
    flipped = (y == x.flip(3)).flatten(1).all(1)
    assert (flipped | (y == x).flatten(1).all(1)).all()
    assert 0.45 < flipped.float().mean() < 0.55
    settings = MarginSettings(color_jitter=0.5)
    bright = flip_and_scale(x, settings, torch.Generator().manual_seed(0), slice(None), len(x))
    assert bright.abs().max() <= 1
    assert not torch.equal(bright, y)


@pytest.mark.parametrize("size", [32, 48, 112])
def test_small_cnn_takes_every_crop_size_and_is_differentiable(size: int) -> None:
    recognizer = SmallCNN(takes=Crop("arcface", size))
    recognizer.load(recognizer.state())
    x = to_unit(np.random.default_rng(0).integers(0, 256, (2, size, size, 3), dtype=np.uint8)).requires_grad_()
    features = recognizer.features(x)
    assert features.shape == (2, 64)
    features.sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in recognizer.network.parameters())


def test_small_cnn_size_and_evaluation_mode() -> None:
    recognizer = SmallCNN()
    weights = sum(value.numel() for value in recognizer.network.parameters())
    assert 0.5e6 < weights < 0.6e6
    images = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    together = recognizer.embed(images)
    assert np.allclose(recognizer.embed(images[2:3])[0], together[2], atol=1e-5)


def test_small_cnn_weights_load_strictly() -> None:
    one, other = SmallCNN(), SmallCNN()
    other.load(one.state())
    assert same_weights(one, other)
    with pytest.raises(DataError, match=r"embed\.weight has \(64, 2560\), expected \(32, 2560\)"):
        SmallCNN(SmallCNNSettings(width=32)).load(one.state())
    with pytest.raises(DataError, match=r"extra has \(1,\), expected nothing"):
        one.load(one.state() | {"extra": torch.zeros(1)})
