"""Attributes and embeddings: the numbers that condition an image, each a function of its own place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from harness_id3.attributes import NAMES, decode_attributes, draw_attributes, encode_attributes, mirror_attributes
from harness_id3.network import ATTRIBUTE_DROPOUT, TOKENS, AttributeTokens, ID3Network
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import StageError

angles = st.floats(-90, 90, width=32)


@settings(deadline=None)
@given(st.lists(st.tuples(angles, angles, angles, st.floats(0, 100, width=32)), min_size=1, max_size=5))
def test_decoding_undoes_encoding(rows: list[tuple[float, float, float, float]]) -> None:
    given_values = dict(zip(NAMES, np.array(rows, dtype=np.float32).T, strict=True))
    scaled = encode_attributes(given_values, len(rows))
    assert scaled.shape == (len(rows), 4)
    assert scaled.dtype == np.float32
    assert (np.abs(scaled) <= 1).all()
    for name, column in decode_attributes(scaled).items():
        np.testing.assert_allclose(column, given_values[name], atol=1e-4)


def test_the_scale() -> None:
    values = {"yaw": [90, -45], "pitch": [0, 30], "roll": [-90, 120], "age": [0, 75]}
    scaled = encode_attributes({name: np.array(column, np.float32) for name, column in values.items()}, 2)
    np.testing.assert_allclose(scaled, [[1, 0, -1, -1], [-0.5, 1 / 3, 1, 0.5]], atol=1e-6)  # 120 degrees is clipped


def test_a_mirrored_face_looks_and_leans_to_the_other_side() -> None:
    values = {"yaw": [30, -60], "pitch": [10, -10], "roll": [5, np.nan], "age": [20, 80]}
    plain = encode_attributes({name: np.array(column, np.float32) for name, column in values.items()}, 2)
    found = decode_attributes(mirror_attributes(plain))
    np.testing.assert_allclose([found[name][0] for name in NAMES], [-30, 10, -5, 20], rtol=1e-5)
    assert np.isnan(mirror_attributes(plain)[1]).all(), "what is not known stays so"


def test_what_is_not_known() -> None:
    column = np.array([1, np.nan], np.float32)
    whole = dict.fromkeys(NAMES, column)
    scaled = encode_attributes(whole, 2)
    assert np.isfinite(scaled[0]).all()
    assert np.isnan(scaled[1]).all()
    assert np.isnan(encode_attributes({name: whole[name] for name in NAMES[1:]}, 2)).all()
    assert np.isnan(encode_attributes({}, 3)).all()


TABLE = np.array([[0.5, 0.0, 0.0, -0.5], [-0.25, 0.125, 0.0, 0.0], [0.0, 0.0, 0.25, 0.8]], np.float32)
RANGE = (60.0, 20.0, 0.0)


def drawn(law: Any, pose_only: bool = False, table: np.ndarray = TABLE, seed: int = 0) -> np.ndarray:
    """Of 2,000 images of identity 7."""
    return draw_attributes(table, law, RANGE, pose_only, seed, [7] * 2000, range(2000))


def test_uniform_pose_fills_its_range_and_keeps_the_tables_ages() -> None:
    found = decode_attributes(drawn("uniform-pose"))
    for name, limit in zip(("yaw", "pitch"), RANGE, strict=False):
        assert np.abs(found[name]).max() <= limit + 1e-4
        assert np.histogram(found[name], 4, (-limit, limit))[0].min() > 400, "500 of each quarter are expected"
    assert not found["roll"].any()
    assert abs(np.corrcoef(found["yaw"], found["pitch"])[0, 1]) < 0.1
    assert set(found["age"].tolist()) == set(decode_attributes(TABLE)["age"].tolist())


@pytest.mark.parametrize("law", ["table", "uniform-pose"])
def test_pose_only_holds_the_age(law: Any) -> None:
    whole, held = drawn(law), drawn(law, pose_only=True)
    assert np.array_equal(held[:, :3], whole[:, :3])
    assert held[:, 3] == pytest.approx(0.1)


@pytest.mark.parametrize("law", ["table", "uniform-pose"])
def test_drawn_attributes_are_functions_of_their_place(law: Any) -> None:
    whole = drawn(law)
    part = draw_attributes(TABLE, law, RANGE, False, 0, [3, 7, 7], [5, 900, 4])
    assert np.array_equal(part[1:], whole[[900, 4]])
    assert not np.array_equal(whole, drawn(law, seed=1))


def test_without_a_table_there_is_nothing_to_draw() -> None:
    empty = TABLE[:0]
    assert np.isnan(drawn("table", table=empty)).all()
    assert np.isnan(drawn("none")).all()
    for law, pose_only in (("uniform-pose", False), ("table", True)):
        with pytest.raises(StageError, match="fitted without attributes"):
            drawn(law, pose_only, table=empty)


def tokens() -> AttributeTokens:
    torch.manual_seed(0)
    return AttributeTokens(32)


def test_unknown_attributes_give_zero_tokens() -> None:
    values = torch.tensor([[0.1, 0.2, 0.3, 0.4], [torch.nan] * 4, [0.0, torch.nan, 0.0, 0.0]])
    out = tokens().eval()(values)
    assert out.shape == (3, 32, TOKENS)
    assert out[0].any()
    assert not out[1:].any()
    out.sum().backward()  # no NaN comes back


@pytest.mark.parametrize(("projection", "channels", "count"), [("then-linear", 256, 8), ("as-tokens", 256, 3)])
def test_both_readings_of_the_projection(projection: Any, channels: int, count: int) -> None:
    """Layers of 512, 256 and 768 units, ReLU between them, written out in float64; then a linear layer or nothing."""
    torch.manual_seed(0)
    layer = AttributeTokens(channels, projection).eval()
    layer.standardize_by(torch.rand(50, 4))
    values = torch.rand(3, 4)
    linear = [m for m in layer.project if isinstance(m, torch.nn.Linear)]
    widths = [512, 256, 768, *([channels * count] if projection == "then-linear" else [])]
    assert [m.out_features for m in linear] == widths
    h = ((values - layer.mean) / layer.spread).double().numpy()
    for place, m in enumerate(linear):
        h = h @ m.weight.detach().double().numpy().T + m.bias.detach().double().numpy()
        h = np.maximum(h, 0) if place < 2 else h
    np.testing.assert_allclose(layer(values).detach(), h.reshape(3, channels, count), rtol=1e-4, atol=1e-5)


def test_values_that_make_no_whole_tokens() -> None:
    with pytest.raises(ValueError, match="768 values make no tokens of 160"):
        AttributeTokens(160, "as-tokens")


def test_dropout_of_attributes_is_in_training_only_and_seeded() -> None:
    layer, values = tokens(), torch.rand(4000, 4)
    with torch.no_grad():
        a, b = (layer.train()(values, torch.Generator().manual_seed(1)) for _ in range(2))
        assert torch.equal(a, b)
        dropped = (a.flatten(1) == 0).all(dim=1)
        assert float(dropped.float().mean()) == pytest.approx(ATTRIBUTE_DROPOUT, abs=0.02)
        assert torch.equal(a[~dropped], layer.eval()(values)[~dropped])
        assert layer.eval()(values).flatten(1).any(dim=1).all()


def test_attributes_and_identity_both_reach_the_noise_estimate(network: ID3Network) -> None:
    x, t = torch.randn(1, 4, 8, 8), torch.tensor([5])
    y, s = torch.nn.functional.normalize(torch.randn(2, 16), dim=1), torch.tensor([[0.5, 0, 0, 0], [-0.5, 0, 0, 0]])
    with torch.no_grad():
        plain = network(x, t, y[:1], s[:1])
        assert (network(x, t, y[:1], s[1:]) - plain).abs().max() > 1e-3
        assert (network(x, t, y[1:], s[:1]) - plain).abs().max() > 1e-3
