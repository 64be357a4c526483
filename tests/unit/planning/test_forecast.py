"""What is left of a run: from rates of stages that were built before, and honest where there are none."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.graph import AlignStage, EvaluateStage, FitStage, GenerateStage, RowPlan, Stage, StageId
from harness.planning.forecast import Rates, TimeLeft, forecast
from harness.results import StageRecord
from harness.store.artifacts import Manifest, Store


def made(kind: str, component: str, seconds: float, settings: Any = None, options: Any = None) -> Manifest:
    return Manifest(
        kind=kind,
        key="0" * 24,
        content="",
        component=component,
        settings=settings or {},
        seed=0,
        parents={},
        options=options or {},
        seconds=seconds,
        device="cpu",
        license={},
        created=0,
        finished=0,
        files={},
    )


FIT = FitStage(key="f", label="fit", component="ldm", told={"steps": 500, "lr": 0.1})
SLOW = GenerateStage(
    key="g", label="slow", component="toy", identities=30, per_identity=10, told={"steps": 20}, model=FIT.id
)
QUICK = GenerateStage(
    key="q", label="quick", component="toy", identities=30, per_identity=10, told={"steps": 5}, model=FIT.id
)
ALIGN = AlignStage(key="a", label="align", component="mtcnn", crop_px=32, faces=SLOW.id)
JUDGED = EvaluateStage(key="e", label="judged", component="separability", dataset=ALIGN.id)
STAGES: tuple[Stage, ...] = (FIT, SLOW, QUICK, ALIGN, JUDGED)


@pytest.fixture
def plan() -> Any:
    row = RowPlan("row", 0, ALIGN, (JUDGED,), "toy")
    return SimpleNamespace(stages={stage.id: stage for stage in STAGES}, row_plans=[row])


@pytest.fixture
def rates() -> Rates:
    rates = Rates()
    rates.add(made("fit", "ldm", 60.0, {"steps": 1000, "lr": 0.1}))
    rates.add(made("generate", "toy", 40.0, {"steps": 20}, {"identities": 10, "per_identity": 10}))
    rates.add(made("evaluate", "separability", 7.0, {}, JUDGED.options))
    return rates


def test_time_grows_with_images_and_steps(rates: Rates) -> None:
    # 1,000 steps took 60 s; 10 x 10 images of 20 steps took 40 s
    assert rates.seconds(FIT) == pytest.approx(30.0)
    assert rates.seconds(SLOW) == pytest.approx(120.0)
    assert rates.seconds(QUICK) == pytest.approx(30.0)
    assert rates.seconds(JUDGED) == 7.0
    assert rates.seconds(ALIGN) is None


def test_the_same_settings_count_before_others(rates: Rates) -> None:
    rates.add(made("fit", "ldm", 9000.0, {"steps": 1000, "lr": 0.2}))
    assert rates.seconds(FIT) == pytest.approx(30.0)


def test_chains_wait_and_other_work_is_shared(plan: Any, rates: Rates) -> None:
    found = forecast(plan, plan.stages, rates)
    assert found.unknown == ("align",)
    assert found.seconds == pytest.approx(30 + 120 + 30 + 7)
    assert found.longest == pytest.approx(30 + 120 + 7)
    assert found.wall(1) == found.seconds
    assert found.wall(8) == found.longest
    assert forecast(plan, [SLOW.id], rates).seconds == pytest.approx(120)


def test_a_run_learns_as_it_goes(plan: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = TimeLeft(plan, tmp_path, [FIT.id, SLOW.id], workers=1)
    assert left.words() == "not known (2 of 2 stages are like none that was built here)"
    known = {FIT.id: made("fit", "ldm", 60.0, dict(FIT.told)), SLOW.id: made("generate", "toy", 150.0, {}, {})}
    monkeypatch.setattr(
        Store, "find", lambda self, kind, key: SimpleNamespace(manifest=known[StageId(kind, key)], folder=None)
    )
    left.finished(StageRecord(kind="fit", key="f", content="", seconds=60.0))
    assert left.missing == {SLOW.id}
    left.missing.add(FIT.id)
    assert left.words() == "at least 1.0 min (1 of 2 stages are like none that was built here)"
    left.finished(StageRecord(kind="fit", key="f", content="", seconds=60.0, cached=True))
    left.finished(StageRecord(kind="generate", key="g", content="", seconds=60.0))
    assert left.words() == "about 0 s"
