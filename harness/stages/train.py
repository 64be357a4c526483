"""FR training: a recognizer from aligned faces, or from raw pictures for one that conditions."""

from __future__ import annotations

from typing import Any

from harness.components.recognizer import Recognizer
from harness.components.roles import Role
from harness.components.run import Run
from harness.errors import StageError
from harness.graph import TrainStage
from harness.plugins import import_target, registry
from harness.stages.completeness import check_complete
from harness.stages.helpers import helpers
from harness.stages.saving import save, terms
from harness.stages.work import Work
from harness.store.weights import WeightsInfo


def finish(work: Work[TrainStage]) -> dict[str, Any]:
    """Train, from the checkpoint where there is one, with helpers where the settings ask for several devices."""
    check_complete(work.stage, work.given(_needs(work)).dataset)
    devices = getattr(work.component.settings, "devices", 1)
    with helpers(work.stage, work.store.root, work.device, devices, work.emit):
        trained = train(work, work.run)
    info = WeightsInfo(
        role="recognizer",
        kind=_architecture(trained, work.stage.component),
        settings=trained.settings.model_dump(mode="json"),
        view=trained.takes.view,
        size_px=trained.takes.size_px,
        color=trained.takes.color,
        **terms(work),
    )
    return save(work, trained.state(), info)


def train(work: Work[TrainStage], run: Run) -> Recognizer:
    """What the stage's trainer makes of what it is given."""
    trained: Recognizer = work.component.train(work.given(_needs(work)), run)
    return trained


def _needs(work: Work[TrainStage]) -> frozenset[Role]:
    """What the trainer asks for, and the benchmarks where they choose among its epochs."""
    needs: frozenset[Role] = work.component.needs
    return needs | {"pairs"} if work.protocol_names else needs


def _architecture(trained: Recognizer, trainer: str) -> str:
    """The name under which the recognizer's class is registered."""
    names = registry().names["recognizers"].values()
    alike = [n for n in names if n.target.endswith(f":{type(trained).__qualname__}")]  # others stay unimported
    kind = next((n.name for n in alike if import_target(n.target) is type(trained)), "")
    if not kind:
        raise StageError(f"{trainer} gave a {type(trained).__qualname__}, which no plugin registered")
    return kind
