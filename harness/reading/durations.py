"""Durations in words."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """A duration in the largest unit that keeps two digits: ``41 s``, ``6.3 min``, ``2.4 h``."""
    for size, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {name}" if seconds < 10 * size else f"{seconds / size:,.0f} {name}"
    return f"{seconds:.0f} s"
