"""Attributes of real faces: pose from landmarks, and whatever a registered predictor gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from harness_id3.attributes import encode_attributes
from harness_id3.generator import ID3, ID3FitSettings, known_attributes
from harness_id3.pose import LandmarkPose, estimate_pose, mean_head

from harness.builtin.small_cnn import SmallCNN
from harness.code import code_of
from harness.components import Crop, Given, ImageBatch, Run
from harness.errors import InputError
from harness.faces.faceset import FaceSet, ShardWriter, write_items
from harness.faceworld.geometry import rotation
from harness.faceworld.render import render
from harness.plugins import Registration, registry
from harness.testing import check_attribute_predictor, check_component, check_light_import, pictures

# A plugin's predictor of ages: the brightness of the picture in per cent.
AGE = """
import numpy as np
from harness.components import AttributePredictor

class Brightness(AttributePredictor):
    gives = ("age", "yaw")

    def predict(self, batch, run):
        age = batch.images.mean(axis=(1, 2, 3)).astype(np.float32) / 255 * 100
        return {"age": age, "yaw": np.full(len(batch), 89, np.float32)}
"""


def turned(angles: np.ndarray) -> np.ndarray:
    """Landmarks of the mean head at yaw, pitch and roll [N, 3], 30 px between the eyes, y downwards."""
    seen = np.einsum("nij,kj->nki", rotation(*angles.T), mean_head())[:, :, :2]
    return (seen * (30, -30) + (50, 70)).astype(np.float32)


def test_the_pose_of_the_mean_head_is_found() -> None:
    angles = np.random.default_rng(0).uniform((-85, -40, -60), (85, 40, 60), (200, 3))
    np.testing.assert_allclose(estimate_pose(turned(angles)), angles, atol=1e-2)


def test_scale_and_length_of_a_face_are_no_pose() -> None:
    frontal = turned(np.zeros((1, 3)))
    for stretch in ((1.0, 1.0), (3.0, 3.0), (1.0, 1.1), (1.0, 0.9)):
        np.testing.assert_allclose(estimate_pose(frontal * np.float32(stretch)), np.zeros((1, 3)), atol=0.5)


def test_what_is_not_finite_stays_unknown() -> None:
    points = turned(np.zeros((3, 3)))
    points[1, 4, 0] = np.nan
    assert np.isnan(estimate_pose(points)).all(axis=1).tolist() == [False, True, False]


def test_heads_of_other_proportions() -> None:
    """The face world's heads, whose pose is known: yaw to some degrees, and signs as they should be."""
    drawn = render(0, range(150), [0] * 150, "train", 64)
    found = estimate_pose(drawn.landmarks)
    yaw, pitch = drawn.attributes["yaw"], drawn.attributes["pitch"]
    assert np.corrcoef(found[:, 0], yaw)[0, 1] > 0.98
    assert np.abs(found[:, 0] - yaw).mean() < 6
    assert np.corrcoef(found[:, 1], pitch)[0, 1] > 0.5  # where the nose sits says as much as the pitch
    near = np.abs(yaw) < 20
    assert np.corrcoef(found[near, 2], drawn.attributes["roll"][near])[0, 1] > 0.7


def test_landmarks_are_looked_for_where_a_source_has_none() -> None:
    drawn = render(0, range(4), [0] * 4, "mild", 128)
    black = np.zeros_like(drawn.images[:1])
    batch = ImageBatch(np.arange(5), np.zeros(5, np.int64), np.concatenate([drawn.images, black]))
    found = LandmarkPose().predict(batch, Run(0))
    assert all(np.isnan(found[name][4]) for name in LandmarkPose.gives)
    exact = estimate_pose(drawn.landmarks)
    assert np.isfinite(found["yaw"][:4]).all()
    assert np.abs(found["yaw"][:4] - exact[:, 0]).max() < 20  # the detector looks for human eyes


@pytest.fixture
def source(tmp_path: Path) -> FaceSet:
    """Six faces with landmarks and no attributes."""
    drawn = render(0, range(6), [0] * 6, "train", 32)
    writer = ShardWriter(tmp_path, 0)
    for person in range(6):
        writer.add(person, 0, drawn.images[person], landmarks=drawn.landmarks[person])
    writer.close()
    write_items(tmp_path, 1)
    return FaceSet(tmp_path, Crop("raw", 32))


@pytest.fixture
def brightness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a predictor that another plugin registered."""
    (tmp_path / "brightness_plugin.py").write_text(AGE)
    monkeypatch.syspath_prepend(str(tmp_path))
    entry = Registration("attribute_predictors", "brightness", "brightness_plugin:Brightness", "a-plugin")
    monkeypatch.setitem(registry().names["attribute_predictors"], "brightness", entry)
    return "brightness"


def test_predictors_fill_what_the_source_lacks_and_the_first_is_believed(source: FaceSet, brightness: str) -> None:
    assert known_attributes(source, (), Run(0)) == {}
    found = known_attributes(source, ("landmark-pose", brightness), Run(0))
    assert source.landmarks is not None
    np.testing.assert_array_equal(found["yaw"], estimate_pose(source.landmarks)[:, 0])
    np.testing.assert_allclose(found["age"], source.images().mean(axis=(1, 2, 3)) / 2.55, rtol=1e-5)
    assert (known_attributes(source, (brightness, "landmark-pose"), Run(0))["yaw"] == 89).all()


def test_predictors_fill_single_gaps(source: FaceSet, brightness: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told = np.array([1, np.nan, 3, np.nan, 5, 6], np.float32)
    monkeypatch.setattr(FaceSet, "attributes", {"yaw": told, "age": np.full(6, 30, np.float32)})
    found = known_attributes(source, (brightness,), Run(0))
    assert found["yaw"].tolist() == [1, 89, 3, 89, 5, 6]
    assert (found["age"] == 30).all()


def test_a_fit_is_conditioned_on_what_predictors_give(source: FaceSet, brightness: str, recognizer: SmallCNN) -> None:
    names = ("landmark-pose", brightness)
    short = ID3FitSettings(size_px=32, network="demo", autoencoder_steps=1, steps=1, batch_size=2, predictors=names)
    fitted = ID3(short).fit(Given(source=source, recognizer=recognizer), Run(0))
    table = fitted.tensors["attribute_table"].float().numpy()
    expected = encode_attributes(known_attributes(source, names, Run(0)), 6)
    np.testing.assert_allclose(table, expected, atol=1e-3)


def test_a_predictors_source_enters_the_key(tmp_path: Path, brightness: str) -> None:
    plain, predicted = (ID3(ID3FitSettings(predictors=names)) for names in ((), (brightness,)))
    assert plain.identity() != predicted.identity()
    assert plain.uses() == ID3().uses() == ()
    assert [cls.__name__ for cls in predicted.uses()] == ["Brightness"]
    (module,) = code_of(predicted.uses()[0])
    assert module == predicted.uses()[0].__module__
    check_component(ID3(ID3FitSettings(predictors=(brightness, "landmark-pose"))))
    with pytest.raises(InputError, match="unknown attribute predictor 'agee'"):
        ID3(ID3FitSettings(predictors=("agee",))).uses()


def test_landmark_pose_is_a_component() -> None:
    check_attribute_predictor(LandmarkPose(), pictures())
    check_light_import("harness_id3.pose")
