"""Weights files, taken into the store."""

from __future__ import annotations

from typing import Any

from harness.graph import WeightsStage
from harness.stages.opening import WEIGHTS_FILE
from harness.stages.work import Work
from harness.store.shipped import WeightsPlace
from harness.store.weights import read_info, weights_content


def finish(work: Work[WeightsStage]) -> dict[str, Any]:
    """Copy the file, since its owner may write over the original; or have it written."""
    target = work.folder / WEIGHTS_FILE
    WeightsPlace(work.stage.path, work.stage.maker).put(target)
    info = read_info(target)
    return {"content": weights_content(target), "counts": {}, "details": {"info": info.model_dump(mode="json")}}
