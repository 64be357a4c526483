"""The main program of a helper: a process that does a fit beside the worker, on another device."""

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
from harness.graph import FitStage, stage_from_json
from harness.stages.fit import fit
from harness.stages.phases import prepare_process
from harness.stages.work import Work
from harness.store.artifacts import WORK, Store
from harness.store.workers import failure


class _ReadOnly(Checkpoint):
    def save(self, state: dict[str, Any]) -> None:
        """The worker saves."""


def help_fit(stage: FitStage, root: Path, device: str) -> None:
    """Fit as a helper: the stage's work without its progress, curves, pictures, checkpoints and artifact."""
    prepare_process()
    work = Work(stage, Store(root), device, lambda kind, data: None, lambda: False)
    run = Run(stage.seed, device)
    run.checkpoint = _ReadOnly(work.folder / WORK)
    with contextlib.suppress(Stopped):
        fit(work, run)


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
    assert isinstance(stage, FitStage)
    try:
        help_fit(stage, Path(order["root"]), device)
    except Exception as error:  # a plugin may raise anything
        report.write(json.dumps(failure(error)))
        report.flush()
        os._exit(1)
    os._exit(0)  # without waiting for the thread that reads


if __name__ == "__main__":
    main()
