"""The suite file: YAML, ``--set`` and ``${NAME}``, the only substitutions, then its resolution."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from harness.errors import InputError, unknown
from harness.suites.aliases import modernize
from harness.suites.resolve import Resolver
from harness.suites.schema import Suite

log = logging.getLogger(__name__)

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_NAMED = ("sources", "recognizers", "models", "rows", "protocols")  # tables whose keys are the user's names


class _Loader(yaml.SafeLoader):
    """YAML that refuses a key given twice, of which the standard keeps the last and says nothing."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"key {key.value!r} is given twice; rename or remove one", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def load_suite(path: Path, overrides: Sequence[str] | Mapping[str, Any] = ()) -> Suite:
    """Read, substitute and resolve a suite file.

    Args:
        path: the YAML file.
        overrides: values by dotted key, or texts ``key=value`` as given to ``--set``.

    Raises:
        InputError: anything is wrong with it; nothing was started.
    """
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except FileNotFoundError:
        raise InputError(f"{path}: no such suite file; `harness init` writes one to start from") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot be read as YAML ({' '.join(str(error).split())})") from error
    if not isinstance(data, dict):
        raise InputError(f"{path}: expected a table of keys, got {type(data).__name__}")
    changes = overrides.items() if isinstance(overrides, Mapping) else map(_parsed, overrides)
    for key, value in changes:
        _override(data, key, value)
    for notice in modernize(data):
        log.warning("%s: %s", path, notice)
    return Resolver(path).suite(_substituted(data, path, ""))


def _parsed(override: str) -> tuple[str, Any]:
    """Key and value of a text ``key=value``."""
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise InputError(f"--set {override}: expected key=value with a dotted key, such as rows.id3.settings.gamma=0.2")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"--set {override}: cannot be read as YAML ({' '.join(str(error).split())})") from error
    if isinstance(value, str) and key.split(".")[-1] in ("path", "weights") and Path(value).exists():
        value = str(Path(value).resolve())  # typed in a shell: relative to where it was typed
    return key, value


def _override(data: dict[str, Any], key: str, value: Any) -> None:
    """Put a value where a dotted key says."""
    *parents, last = key.split(".")
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


def _substituted(value: Any, path: Path, key: str) -> Any:
    """Replace ``${NAME}`` by environment variables, everywhere."""
    if isinstance(value, dict):
        return {name: _substituted(item, path, f"{key}.{name}".lstrip(".")) for name, item in value.items()}
    if isinstance(value, list):
        return [_substituted(item, path, f"{key}.{index}") for index, item in enumerate(value)]
    if not isinstance(value, str):
        return value

    def variable(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            text = f"{value!r} needs the environment variable {match[1]}, which is not set"
            raise InputError(f"{path}: {key}: {text}")
        return os.environ[match[1]]

    return _VARIABLE.sub(variable, value)
