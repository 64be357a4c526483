"""The shipped model: heads turn the way they are asked to."""

from __future__ import annotations

import numpy as np
import pytest
from harness_id3.attributes import encode_attributes
from harness_id3.generator import ID3, ID3SampleSettings
from harness_id3.pose import LandmarkPose

from harness.components import Given, ImageBatch, Model, Run, SamplePlan
from harness.faceworld.render import render
from harness.stages.opening import load_recognizer
from harness.store.shipped import demo_path
from harness.store.weights import load_tensors, read_info

PEOPLE = 24
YAW = 25.0  # degrees to either side


@pytest.fixture(scope="module")
def demo() -> Given:
    path = demo_path("id3")
    info = read_info(path)
    model = Model(info.kind, info.settings, load_tensors(path))
    return Given(model=model, recognizer=load_recognizer(demo_path("cond")))


def test_heads_turn_the_way_they_are_asked_to(demo: Given) -> None:
    """Every person twice, turned to either side; MTCNN finds the landmarks that say where the nose points."""
    anchors = demo.recognizer.embed(render(0, range(PEOPLE), [0] * PEOPLE, "mild", 32).images)
    anchors /= np.linalg.norm(anchors, axis=1, keepdims=True)
    who, which = np.divmod(np.arange(2 * PEOPLE), 2)
    asked = {"yaw": np.where(which, YAW, -YAW), "pitch": 0 * who, "roll": 0 * who, "age": 0 * who + 35}
    attributes = encode_attributes(asked, len(who))
    plan = SamplePlan(who, which, {"attributes": attributes}, {"anchor": anchors})
    settings = ID3SampleSettings(sampler="dpm-solver++", steps=10, gamma=0.0, bounds=(1.0, 1.0))
    made = np.concatenate([batch.images for batch in ID3(settings).sample(plan, demo, Run(seed=0))])
    large = made.repeat(4, axis=1).repeat(4, axis=2)  # the detector wants larger faces
    yaw = LandmarkPose().predict(ImageBatch(who, which, large), Run(0))["yaw"].reshape(PEOPLE, 2)
    turned = (yaw[:, 1] - yaw[:, 0])[np.isfinite(yaw).all(axis=1)]
    assert len(turned) > PEOPLE / 2
    assert (turned > 0).mean() > 0.8, "to the side that was asked for"
    assert turned.mean() > YAW / 2
