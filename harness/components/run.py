"""The run: all that a component may know of the world around it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import disk, noise

if TYPE_CHECKING:
    import numpy as np
    import torch

Emit = Callable[[str, dict[str, Any]], None]


class Progress:
    """Counts units of work; the terminal shows rate and time left."""

    def __init__(self, emit: Emit, total: int, unit: str) -> None:
        self._emit, self.total, self.unit, self.done = emit, total, unit, 0
        self._emit("progress", {"done": 0, "total": total, "unit": unit})

    def advance(self, count: int = 1) -> None:
        """Report ``count`` more units done."""
        self.done += count
        self._emit("progress", {"done": self.done, "total": self.total, "unit": self.unit})


class Checkpoint:
    """Keeps the state of one long task, so that a killed run goes on where it was.

    A state is a nested dict or list of tensors and plain JSON values. It is written as safetensors and JSON: loading
    it executes nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self._path = None if folder is None else folder / "checkpoint.safetensors"

    def save(self, state: dict[str, Any]) -> None:
        """Replace the kept state, atomically."""
        if self._path is not None:
            _write(self._path, state)

    def keep(self, name: str, state: dict[str, Any]) -> Path | None:
        """Write another state beside it, for a person to look at; returns its file, or None where nothing is kept."""
        if self._path is None:
            return None
        path = self._path.with_name(f"{name}.safetensors")
        _write(path, state)
        return path

    def load(self) -> dict[str, Any] | None:
        """The kept state, or None at a first start; a damaged one is set aside, and the task starts anew."""
        if self._path is None or not self._path.exists():
            return None
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self._path, framework="pt") as file:
                structure = json.loads(file.metadata()["structure"])
                state: dict[str, Any] = _unpack(structure, file.get_tensor)
        except (OSError, SafetensorError, ValueError, KeyError, TypeError):
            self._path.replace(self._path.with_suffix(".damaged"))  # half of it lost with the power, or a bad disk
            return None
        return state


def _write(path: Path, state: dict[str, Any]) -> None:
    from safetensors.torch import save_file

    tensors: dict[str, torch.Tensor] = {}
    structure = _pack(state, tensors)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, metadata={"structure": json.dumps(structure)})
    disk.flush(partial)
    partial.replace(path)


def _pack(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    import torch

    if isinstance(value, torch.Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {"tensor": name}
    if isinstance(value, dict):
        return {"dict": [[key, _pack(item, tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return {"list": [_pack(item, tensors) for item in value]}
    return {"value": value}


def _unpack(packed: Any, tensor: Callable[[str], torch.Tensor]) -> Any:
    ((kind, value),) = packed.items()
    if kind == "tensor":
        return tensor(value)
    if kind == "dict":
        return {key: _unpack(item, tensor) for key, item in value}
    if kind == "list":
        return [_unpack(item, tensor) for item in value]
    return value


class Run:
    """Seeded noise, progress, logging and checkpoints of one stage.

    Args:
        seed: drives everything random in the stage.
        device: where to compute, ``cpu`` or ``cuda``.
        emit: takes events (``progress``, ``log``, ``picture``); the default drops them.
        folder: where checkpoints lie; None keeps none.
        should_stop: tells whether the user asked to stop.
    """

    def __init__(
        self,
        seed: int,
        device: str = "cpu",
        emit: Emit = lambda kind, data: None,
        folder: Path | None = None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.seed = seed
        self.device = device
        self.checkpoint = Checkpoint(folder)
        self._emit = emit
        self._should_stop = should_stop

    def noise(
        self, identities: Sequence[int], samples: Sequence[int], shape: Sequence[int], purpose: str, step: int = 0
    ) -> torch.Tensor:
        """Standard normal noise, float32 [B, *shape] on ``device``; a function of its arguments and the seed alone.

        Drawn on the CPU, so every device sees the same numbers.
        """
        import torch

        values = noise.normal(self.seed, identities, samples, shape, purpose, step)
        return torch.from_numpy(values).to(self.device)

    def generator(self, purpose: str) -> np.random.Generator:
        """A NumPy generator for draws that belong to the stage as a whole."""
        return noise.generator(self.seed, purpose)

    def progress(self, total: int, unit: str) -> Progress:
        """Start counting ``total`` units of work."""
        return Progress(self._emit, total, unit)

    def log(self, name: str, value: float, step: int) -> None:
        """Record one point of a curve, such as the training loss."""
        self._emit("log", {"name": name, "value": float(value), "step": step, "finite": math.isfinite(value)})

    def picture(self, name: str, png: bytes) -> None:
        """Keep a picture, such as samples of a model in training; it lies under ``figures/`` of the artifact."""
        self._emit("picture", {"name": name, "png": png})

    def keep(self, name: str, state: dict[str, Any]) -> Path | None:
        """Keep what a stage failed at, as safetensors beside its checkpoint; returns the file, for the error to name.

        Args:
            state: a nested dict or list of tensors and plain JSON values.
        """
        return self.checkpoint.keep(name, state)

    @property
    def stop_requested(self) -> bool:
        """True once the user asked to stop: save a checkpoint and raise ``harness.errors.Stopped``."""
        return self._should_stop()
