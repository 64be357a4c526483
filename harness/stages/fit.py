"""Fits: a generator's model, fitted to a source."""

from __future__ import annotations

from typing import Any

from harness.components.model import Model
from harness.components.roles import Role
from harness.components.run import Run
from harness.graph import FitStage
from harness.stages.helpers import helpers
from harness.stages.saving import save, terms
from harness.stages.work import Work
from harness.store.weights import WeightsInfo, how_taken


def finish(work: Work[FitStage]) -> dict[str, Any]:
    """Fit, with helper processes where the settings ask for several devices."""
    devices = getattr(work.component.settings, "devices", 1)
    with helpers(work.stage, work.store.root, work.device, devices, work.emit):
        model = fit(work, work.run)
    recognizer = work.artifact("recognizer")
    taken = None if recognizer is None else WeightsInfo.model_validate(recognizer.manifest.details["info"])
    info = WeightsInfo(
        role="model",
        kind=model.kind,
        settings=dict(model.settings),
        recognizer="" if recognizer is None else recognizer.manifest.content,
        recognizer_took={} if taken is None else how_taken(taken),
        **terms(work),
    )
    return save(work, model.tensors, info)


def fit(work: Work[FitStage], run: Run) -> Model:
    """What the stage's generator fits to what it is given."""
    needs: frozenset[Role] = work.component.fit_needs | {"autoencoder"}
    model: Model = work.component.fit(work.given(needs), run)
    return model
