"""What a fit or a training made, as a weights file in the store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from harness.graph import Stage
from harness.stages.opening import WEIGHTS_FILE
from harness.stages.work import Work
from harness.store.weights import WeightsInfo, weights_content, write_weights

if TYPE_CHECKING:
    import torch


def terms(work: Work[Stage]) -> dict[str, Any]:
    """License and provenance of what a component made, as :class:`WeightsInfo` holds them."""
    license = type(work.component).license
    stage = work.stage
    provenance = {"component": stage.component, "seed": stage.seed, "settings": dict(stage.told)}
    return {"license": license.name, "commercial_use": license.commercial_use, "provenance": provenance}


def save(work: Work[Stage], tensors: Mapping[str, torch.Tensor], info: WeightsInfo) -> dict[str, Any]:
    """Write the file; what the manifest says of it."""
    path = work.folder / WEIGHTS_FILE
    write_weights(path, tensors, info)
    return {
        "content": weights_content(path),
        "counts": {"parameters": sum(tensor.numel() for tensor in tensors.values())},
        "details": {"info": info.model_dump(mode="json")},
    }
