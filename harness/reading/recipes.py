"""What made two rows, setting by setting, and where they differ."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.errors import DataError
from harness.results import SUITE_FILE, Result
from harness.suites.aliases import modernize
from harness.suites.text import RESOLVED, read_yaml

# Keys of a resolved suite that name an entry of another section.
_REFERENCES = {"model": "models", "autoencoder": "models", "source": "sources", "recognizer": "recognizers"}


def recipe_difference(workdir: Path, a: Result, b: Result) -> dict[str, tuple[Any, Any]]:
    """The resolved settings in which two rows differ: of row, model, sources, dataset, aligner, trainer, versions.

    Args:
        workdir: the folder that ``harness run`` wrote to.
        a, b: one result of each row.
    """
    ours, theirs = (dict(_flat(_resolved(workdir, result))) for result in (a, b))
    keys = dict.fromkeys([*ours, *theirs])
    return {key: (ours.get(key), theirs.get(key)) for key in keys if ours.get(key) != theirs.get(key)}


def short(digest: str) -> str:
    """The first characters of a digest, for messages."""
    return digest.removeprefix("sha256:")[:12]


def _resolved(workdir: Path, result: Result) -> dict[str, Any]:
    """What made a row: its entry with every name replaced by what it names, the suite's common keys, versions.

    The row's own settings are those of its result file: the suite file beside it is of the latest run.
    """
    path = workdir / "results" / result.suite / SUITE_FILE
    suite = read_yaml(path, RESOLVED) if path.exists() else {}
    if not isinstance(suite, dict):
        raise DataError(f"{path}: not a resolved suite, which is a table; run the suite again")
    modernize(suite)
    row = dict(suite.get("rows", {}).get(result.row, {}))
    common = (
        {} if "recognizer" in row else {k: suite[k] for k in ("dataset", "aligner", "trainer", "crop_px") if k in suite}
    )
    if "aligner" in row:
        common["aligner"] = row.pop("aligner")
    out: dict[str, Any] = {"generator": result.generator, **_expand(row | common, suite), **result.parameters}
    out.pop("use", None), out.pop("settings", None)
    out["training recipe digest"] = short(result.recipe)
    made = result.environment
    return out | {"versions": {"harness": made.harness, **made.plugins, "torch": made.torch, "device": made.device}}


def _expand(value: Any, suite: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        out = {}
        for key, item in value.items():
            named = suite.get(_REFERENCES.get(key, ""), {})
            out[key] = _expand(named[item], suite) if isinstance(item, str) and item in named else _expand(item, suite)
        return out
    return value


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flat(item, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value
