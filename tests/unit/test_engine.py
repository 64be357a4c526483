"""The engine waits for nobody for ever, and says for whom it waits."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from harness.engine import Engine
from harness.errors import StageError
from harness.graph import SuitePlan
from harness.hookspecs import hookimpl
from harness.planning.planner import plan_suite
from harness.store.workers import Outcome, Task
from harness.suites.read import load_suite

SUITE = """
name: waits
crop_px: 32
dataset: {identities: 2, per_identity: 2}
aligner: none
trainer: {use: margin, recipe: tiny}
rows: {toy: {use: toy}}
evaluate: [{use: separability, source: world}]
sources: {world: {use: faceworld, identities: 4, per_identity: 2, size_px: 32}}
"""


class Listener:
    """Keeps the warnings of a run."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    @hookimpl
    def stage_warned(self, stage: str, text: str) -> None:
        self.texts.append(f"{stage}: {text}")


@pytest.fixture
def plan(tmp_path: Path) -> SuitePlan:
    path = tmp_path / "suite.yaml"
    path.write_text(SUITE, encoding="utf-8")
    return plan_suite(load_suite(path), path)


def test_another_process_that_does_nothing_is_not_waited_for(
    plan: SuitePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.engine._WAIT_TOLD_S", 0.3)
    listener = Listener()
    engine = Engine(plan, tmp_path / "work", 1, "cpu", until="generate", listeners=[listener], stall_s=1.0)
    generate = plan.row_plans[0].generate
    assert generate is not None
    lock = engine.store.claim(*generate.id)
    assert lock is not None
    with pytest.raises(StageError, match=f"process {os.getpid()} holds its lock and has written nothing"):
        engine.run()
    lock.release()
    assert f"toy seed 0: generate: waits for process {os.getpid()}, which builds it" in listener.texts


def test_a_worker_that_dies_while_it_checks_damages_nothing(plan: SuitePlan, tmp_path: Path) -> None:
    Engine(plan, tmp_path / "work", 1, "cpu", until="generate").run()
    generate = plan.row_plans[0].generate
    assert generate is not None
    engine = Engine(plan, tmp_path / "work", 1, "cpu", until="generate")
    artifact = engine.store.find(*generate.id)
    assert artifact is not None
    engine.checking[generate.id] = artifact
    task = Task("harness.stages.phases:check_artifact", (), (generate.id, "check", 0), "check")
    engine._on_outcome(Outcome(task, error="WorkerDied", message="its worker died"))
    engine.pool.close()
    assert engine.failed[generate.id].endswith("could not be checked: its worker died")
    assert engine.store.find(*generate.id) is not None


def test_each_start_keeps_its_own_suite(plan: SuitePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for start in ("2026-01-01T00-00-00", "2026-01-02T00-00-00"):
        monkeypatch.setattr("harness.engine.time.strftime", lambda *args, start=start: start)
        Engine(plan, tmp_path / "work", 1, "cpu", only=("nobody",)).run()
    folder = tmp_path / "work" / "results" / "waits"
    starts = sorted(path.name for path in (folder / "starts").iterdir())
    assert starts == [f"2026-01-0{day}T00-00-00Z-{os.getpid()}.yaml" for day in (1, 2)]
    texts = {path.read_text(encoding="utf-8") for path in (*(folder / "starts").iterdir(), folder / "suite.yaml")}
    assert texts == {plan.resolved_yaml}


def test_what_a_listener_raises_is_a_warning(plan: SuitePlan, tmp_path: Path) -> None:
    class Bad:
        @hookimpl
        def suite_started(self, plan: Any) -> None:
            raise OSError("full")

    good = Listener()
    with pytest.warns(UserWarning, match="plugin Bad of this run failed on suite_started: OSError: full"):
        Engine(plan, tmp_path / "work", 1, "cpu", only=("nobody",), listeners=[good, Bad()]).run()
