"""Helpers of a fit on several devices: processes that do the same stage beside the worker and leave nothing behind.

The worker is rank 0 and writes the artifact. Rank r computes on the r-th GPU or, without one, as one more process on
the CPU. Helpers read what the worker reads, checkpoints included; they end with the worker, and the worker with them.
What a helper fails with becomes the stage's error.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.components.run import Checkpoint, Emit, Run
from harness.errors import StageError, Stopped
from harness.store.artifacts import WORK, Store
from harness.store.stage import StageSpec
from harness.store.workers import failure


@contextlib.contextmanager
def helpers(spec: StageSpec, root: Path, device: str, count: int, emit: Emit) -> Iterator[None]:
    """Start ``count - 1`` helpers of a fit for the time of a with block.

    Args:
        spec: the stage.
        root: the store's folder.
        device: the worker's, ``cpu`` or ``cuda``.
        emit: the worker's; told of a helper's error, after which the worker ends.

    Raises:
        StageError: there are fewer GPUs, or Lightning Fabric is not installed.
    """
    if count == 1:
        yield
        return
    _check(device, count)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    order = json.dumps({"spec": asdict(spec), "root": str(root), "device": device}) + "\n"
    started = [_start(order, {**os.environ, **shared, "LOCAL_RANK": str(rank)}) for rank in range(1, count)]
    os.environ |= {**shared, "LOCAL_RANK": "0"}
    leaving = threading.Event()
    for process in started:
        threading.Thread(target=_watch, args=(process, leaving, emit), daemon=True).start()
    try:
        yield
    finally:
        leaving.set()
        _disconnect()
        for process in started:
            process.kill()
            process.wait()
        for name in (*shared, "LOCAL_RANK"):
            del os.environ[name]


def _check(device: str, count: int) -> None:
    import torch

    if importlib.util.find_spec("lightning_fabric") is None:
        raise StageError(f"devices {count}: needs Lightning Fabric; pip install 'facegen-harness[multi-gpu]'")
    if device == "cuda" and torch.cuda.device_count() < count:
        raise StageError(f"devices {count}: this machine has {torch.cuda.device_count()} GPUs; set devices to that")


def _start(order: str, environment: dict[str, str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "harness.stages.helpers"]
    process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    process.stdin.write(order)
    process.stdin.flush()  # and left open: its end tells the helper that the worker is gone
    return process


def _watch(process: subprocess.Popen[str], leaving: threading.Event, emit: Emit) -> None:
    """End the worker when a helper failed or died, or it would wait for it for ever."""
    assert process.stdout is not None
    error = process.stdout.read()
    if process.wait() != 0 and not leaving.is_set():
        if error:
            emit("error", json.loads(error))
        os._exit(1)


def _disconnect() -> None:
    from torch import distributed

    if distributed.is_initialized():
        distributed.destroy_process_group()


class _ReadOnly(Checkpoint):
    def save(self, state: dict[str, Any]) -> None:
        """The worker saves."""


def help_fit(spec: StageSpec, root: Path, device: str) -> None:
    """Fit as a helper: the stage's work without its progress, curves, pictures, checkpoints and artifact."""
    from harness.stages import prepare_process
    from harness.stages.context import Stage
    from harness.stages.learn import fit

    prepare_process()
    stage = Stage(spec, Store(root), device, lambda kind, data: None, lambda: False)
    run = Run(spec.seed, device)
    run.checkpoint = _ReadOnly(stage.folder / WORK)
    with contextlib.suppress(Stopped):
        fit(stage, run)


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
    try:
        help_fit(StageSpec(**order["spec"]), Path(order["root"]), device)
    except Exception as error:  # a plugin may raise anything
        report.write(json.dumps(failure(error)))
        report.flush()
        os._exit(1)
    os._exit(0)  # without waiting for the thread that reads


if __name__ == "__main__":
    main()
