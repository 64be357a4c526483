"""Data that a suite names and this machine does not have."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Missing:
    """A path that is not there: the suite's key, and the path as written, with variables that are set put in."""

    key: str
    text: str
