"""Which files of a folder make up a data set, and in which order."""

from __future__ import annotations

import re
from pathlib import Path


def parquet_files(folder: Path) -> list[Path]:
    """The parquet files of a data set, or what has their names."""
    return sorted(folder.glob("*.parquet")) or sorted(folder.glob("shards/*.parquet"))


def numeric_order(path: Path) -> tuple[list[tuple[int, int | str]], str]:
    """Sort key: numbers in a name compare as numbers, so 2 comes before 10; 01 and 1 as names."""
    parts = re.split(r"([0-9]+)", path.name)
    return [(0, int(part)) if part.isascii() and part.isdigit() else (1, part) for part in parts if part], path.name
