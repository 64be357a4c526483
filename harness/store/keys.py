"""The two digests: a stage's key, known before it runs, and an artifact's content."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

KEY_LENGTH = 24  # hex digits: 96 bits, no collision in any store a disk can hold


def digest(value: Any) -> str:
    """sha256 of plain JSON values in canonical form, as hex."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def stage_key(**parts: Any) -> str:
    """The key of a stage from everything its result depends on."""
    return digest(parts)[:KEY_LENGTH]


@lru_cache(maxsize=256)
def source_digest(module: str) -> str:
    """Digest of the Python source of a module, or of all modules of a package.

    It enters the keys of the components that name the module as their ``code``, so an author who edits a plugin never
    reads a stale result.
    """
    spec = importlib.util.find_spec(module)
    if spec is None:
        raise ModuleNotFoundError(f"code names {module!r}, which cannot be found")
    state = hashlib.sha256()
    if spec.submodule_search_locations:
        root = Path(next(iter(spec.submodule_search_locations)))
        files = sorted(root.rglob("*.py"))
    else:
        files = [Path(str(spec.origin))]
        root = files[0].parent
    for path in files:
        state.update(f"{path.relative_to(root).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return state.hexdigest()
