"""Helpers of a stage on several devices: processes that do the same beside the worker and leave nothing behind.

The worker is rank 0 and writes the artifact. Rank r computes on the r-th GPU or, without one, as one more process on
the CPU. Helpers read what the worker reads, checkpoints included; they end with the worker, and the worker with them.
What a helper fails with becomes the stage's error. ``harness.stages.help`` is what they run.
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
from pathlib import Path

from harness.components.run import Emit
from harness.errors import StageError
from harness.graph import Stage


@contextlib.contextmanager
def helpers(stage: Stage, root: Path, device: str, count: int, emit: Emit) -> Iterator[None]:
    """Start ``count - 1`` helpers of a fit for the time of a with block.

    Args:
        stage: the fit.
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
    order = json.dumps({"stage": stage.to_json(), "root": str(root), "device": device}) + "\n"
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
    command = [sys.executable, "-P", "-m", "harness.stages.help"]
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
