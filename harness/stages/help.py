"""The main program of a helper: a process that fits or trains beside the worker, on another device."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

from harness.components.run import Checkpoint, Run
from harness.errors import Stopped
from harness.graph import FitStage, Stage, TrainStage, stage_from_json
from harness.stages.fit import fit
from harness.stages.phases import prepare_process
from harness.stages.train import train
from harness.stages.work import Work
from harness.store.artifacts import WORK, Store
from harness.store.workers import failure


class _ReadOnly(Checkpoint):
    def save(self, state: dict[str, Any]) -> None:
        """The worker saves."""

    def keep(self, name: str, state: dict[str, Any]) -> Path | None:
        """And keeps what it fails at."""
        return None


def help_stage(stage: Stage, root: Path, device: str) -> None:
    """Fit or train as a helper: the stage's work without its progress, curves, pictures, checkpoints and artifact."""
    prepare_process()
    assert isinstance(stage, FitStage | TrainStage)
    work: Any = Work(stage, Store(root), device, lambda kind, data: None, lambda: False)
    run = Run(stage.seed, device)
    run.checkpoint = _ReadOnly(work.folder / WORK)
    with contextlib.suppress(Stopped):
        fit(work, run) if isinstance(stage, FitStage) else train(work, run)


def main() -> None:
    """Read the order from standard input and help until it ends; standard output is for an error alone."""
    order = json.loads(sys.stdin.readline())
    report = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # for what a plugin or a library prints

    def end_with_the_worker() -> None:
        sys.stdin.read()
        os._exit(1)

    threading.Thread(target=end_with_the_worker, daemon=True).start()
    rank = os.environ["LOCAL_RANK"]
    device = f"cuda:{rank}" if order["device"] == "cuda" else order["device"]
    stage = stage_from_json(order["stage"])
    try:
        help_stage(stage, Path(order["root"]), device)
    except Exception as error:  # a plugin may raise anything
        report.write(json.dumps(failure(error)))
        report.flush()
        os._exit(1)
    os._exit(0)  # without waiting for the thread that reads


if __name__ == "__main__":
    main()
