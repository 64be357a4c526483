"""What a worker runs: one phase of one stage.

The module ``harness.stages.KIND`` does the work of a kind of stage: opens the parents, calls the component, writes the
artifact. Every stage goes through three phases: ``prepare`` (once; says how many shards there are), ``shard`` (each of
them, in any order, in any worker) and ``finish`` (once; says what the manifest records). A stage without shards does
all its work in ``finish``.
"""

from __future__ import annotations

import ctypes
import errno
import importlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.components.run import Emit
from harness.errors import StageError
from harness.graph import Stage
from harness.plugins import registry
from harness.provenance import made_with
from harness.stages.work import Work
from harness.store.artifacts import Store, now

# Parameters of glibc's mallopt. Source: malloc.h
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT_BYTES, _LARGEST_KEPT = 512 << 20, 32 << 20  # freed memory that stays; the largest block for which glibc allows it


def prepare_process() -> None:
    """Make this process a worker: one thread, no denormals, freed memory kept.

    Tensors of a megabyte come and go at every step of a sampler. glibc gives such blocks back to the system at once and
    gets fresh pages for the next, which costs a small network up to a fifth of its time.
    """
    reset_torch()
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:  # glibc
        mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT)
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)


def reset_torch() -> None:
    """Set torch's global state, whatever an earlier phase of the same component left behind."""
    import torch

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # denormals slow some networks down tenfold
    torch.set_default_dtype(torch.float32)
    torch.set_float32_matmul_precision("highest")
    torch.set_grad_enabled(True)
    if torch.are_deterministic_algorithms_enabled():  # setting it loads torch's compiler, which takes seconds
        torch.use_deterministic_algorithms(False)
    torch.backends.mkldnn.set_flags(True)  # type: ignore[no-untyped-call]
    for device in ("cpu", "cuda"):
        torch.set_autocast_enabled(device, False)


def run_phase(
    stage: Stage,
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
        ``value``: what the phase function returned, after ``finish`` with the artifact's files and what it was made
        with; ``spent``: after ``finish``, on the whole stage.
    """
    prepare_process()
    here = os.getcwd()
    since, started = now(), time.perf_counter()
    module = importlib.import_module(f"harness.stages.{stage.kind}")
    work = Work(stage, Store(root), device, emit, should_stop)
    try:
        if phase == "shard":
            value = module.shard(work, index)
        elif phase == "prepare":
            value = module.prepare(work) if hasattr(module, "prepare") else {"shards": 0}
        else:
            value = module.finish(work)
        work.unchanged.check()
        if phase == "finish":
            distribution = _distribution(stage)
            value |= {"environment": made_with(device, distribution), "files": work.store.seal(*stage.id)}
    except OSError as error:
        if error.errno == errno.ENOSPC:
            text = f"the disk of {root} is full; free some space and run again: finished shards are kept"
            raise StageError(text) from error
        raise
    finally:
        os.chdir(here)
        work.spend(since, time.perf_counter() - started)
    return {"value": value, "spent": work.spent() if phase == "finish" else None}


def check_artifact(kind: str, key: str, root: Path, emit: Emit, should_stop: Callable[[], bool]) -> str:
    """In what an artifact of the store differs from what was made; empty if it does not."""
    artifact = Store(root).find(kind, key)
    return "is gone" if artifact is None else artifact.fault()


def _distribution(stage: Stage) -> str:
    """The distribution that the stage's component comes from; empty for weights and for the core's own."""
    offered = [r for names in registry().names.values() for r in names.values() if r.target == stage.target]
    return offered[0].distribution if stage.target and offered else ""
