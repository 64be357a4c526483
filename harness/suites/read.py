"""The suite file: YAML, ``--set`` and ``${NAME}``, the only substitutions, then its resolution."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.errors import InputError, unknown
from harness.suites.aliases import modernize
from harness.suites.missing import Missing
from harness.suites.resolve import Resolver
from harness.suites.schema import Suite
from harness.suites.text import MAX_DEPTH, check_values, parse_yaml, read_yaml
from harness.suites.variables import Secrets, Variables

log = logging.getLogger(__name__)

_NAMED = ("sources", "recognizers", "models", "rows", "protocols")  # tables whose keys are the user's names


def load_suite(
    path: Path, overrides: Sequence[str] | Mapping[str, Any] = (), missing: list[Missing] | None = None
) -> Suite:
    """Read, substitute and resolve a suite file.

    Args:
        path: the YAML file.
        overrides: values by dotted key, or texts ``key=value`` as given to ``--set``.
        missing: takes the paths that are not there, variables not set included; None: the first one is an error.

    Raises:
        InputError: anything is wrong with it; nothing was started.
    """
    if not path.exists():
        raise InputError(f"{path}: no such suite file; `harness init` writes one to start from")
    data = read_yaml(path)
    if not isinstance(data, dict):
        raise InputError(f"{path}: expected a table of keys, got {type(data).__name__}")
    if isinstance(overrides, Mapping):
        for key, value in overrides.items():
            check_values(value, f"--set {key}")
    changes = overrides.items() if isinstance(overrides, Mapping) else map(_parsed, overrides)
    for key, value in changes:
        _override(data, key, value)
    for notice in modernize(data):
        log.warning("%s: %s", path, notice)
    variables = Variables(path, lenient=missing is not None)
    suite = Resolver(path, missing).suite(variables.put_in(data))
    suite.keep_secret(Secrets.among(variables.used))
    return suite


def _parsed(override: str) -> tuple[str, Any]:
    """Key and value of a text ``key=value``."""
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise InputError(f"--set {override}: expected key=value with a dotted key, such as rows.id3.settings.gamma=0.2")
    value = parse_yaml(text, f"--set {key}")
    if isinstance(value, str) and key.split(".")[-1] in ("path", "weights") and Path(value).exists():
        value = str(Path(value).resolve())  # typed in a shell: relative to where it was typed
    return key, value


def _override(data: dict[str, Any], key: str, value: Any) -> None:
    """Put a value where a dotted key says."""
    *parents, last = key.split(".")
    if len(parents) > MAX_DEPTH:
        raise InputError(f"--set {key[:80]}...: more than {MAX_DEPTH} tables within tables")
    here: Any = data
    for depth, part in enumerate(parents):
        if isinstance(here, list):
            here = here[_index(here, part, key)]
        elif depth == 1 and parents[0] in _NAMED and part not in here:
            raise InputError(f"--set {key}: {unknown(parents[0].removesuffix('s'), part, here)}")
        else:
            here = here.setdefault(part, {})
        if not isinstance(here, dict | list):
            raise InputError(f"--set {key}: {part!r} is not a table in the suite")
    here[_index(here, last, key) if isinstance(here, list) else last] = value


def _index(items: list[Any], part: str, key: str) -> int:
    if not part.isdigit() or int(part) >= len(items):
        raise InputError(f"--set {key}: {part!r} is no place in a list of {len(items)}; places start at 0")
    return int(part)
