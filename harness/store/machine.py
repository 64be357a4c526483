"""What this machine has, and what a process on it does."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_STATES = {"R": "computing", "S": "waiting", "D": "waiting for a disk", "T": "stopped", "t": "stopped by a debugger"}


def cores() -> int:
    """The cores that this process may use: on a cluster fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def resolve_device(wanted: str) -> str:
    """``auto`` as ``cuda`` where there is a GPU, without importing torch; else what was wanted."""
    if wanted != "auto":
        return wanted
    return "cuda" if Path("/dev/nvidia0").exists() or Path("/dev/nvidiactl").exists() else "cpu"


def machine_memory() -> int:
    """Bytes of memory that this process may have: the machine's, or its control group's."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            whole = min(whole, int((Path("/sys/fs/cgroup") / name).read_text(encoding="ascii")))
    return whole


def resident_bytes(pid: int) -> int:
    """What a process holds in memory; 0 where that cannot be told.

    Files that it has mapped are left out: the system drops such pages when it needs the memory.
    """
    try:
        fields = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()
        pages = int(fields[1]) - int(fields[2])  # resident, without what is shared with files
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def process_state(pid: int) -> str:
    """What a process does, in words."""
    try:
        letter = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return "there"
    return _STATES.get(letter, "there")
