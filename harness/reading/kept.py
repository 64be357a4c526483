"""Shared ranks, kept beside the results: their thousands of tables are read only when something changed."""

from __future__ import annotations

import contextlib
import json
import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import disk
from harness.reading.fields import Fields, Ranks, key, table_name
from harness.results import result_folder
from harness.store.keys import digest

if TYPE_CHECKING:
    from harness.reading.leaderboard import Row
    from harness.reading.metrics import About

FILE = ".ranks.json"  # in the folder of the results
_RULE = 1  # of the tests; another number makes what was kept worthless
_BOARDS = 8  # how many are kept: of each suite, and of all together


def ranks(fields: Fields, workdir: Path | None) -> Ranks:
    """:func:`harness.reading.groups.shared_ranks`, from the last time if no table and no value changed."""
    if workdir is None or not any(about.paired for about, _ in fields.values()):
        return _made(fields, workdir)
    path, wanted = workdir / "results" / FILE, digest([_RULE, _state(fields, workdir)])
    boards = _read(path)
    if wanted not in boards:
        boards[wanted] = _made(fields, workdir)
        newest = dict(list(boards.items())[-_BOARDS:])
        with contextlib.suppress(OSError):  # a folder that may not be written to is only slower
            disk.write_text(path, json.dumps(newest) + "\n")
    return boards[wanted]


def _made(fields: Fields, workdir: Path | None) -> Ranks:
    if not fields:
        return {}
    from harness.reading.groups import shared_ranks  # late: its imports take longer than reading what was kept

    return shared_ranks(fields, workdir)


def _state(fields: Fields, workdir: Path) -> list[Any]:
    """All that the ranks depend on."""
    folder = cache(lambda suite, row, seed: str(result_folder(workdir, suite, row, seed)))  # as text: many are joined

    def stamps(about: About, row: Row) -> list[tuple[int, int]]:
        folders = [folder(row.suite, row.name, seed) for seed in row.cells[about.name].values] if about.paired else []
        return [_stamp(os.path.join(each, table_name(about))) for each in folders]

    return [
        [name, about.relative, about.better, about.pairs, about.members]
        + [[key(row), sorted(row.cells[name].values.items()), stamps(about, row)] for row in rows]
        for name, (about, rows) in fields.items()
    ]


def _stamp(path: str) -> tuple[int, int]:
    """When a file was last written, and its size in bytes; zeros if it is not there."""
    try:
        found = os.stat(path)
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size


def _read(path: Path) -> dict[str, Ranks]:
    """What was kept; nothing if it is damaged."""
    try:
        boards = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return boards if isinstance(boards, dict) else {}
