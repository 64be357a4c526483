"""The ID3 generator: what is drawn for each image, and sampling with and without the adjusted score."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from harness_id3.generator import ID3, ID3FitSettings, ID3SampleSettings, embedder
from harness_id3.loss import LossWeights, gaussian_decoder_weight
from harness_id3.network import AttributeTokens
from pydantic import ValidationError
from torch.nn import functional as F

from harness.builtin.small_cnn import SmallCNN
from harness.coding import to_unit
from harness.components import Crop, Given, Model, Request, Run, SamplePlan
from harness.diffusion.embeddings import embeddings_around
from harness.diffusion.latent import LatentDiffusion
from harness.diffusion.samplers import bind
from harness.diffusion.sampling import sample_images
from harness.diffusion.schedule import linear_schedule
from harness.diffusion.weights import load_strict, take_prefix
from harness.errors import StageError
from harness.faces.faceset import FaceSet, ShardWriter, write_items

GRAY_LEVELS = 2  # by which rounding may move a pixel when batches differ


def generator(**settings: Any) -> ID3:
    return ID3(ID3SampleSettings(**{"steps": 3, **settings}))


@pytest.fixture(scope="module")
def ready(model: Model, anchors: np.ndarray, recognizer: SmallCNN) -> Given:
    """All that ID3 needs to plan and sample."""
    return Given(model=model, contexts=anchors, recognizer=recognizer)


def planned(ready: Given, count: int = 3, **settings: Any) -> SamplePlan:
    return generator(**settings).plan(Request(6, count), ready, Run(seed=0))


def images(ready: Given, plan: SamplePlan, **settings: Any) -> np.ndarray:
    return np.concatenate([batch.images for batch in generator(**settings).sample(plan, ready, Run(seed=0))])


def distance(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.abs(a.astype(int) - b.astype(int)).max())


def test_attributes_are_rows_of_the_table(ready: Given) -> None:
    table = ready.model.tensors["attribute_table"].float().numpy()
    drawn = planned(ready, 50).items["attributes"]
    which = [int(np.flatnonzero((table == row).all(axis=1))[0]) for row in drawn]
    assert np.bincount(which).min() > 60  # 100 of each are expected
    fewer = planned(ready, 2)
    assert np.array_equal(fewer.items["attributes"], drawn.reshape(6, 50, 4)[:, :2].reshape(-1, 4))


def test_attributes_are_recorded_with_the_images(ready: Given) -> None:
    plan = planned(ready, 1)
    batch = next(generator().sample(plan, ready, Run(seed=0)))
    assert set(batch.attributes) == {"yaw", "pitch", "roll", "age"}
    np.testing.assert_allclose(batch.attributes["yaw"], plan.items["attributes"][:, 0] * 90)
    np.testing.assert_allclose(batch.attributes["age"], (plan.items["attributes"][:, 3] + 1) * 50)


def test_without_attributes(ready: Given, model: Model, anchors: np.ndarray) -> None:
    plan = planned(ready, 1, attributes="none")
    assert np.isnan(plan.items["attributes"]).all()
    empty = {**model.tensors, "attribute_table": torch.zeros(0, 4).half()}
    bare = Given(model=Model(model.kind, model.settings, empty), contexts=anchors)
    assert np.isnan(planned(bare, 1).items["attributes"]).all()
    a = images(ready, plan, attributes="none")
    assert not np.array_equal(a, images(ready, planned(ready, 1)))


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
def test_gamma_zero_is_the_plain_sampler_to_the_last_bit(ready: Given, sampler: Any) -> None:
    plan, settings, run = planned(ready, 1), ID3SampleSettings(steps=3, sampler=sampler), Run(seed=0)
    parts, tokens = LatentDiffusion.from_model(ready.model), AttributeTokens(32)
    load_strict(tokens, take_prefix(ready.model.tensors, "attributes."), "model")
    drawn = embeddings_around(
        plan.pool["anchor"][plan.identities], settings.bounds, 0, plan.identities, plan.samples, "id3"
    )
    with torch.no_grad():
        extra = tokens.eval()(torch.from_numpy(plan.items["attributes"]))
        contexts = parts.unet.contextualize(torch.from_numpy(drawn), extra_tokens=extra)
    expected = sample_images(parts, plan, run, bind(parts.unet, contexts), settings)
    assert np.array_equal(images(ready, plan, gamma=0.0, sampler=sampler), expected)


@pytest.mark.parametrize("through", [True, False])
def test_the_adjusted_score_brings_images_closer_to_their_identity(ready: Given, through: bool) -> None:
    plan = planned(ready, 2)
    drawn = embeddings_around(plan.pool["anchor"][plan.identities], (0.7, 0.9), 0, plan.identities, plan.samples, "id3")
    closeness = []
    for gamma in (0.0, 20.0):
        made = images(ready, plan, gamma=gamma, through_denoiser=through)
        found = F.normalize(torch.from_numpy(ready.recognizer.embed(made)), dim=1)
        closeness.append(float((found * torch.from_numpy(drawn)).sum(dim=1).mean()))
    assert closeness[1] > closeness[0] + 0.05


def test_batches_and_slices_change_nothing(ready: Given) -> None:
    plan = planned(ready)
    a, b = images(ready, plan, batch_size=3), images(ready, plan, batch_size=16)
    assert 20 < a.std() < 100
    assert distance(a, b) <= GRAY_LEVELS
    assert distance(images(ready, plan.rows(5, 11)), a[5:11]) <= GRAY_LEVELS
    assert distance(a[0], a[1]) > 10 * GRAY_LEVELS


def test_the_embedder_is_the_recognizer_after_the_decoder(model: Model, recognizer: SmallCNN) -> None:
    parts = LatentDiffusion.from_model(model)
    z = torch.randn(2, 4, 8, 8, requires_grad=True)
    found = embedder(parts.autoencoder, recognizer)(z)
    decoded = parts.autoencoder.decode(z.detach())
    torch.testing.assert_close(found.detach(), F.normalize(recognizer.features(decoded), dim=1))
    found[:, 0].sum().backward()
    assert z.grad is not None
    assert z.grad.any()
    other = type(recognizer)(recognizer.settings, Crop("raw", 24))
    other.load(recognizer.state())
    pixels = (decoded.permute(0, 2, 3, 1).numpy() + 1) * 127.5
    resized = recognizer.features(to_unit(pixels.round().astype(np.uint8), 24))
    torch.testing.assert_close(
        embedder(parts.autoencoder, other)(z).detach(), F.normalize(resized, dim=1), atol=2e-2, rtol=0
    )


def test_sampling_needs_the_recognizer(ready: Given, model: Model) -> None:
    assert "recognizer" in ID3.needs
    with pytest.raises(StageError, match=r"given\.recognizer"):
        images(Given(model=model), planned(ready, 1))


@pytest.mark.parametrize(
    "wrong",
    [
        {"gamma": -1},
        {"attributes": "some"},
        {"bounds": [0.5]},
        {"bounds": [0.9, 0.7]},
        {"bounds": [0.5, 1.1]},
        {"bounds": [-2, 0]},
        {"pose_range": [100, 20, 10]},
        {"attributes": "none", "pose_only": True},
        {"gamma": 0, "clip_norm": 1},
        {"gamma": 0, "guide_below": 800},
        {"gamma": 0, "c_t": "rising"},
        {"reference_quirks": True},
    ],
)
def test_settings_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ID3SampleSettings(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"reconstruction_weight": -1},
        {"reconstruction_weight": "laplace"},
        {"inner_weight": -0.5},
        {"inner_weight": 0, "c_t": "rising"},
        {"inner_weight": 0, "inner_share": 4},
        {"c_t": "flat"},
        {"projection": "both"},
    ],
)
def test_settings_of_a_fit_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ID3FitSettings(**wrong)


def test_a_network_without_cross_attention_is_refused() -> None:
    """It could not read the attributes."""
    with pytest.raises(ValidationError, match="network"):
        ID3FitSettings(network="published-adagn")


def test_the_options_of_score_and_attributes_reach_the_images(ready: Given) -> None:
    def made(**settings: Any) -> np.ndarray:
        return images(ready, planned(ready, 1, **settings), **settings)

    plain = made(gamma=0.0)
    apart = [distance(made(gamma=20.0, **more), plain) for more in ({}, {"clip_norm": 1e-3}, {"guide_below": 1})]
    assert apart[0] > max(apart[1:])
    assert apart[1] <= GRAY_LEVELS, "gradients of next to no length"
    assert distance(made(gamma=20.0, c_t="rising"), made(gamma=20.0)) > 0
    uniform = planned(ready, 1, attributes="uniform-pose", pose_only=True).items["attributes"]
    assert np.abs(uniform[:, :3] * 90 / (60, 20, 10)).max() <= 1 + 1e-6
    assert len(np.unique(uniform[:, 3])) == 1
    assert not np.array_equal(made(attributes="uniform-pose"), made())


@pytest.mark.parametrize("pose_only", [True, False])
def test_a_fit_on_pose_alone_has_one_age(tmp_path: Path, recognizer: SmallCNN, pose_only: bool) -> None:
    """Faces of which nobody knows the age are without attributes, unless the fit asks for their pose alone."""
    writer, random = ShardWriter(tmp_path, 0), np.random.default_rng(0)
    for sample in range(4):
        picture = random.integers(0, 255, (32, 32, 3), dtype=np.uint8)
        writer.add(0, sample, picture, attributes={"yaw": 9.0 * sample, "pitch": 0.0, "roll": 0.0})
    writer.close()
    write_items(tmp_path, 1)
    short = {"size_px": 32, "network": "demo", "autoencoder_steps": 1, "steps": 1, "batch_size": 2}
    fit = ID3(ID3FitSettings(**short, pose_only=pose_only))
    given = Given(source=FaceSet(tmp_path, Crop("raw", 32)), recognizer=recognizer)
    table = fit.fit(given, Run(seed=0)).tensors["attribute_table"]
    expected = [[0.1 * sample, 0, 0, 0] for sample in range(4)] if pose_only else []
    torch.testing.assert_close(table.float(), torch.tensor(expected).reshape(-1, 4), atol=1e-3, rtol=0)


@pytest.mark.parametrize("known", [True, False])
def test_a_fit_keeps_the_attribute_table(
    tmp_path: Path, recognizer: SmallCNN, anchors: np.ndarray, known: bool
) -> None:
    writer, random = ShardWriter(tmp_path, 0), np.random.default_rng(0)
    for sample in range(6):
        picture = random.integers(0, 255, (32, 32, 3), dtype=np.uint8)
        attributes = {"yaw": 45.0, "pitch": 0.0, "roll": -9.0, "age": np.nan if sample == 5 else 10.0 * sample}
        writer.add(sample // 2, sample, picture, attributes=attributes if known else None)
    writer.close()
    write_items(tmp_path, 1)
    source = FaceSet(tmp_path, Crop("raw", 32))
    short = ID3FitSettings(size_px=32, network="demo", autoencoder_steps=1, steps=1, batch_size=2, save="float16")
    fitted = ID3(short).fit(Given(source=source, recognizer=recognizer), Run(seed=0))
    assert fitted.kind == "id3/1"
    table = fitted.tensors["attribute_table"].float()
    expected = [[0.5, 0.0, -0.1, 0.2 * sample - 1] for sample in range(5)] if known else []
    torch.testing.assert_close(table, torch.tensor(expected).reshape(-1, 4), atol=1e-3, rtol=0)
    ready = Given(model=fitted, contexts=anchors, recognizer=recognizer)
    plan = planned(ready, 1).rows(0, 1)
    assert images(ready, plan, steps=2).shape == (1, 32, 32, 3)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, LossWeights(1.0, "falling", 2, 1.0)),
        ({"inner_weight": 0, "reconstruction_weight": 0}, LossWeights(0.0, "falling", 2, 0.0)),
        ({"c_t": "rising", "inner_share": 4, "reconstruction_weight": 30}, LossWeights(1.0, "rising", 4, 30.0)),
        ({"reconstruction_weight": "gaussian"}, LossWeights(reconstruction=gaussian_decoder_weight(linear_schedule()))),
    ],
)
def test_the_settings_are_weights_of_the_loss(settings: dict[str, Any], expected: LossWeights) -> None:
    assert ID3(ID3FitSettings(**settings))._loss_weights(linear_schedule()) == expected


def test_weights_and_projection_reach_fit_and_sampling(
    tmp_path: Path, recognizer: SmallCNN, anchors: np.ndarray
) -> None:
    """The loss of the fit is another one, and a model is sampled with the projection that it was fitted with."""
    writer, random = ShardWriter(tmp_path, 0), np.random.default_rng(0)
    for sample in range(8):
        picture = random.integers(0, 255, (32, 32, 3), dtype=np.uint8)
        writer.add(0, sample, picture, attributes={"yaw": 9.0 * sample, "pitch": 0.0, "roll": 0.0, "age": 5.0 * sample})
    writer.close()
    write_items(tmp_path, 1)
    given = Given(source=FaceSet(tmp_path, Crop("raw", 32)), recognizer=recognizer)
    short = {"size_px": 32, "network": "demo", "autoencoder_steps": 1, "steps": 2, "batch_size": 8}
    plain, changed = (
        ID3(ID3FitSettings(**short, projection="as-tokens", **more)).fit(given, Run(seed=0))
        for more in ({}, {"inner_weight": 0, "reconstruction_weight": "gaussian"})
    )
    moved = [name for name, tensor in plain.tensors.items() if not torch.equal(tensor, changed.tensors[name])]
    assert moved
    assert all(name.startswith(("unet.", "attributes.")) for name in moved), "the autoencoder is the same"
    assert changed.settings["projection"] == "as-tokens"
    layers = [name for name in changed.tensors if name.startswith("attributes.project") and name.endswith("weight")]
    assert len(layers) == 3
    ready = Given(model=changed, contexts=anchors, recognizer=recognizer)
    assert images(ready, planned(ready, 1).rows(0, 2), steps=2).shape == (2, 32, 32, 3)


def test_a_fit_needs_a_recognizer() -> None:
    assert "recognizer" in ID3.fit_needs
    with pytest.raises(StageError, match=r"given\.recognizer"):
        ID3(ID3FitSettings()).fit(Given(), Run(seed=0))
