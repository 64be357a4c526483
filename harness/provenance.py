"""What a number was made with: versions, processor and commit, noted when it is made."""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from harness import __version__

_CPUINFO = Path("/proc/cpuinfo")


def made_with(device: str, distribution: str = "") -> dict[str, str]:
    """What this process computes with; what is not known is left out.

    Args:
        device: ``cpu`` or ``cuda``.
        distribution: the one that the component comes from.
    """
    found = {
        "harness": __version__,
        "commit": commit(),
        "python": platform.python_version(),
        "torch": installed("torch"),
        "numpy": installed("numpy"),
        "processor": processor(),
        "instructions": _instructions(),
        "gpu": _gpu() if device.startswith("cuda") else "",
    }
    if distribution:
        found[distribution] = installed(distribution)
    return {name: value for name, value in found.items() if value}


def installed(distribution: str) -> str:
    """The version of a distribution; empty if it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""


@cache
def commit() -> str:
    """The commit of an editable installation; empty elsewhere."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return ""
    command = ["git", "-C", str(root), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


@cache
def processor() -> str:
    """The processor's name."""
    try:
        lines = _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _instructions() -> str:
    """Which vector instructions torch chose: they decide how sums are rounded."""
    import torch

    return torch.backends.cpu.get_cpu_capability()


def _gpu() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else ""
