"""When two recognizers are one, and what a crop adds to a stage."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from harness.components.base import Crop
from harness.faces.crops import ARCFACE, crop_template
from harness.graph import AlignStage, ProtocolStage, Stage, WeightsStage
from harness.store.weights import WeightsInfo, how_taken


def same_weights(a: Stage, b: Stage) -> bool:
    """Whether two recognizers have the same tensors: one stage, or files with the same content."""
    files = isinstance(a, WeightsStage) and isinstance(b, WeightsStage) and a.content == b.content
    return a.id == b.id or files


def same_recognizer(a: Stage, b: Stage) -> bool:
    """Whether two recognizers give the same embeddings: the same tensors, and pictures taken in the same way."""
    if a.id == b.id or not same_weights(a, b):
        return a.id == b.id
    first, second = (how_taken(WeightsInfo.model_validate(stage.settings)) for stage in (a, b))
    return first == second


def crop_label(crop: Crop) -> str:
    """What a stage's label says of a crop other than the usual one."""
    return "" if crop.view == ARCFACE else f" ({crop.view})"


def crop_definition(stage: Stage) -> dict[str, Any]:
    """The template of the crop that a stage makes, for its key: a plugin may have defined it."""
    if not isinstance(stage, AlignStage | ProtocolStage):
        return {}
    return {"template": asdict(crop_template(stage.view))}
