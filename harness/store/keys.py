"""The two digests: a stage's key, known before it runs, and an artifact's content."""

from __future__ import annotations

import hashlib
import json
from typing import Any

KEY_LENGTH = 24  # hex digits: 96 bits, no collision in any store a disk can hold


def digest(value: Any) -> str:
    """sha256 of plain JSON values in canonical form, as hex."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def stage_key(**parts: Any) -> str:
    """The key of a stage from everything its result depends on."""
    return digest(parts)[:KEY_LENGTH]
