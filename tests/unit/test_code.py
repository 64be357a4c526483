"""``code`` names every module that a component's result rests on, so that an edit never meets a stale artifact."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from harness.plugins import KINDS, registry

# What carries data between components and has no part in what they compute; a change of it raises a schema number.
CARRIERS = (
    *("harness.components", "harness.errors", "harness.plan", "harness.plugins", "harness.results"),
    *("harness.stages", "harness.store", "harness.suite"),
)
# Imported by a component's modules, but not reached by that component.
READERS = {f"harness.data.{name}" for name in ("bins", "ijb", "pairlists", "pickles", "recordio")}
OTHER_LAWS = {"harness.builtin.unconditional", "harness.diffusion", "harness.faces.coding"}
PAIRS = {"harness.stats.intervals", "harness.stats.verification"}  # to say how many people a list of pairs shows
UNREACHED = {
    "images": READERS | {"harness.faces.crops", "harness.faces.warp"},
    "crops": READERS | {"harness.data.datasets", "harness.data.pictures"},
    **dict.fromkeys(("uniform", "class-gaussian", "authentic"), OTHER_LAWS),
    **dict.fromkeys(("recordio", "bin", "folder-pairs"), PAIRS),
}
COMPONENTS = [(kind, name) for kind in KINDS if kind != "weights" for name in sorted(registry().names[kind])]


def within(module: str, packages: object) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in packages)


@cache
def source(module: str) -> Path | None:
    """The file of a module of this project or its plugins; None for anything else."""
    if not module.startswith("harness"):
        return None
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:  # a name in a module, not a module
        return None
    return Path(spec.origin) if spec and spec.origin else None


def imported(node: ast.AST) -> Iterator[str]:
    """Names of what is imported, in functions too; not what only type checkers see."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and child.module:
            yield from (child.module, *(f"{child.module}.{alias.name}" for alias in child.names))
        yield from imported(child)


def closure(module: str) -> set[str]:
    """The modules that a module imports, directly or not."""
    seen: set[str] = set()
    todo = [module]
    while todo:
        name = todo.pop()
        path = source(name)
        if path is None or name in seen or within(name, CARRIERS):
            continue
        seen.add(name)
        todo += imported(ast.parse(path.read_text(encoding="utf-8")))
    return {name for name in seen if not str(source(name)).endswith("__init__.py")}


@pytest.mark.parametrize(("kind", "name"), COMPONENTS)
def test_code_names_all_that_is_imported(kind: str, name: str) -> None:
    cls = registry().load(kind, name)
    known = {*cls.code_modules(), *UNREACHED.get(name, ())}
    missing = sorted(module for module in closure(cls.__module__) if not within(module, known))
    assert not missing, f"{cls.__qualname__}.code lacks {missing}"


def test_a_late_import_counts() -> None:
    assert "harness.builtin.mtcnn" in closure("harness.data.survey")
    assert "harness.faces.faceset" not in closure("harness.builtin.separability"), "seen by type checkers only"
