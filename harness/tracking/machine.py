"""What the machine does while stages run: processors, memory and GPUs, as MLflow names its system metrics."""

from __future__ import annotations

import importlib
from typing import Any

# MLflow's own readers; each needs a package of its own (psutil, nvidia-ml-py), or a GPU.
_READERS = (
    ("mlflow.system_metrics.metrics.cpu_monitor", "CPUMonitor"),
    ("mlflow.system_metrics.metrics.gpu_monitor", "GPUMonitor"),
)


class Machine:
    """Reads what there is to read; nothing where the packages are missing."""

    def __init__(self) -> None:
        self._readers: list[Any] = []
        for module, name in _READERS:
            try:
                self._readers.append(getattr(importlib.import_module(module), name)())
            except (ImportError, RuntimeError):
                continue
        self.sample()  # the load of the processors is that since the last look

    def sample(self) -> dict[str, float]:
        """The values of now, by MLflow's names."""
        values: dict[str, float] = {}
        for reader in self._readers:
            reader.collect_metrics()
            values |= {f"system/{name}": value for name, value in reader.aggregate_metrics().items()}
            reader.clear_metrics()
        return values
