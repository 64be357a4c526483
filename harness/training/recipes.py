"""The recipes of ``margin``: ``recipes.yaml``, the one table of all of them with their sources."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

TABLE = Path(__file__).with_name("recipes.yaml")


@cache
def recipes() -> Mapping[str, Mapping[str, Any]]:
    """The settings of every recipe by name, in the table's order."""
    table = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    return {name: recipe["settings"] for name, recipe in table.items()}
