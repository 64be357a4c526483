"""Each recognizer gets its own crop of the same pictures, and is its tensors, its settings and its crop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from suites import write

from harness.builtin.small_cnn import SmallCNN
from harness.components import Crop
from harness.faces import crops
from harness.faces.crops import ARCFACE_CROP, CropTemplate, crop_template, reference_landmarks
from harness.graph import AlignStage, EvaluateStage, ProtocolStage, SuitePlan
from harness.planning.planner import plan_suite
from harness.store.weights import WeightsInfo, how_taken, read_info, weights_content, write_weights
from harness.suites.read import load_suite
from tests.unit.planning.test_planner import fault

WIDE = CropTemplate(tuple((x / 2 + 28, y / 2 + 28) for x, y in ARCFACE_CROP.points), 112)
CNN: dict[str, Any] = {"kind": "small-cnn", "role": "recognizer", "settings": {"width": 8}}
COND = {"cond": {"weights": "cond.safetensors"}}
LDM = {"ldm": {"weights": "ldm.safetensors"}}


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """A crop that is installed, as a plugin's would be."""
    from harness.plugins import Registration, registry

    monkeypatch.setitem(registry().names["crops"], "wide", Registration("crops", "wide", f"{__name__}:WIDE", "test"))
    monkeypatch.setattr(crops, "import_target", lambda target: WIDE if target.endswith(":WIDE") else ARCFACE_CROP)


def file(path: Path, value: float = 0.0, **info: Any) -> str:
    write_weights(path, {"a": torch.full((2, 3), value)}, WeightsInfo(**info))
    return weights_content(path)


def planned(path: Path) -> SuitePlan:
    return plan_suite(load_suite(path, ()), path)


def evaluations(plan: SuitePlan, row: str) -> dict[str, EvaluateStage]:
    return {stage.component: stage for each in plan.row_plans if each.row == row for stage in each.evaluations}


def test_recognizers_of_several_crops_in_one_suite(tmp_path: Path) -> None:
    file(tmp_path / "wide.safetensors", view="wide", size_px=48, **CNN)
    entries = {"wide": {"weights": "wide.safetensors"}}
    rows = {"own": {"recognizer": "judge"}, "wide": {"recognizer": "wide"}}
    plan = planned(write(tmp_path, recognizers=entries, rows=rows))
    seen = {}
    for row in rows:
        parents = evaluations(plan, row)["verification"].parents
        protocol = plan.stages[parents["protocols:fw-lfw"]]
        assert isinstance(protocol, ProtocolStage)
        seen[row] = protocol
    assert [seen[row].crop for row in rows] == [Crop("arcface", 32), Crop("wide", 48)]
    assert seen["own"].key != seen["wide"].key
    assert seen["own"].settings == seen["wide"].settings


def test_a_judge_gets_the_dataset_in_its_crop(tmp_path: Path) -> None:
    file(tmp_path / "wide.safetensors", view="wide", size_px=48, **CNN)
    rows = {"authentic": {"use": "authentic", "source": "world", "aligner": "mtcnn"}}
    path = write(tmp_path, recognizers={"judge": {"weights": "wide.safetensors"}})
    text = path.read_text().replace("aligner: none", "aligner: mtcnn")
    path.write_text(text)
    plan = planned(path)
    (row,) = [each for each in plan.row_plans if each.row in rows]
    assert row.align is not None
    judged = plan.stages[evaluations(plan, "authentic")["separability"].parents["dataset"]]
    assert isinstance(judged, AlignStage)
    assert (row.align.crop, judged.crop) == (Crop("arcface", 32), Crop("wide", 48))
    assert judged.parents == row.align.parents
    assert (judged.component, judged.identities, judged.per_identity) == ("mtcnn", 10, 20)
    assert plan.stages[row.recognizer.parents["dataset"]] == row.align


def test_pictures_without_an_aligner_cannot_be_two_crops(tmp_path: Path) -> None:
    file(tmp_path / "wide.safetensors", view="wide", size_px=48, **CNN)
    message = fault(write(tmp_path, recognizers={"judge": {"weights": "wide.safetensors"}}))
    assert "cannot be arcface and wide crops at once; name an aligner" in message


def test_crops_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    file(tmp_path / "judge.safetensors", view="wid", size_px=48, **CNN)
    judge = {"judge": {"weights": "judge.safetensors"}}
    assert "recognizers.judge.weights: unknown crop 'wid'" in fault(write(tmp_path, recognizers=judge))
    message = fault(write(tmp_path, rows={"cond": {"recognizer": "cond"}}))
    assert message.endswith("rows.cond.recognizer: 'cond' takes raw pictures, not aligned faces")


def test_what_a_crop_is_enters_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file(tmp_path / "wide.safetensors", view="wide", size_px=48, **CNN)
    path = write(tmp_path, recognizers={"wide": {"weights": "wide.safetensors"}}, rows={"wide": {"recognizer": "wide"}})
    before = {stage.key for stage in planned(path).stages.values() if stage.kind == "protocol"}
    other = CropTemplate(WIDE.points, 113)
    monkeypatch.setattr(crops, "import_target", lambda target: other if target.endswith(":WIDE") else ARCFACE_CROP)
    after = {stage.key for stage in planned(path).stages.values() if stage.kind == "protocol"}
    assert len(before & after) == 1  # the ArcFace crop's, which did not change
    assert len(before | after) == 3


def test_a_template_scales_with_its_crop() -> None:
    assert np.allclose((reference_landmarks(48, "wide") + 0.5) / 48, (np.array(WIDE.points) + 0.5) / 112)
    assert crop_template("arcface") == ARCFACE_CROP


@pytest.fixture
def fitted(tmp_path: Path) -> dict[str, Any]:
    """A model in a file, fitted with the recognizer in another one; what that file says."""
    taken = {**CNN, "view": "raw", "size_px": 32}
    content = file(tmp_path / "cond.safetensors", 1.0, **taken)
    model = {"role": "model", "kind": "latent-diffusion/1", "settings": {}, "recognizer": content}
    took = how_taken(read_info(tmp_path / "cond.safetensors"))
    file(tmp_path / "ldm.safetensors", **model, recognizer_took=took)
    file(tmp_path / "early.safetensors", **model)
    return taken


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"color": "bgr"}, "color was rgb, now bgr"),
        ({"settings": {"width": 16}}, "settings was {'width': 8}, now {'width': 16}"),
        ({"size_px": 48}, "size_px was 32, now 48"),
    ],
)
def test_a_model_is_refused_with_the_same_tensors_taken_otherwise(
    change: dict[str, Any], told: str, tmp_path: Path, fitted: dict[str, Any]
) -> None:
    planned(write(tmp_path, recognizers=COND, models=LDM))
    file(tmp_path / "cond.safetensors", 1.0, **{**fitted, **change})
    message = fault(write(tmp_path, recognizers=COND, models=LDM))
    assert message.endswith(f"models.ldm: was fitted with the tensors of 'cond', but {told}")


def test_contexts_of_the_same_tensors_taken_otherwise_are_refused(tmp_path: Path, fitted: dict[str, Any]) -> None:
    file(tmp_path / "other.safetensors", 1.0, **{**fitted, "color": "bgr"})
    entries = {**COND, "other": {"weights": "other.safetensors"}}
    contexts = {"use": "class-gaussian", "source": "world", "recognizer": "other"}
    message = fault(write(tmp_path, recognizers=entries, models=LDM, dataset={"contexts": contexts}))
    assert "dataset.contexts.recognizer: got 'other', expected the recognizer that" in message


def test_models_of_earlier_versions_know_the_tensors_alone(tmp_path: Path, fitted: dict[str, Any]) -> None:
    file(tmp_path / "cond.safetensors", 1.0, **{**fitted, "color": "bgr"})
    planned(write(tmp_path, recognizers=COND, models={"ldm": {"weights": "early.safetensors"}}))


def test_a_recognizer_of_bgr_gets_its_colors_in_that_order() -> None:
    rng = np.random.default_rng(3)
    images = rng.integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    one, other = SmallCNN(), SmallCNN(takes=Crop("arcface", 32, "bgr"))
    other.load(one.state())
    assert np.array_equal(other.embed(images), one.embed(np.ascontiguousarray(images[..., ::-1])))
    assert not np.allclose(other.embed(images), one.embed(images))
