"""The stages' work, done in worker processes: open the parents, call the component, write the artifact.

Every stage goes through three phases: ``prepare`` (once; says how many shards there are), ``shard`` (each of them, in
any order, in any worker) and ``finish`` (once; says what the manifest records). A stage without shards does all its
work in ``finish``.
"""

from __future__ import annotations

import errno
import importlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.components.run import Emit
from harness.errors import StageError
from harness.stages.context import Stage
from harness.store.artifacts import Store
from harness.store.stage import StageSpec

_MODULES = {
    "source": "images",
    "generate": "images",
    "protocol": "protocol",
    "align": "align",
    "contexts": "learn",
    "weights": "learn",
    "fit": "learn",
    "train": "learn",
    "evaluate": "evaluate",
}


def run_phase(
    spec: StageSpec,
    phase: str,
    index: int,
    root: Path,
    device: str,
    emit: Emit,
    should_stop: Callable[[], bool],
) -> dict[str, Any]:
    """Run one phase of a stage in a worker.

    Args:
        phase: ``prepare``, ``shard`` or ``finish``.
        index: the shard's number.
        root: the store's folder.

    Returns:
        ``value``: what the phase function returned; ``seconds`` it took.
    """
    import torch

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # denormals slow some networks down tenfold
    started = time.perf_counter()
    module = importlib.import_module(f"harness.stages.{_MODULES[spec.kind]}")
    stage = Stage(spec, Store(root), device, emit, should_stop)
    try:
        if phase == "shard":
            value = module.shard(stage, index)
        elif phase == "prepare":
            value = module.prepare(stage) if hasattr(module, "prepare") else {"shards": 0}
        else:
            value = module.finish(stage)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            text = f"the disk of {root} is full; free some space and run again: finished shards are kept"
            raise StageError(text) from error
        raise
    return {"value": value, "curves": stage.curves, "seconds": time.perf_counter() - started}
