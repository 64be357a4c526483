"""The IResNet recognizer: strict loading, embeddings, training."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from harness.builtin.iresnet import IResNet, IResNetSettings
from harness.builtin.margin import MarginTrainer
from harness.coding import to_unit
from harness.components import Crop, Given, Run
from harness.components.recognizer import COUNT
from harness.errors import DataError, InputError
from harness.faces.faceset import FaceSet, ShardWriter, write_items
from harness.testing import check_component, check_light_import, check_own_code
from harness.training.backbones.iresnet import IResNetwork
from harness.training.settings import MarginSettings

SHALLOW = IResNetSettings(depth=18)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (4, 112, 112, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def published(images: np.ndarray) -> dict[str, Tensor]:
    """A state dict as others publish it: with the counts of batches, and statistics that are not those of the start."""
    torch.manual_seed(0)
    network = IResNetwork(18).train()
    with torch.no_grad():
        for _ in range(2):
            network(to_unit(images, 112))
    return dict(network.state_dict())


@pytest.fixture(scope="module")
def recognizer(published: dict[str, Tensor]) -> Iterator[IResNet]:
    loaded = IResNet(SHALLOW)
    loaded.load(published)
    yield loaded
    assert not loaded.network.training, "no test may leave it in training mode"


@pytest.mark.parametrize(("depth", "weights"), [(18, 24_025_600), (50, 43_590_848), (100, 65_156_160)])
def test_sizes(depth: int, weights: int) -> None:
    with torch.device("meta"):
        network = IResNetwork(depth)
    fixed = 512  # the scale of the last normalization
    assert sum(p.numel() for p in network.parameters()) + fixed == weights
    assert "features.weight" in network.state_dict()
    assert "features.weight" not in dict(network.named_parameters())


def test_embeddings(recognizer: IResNet, images: np.ndarray) -> None:
    first, again = recognizer.embed(images), recognizer.embed(images, batch_size=3)
    assert first.shape == (4, 512) == (4, recognizer.width)
    assert first.dtype == np.float32
    assert np.isfinite(first).all()
    assert np.array_equal(first, recognizer.embed(images)), "evaluation mode is deterministic"
    assert np.abs(first - again).max() <= 1e-4 * np.abs(first).max(), "the batch size changes nothing"
    assert recognizer.takes == Crop("arcface", 112)


def test_images_of_another_size_are_resized(recognizer: IResNet, images: np.ndarray) -> None:
    small = np.ascontiguousarray(images[:1, ::2, ::2])
    assert recognizer.embed(small).shape == (1, 512)
    with pytest.raises(InputError, match="takes crops of 112 px, got 32"):
        IResNet(SHALLOW, Crop("arcface", 32))


def test_dropout_only_in_training(recognizer: IResNet, images: np.ndarray) -> None:
    assert recognizer.network.dropout.p == 0.4
    maps = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(recognizer.network.dropout(maps), maps)


def test_order_of_the_head(recognizer: IResNet, images: np.ndarray) -> None:
    # BN2d, flatten, dropout, linear, BN1d; channel-major flattening
    n, x = recognizer.network, to_unit(images[:2], 112)
    with torch.no_grad():
        maps = n.layer4(n.layer3(n.layer2(n.layer1(n.prelu(n.bn1(n.conv1(x)))))))
        assert maps.shape == (2, 512, 7, 7)
        expected = n.features(n.bn2(maps).reshape(2, -1) @ n.fc.weight.T + n.fc.bias)
        assert torch.allclose(recognizer.features(x), expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_gradients_reach_the_images_and_not_the_weights(recognizer: IResNet, images: np.ndarray) -> None:
    x = to_unit(images[:1], 112).requires_grad_()
    recognizer.features(x).sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    assert x.grad.abs().max() > 0
    assert not any(p.requires_grad for p in recognizer.network.parameters())


def test_state_and_load(recognizer: IResNet, published: dict[str, Tensor], images: np.ndarray) -> None:
    state = recognizer.state()
    assert set(published) - set(state) == {name for name in published if name.endswith(COUNT)}
    other = IResNet(SHALLOW)
    other.load({name: value.clone() for name, value in state.items()})
    assert np.array_equal(other.embed(images), recognizer.embed(images))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fc.bias": None}, r"fc\.bias has nothing, expected \(512,\); is the depth 18"),
        ({"bn1.num_batches_tracked": None}, r"bn1\.num_batches_tracked has nothing, expected \(\)"),
        ({"more": torch.ones(3)}, r"more has \(3,\), expected nothing"),
        ({"more.num_batches_tracked": torch.ones(())}, r"more\.num_batches_tracked has \(\), expected nothing"),
        ({"conv1.weight": torch.ones(64, 3, 7, 7)}, r"conv1\.weight has \(64, 3, 7, 7\), expected \(64, 3, 3, 3\)"),
    ],
)
def test_strict(published: dict[str, Tensor], change: dict[str, Tensor | None], message: str) -> None:
    recognizer = IResNet(SHALLOW)
    before = recognizer.network.fc.weight.clone()
    tensors = {name: t for name, t in {**published, **change}.items() if t is not None}
    with pytest.raises(DataError, match=message):
        recognizer.load(tensors)
    assert torch.equal(recognizer.network.fc.weight, before), "nothing is loaded by half"


def test_it_is_a_component(recognizer: IResNet) -> None:
    check_component(recognizer)
    check_own_code(recognizer)
    check_light_import("harness.builtin.iresnet")


def test_the_margin_trainer_trains_it(tmp_path: Path, images: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = ShardWriter(tmp_path, 0)
    for item, image in enumerate(images):
        writer.add(item // 2, item % 2, image)
    writer.close()
    write_items(tmp_path, 1)
    monkeypatch.setattr("harness.builtin.margin.backbone_class", lambda name: IResNet)
    settings = MarginSettings(backbone="iresnet", backbone_settings={"depth": 18}, epochs=1, batch_size=4)
    run = Run(0, folder=tmp_path)
    trained = MarginTrainer(settings).train(Given(dataset=FaceSet(tmp_path, Crop("arcface", 112))), run)
    assert isinstance(trained, IResNet)
    assert np.isfinite(trained.embed(images)).all()
    assert torch.equal(trained.network.features.weight, torch.ones(512))
    assert run.checkpoint.load() is not None
