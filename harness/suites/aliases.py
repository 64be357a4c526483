"""Words that suites of earlier versions use: they are read as the words of today, which a line names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

# What a key was called, and what it is called now.
_MODEL = {"first_stage": "autoencoder"}
_EVALUATE = {"recognizer": "judge"}


def modernize(data: dict[str, Any]) -> list[str]:
    """Rename the keys of a suite, as read from YAML, in place.

    Returns:
        a line per renamed key, which says what to write now.
    """
    return [notice for table, names, key in _tables(data) for notice in _rename(table, names, key)]


def _tables(data: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, str], str]]:
    models, evaluate = data.get("models"), data.get("evaluate")
    for name, entry in models.items() if isinstance(models, dict) else ():
        if isinstance(entry, dict):
            yield entry, _MODEL, f"models.{name}"
            if isinstance(entry.get("settings"), dict):
                yield entry["settings"], _MODEL, f"models.{name}.settings"
    for index, entry in enumerate(evaluate) if isinstance(evaluate, list) else ():
        if isinstance(entry, dict):
            yield entry, _EVALUATE, f"evaluate.{index}"


def _rename(table: dict[str, Any], names: dict[str, str], key: str) -> Iterator[str]:
    for old, new in names.items():
        if old in table and new not in table:
            table[new] = table.pop(old)
            yield f"{key}.{old} is called {new} now; write {new}: {table[new]}"
