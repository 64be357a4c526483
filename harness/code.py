"""Which source code a component's result depends on, worked out from its imports.

An author who edits a module never reads a stale result: the source of all that a component imports, directly or not,
enters the keys of its stages. A component of a plugin depends on its whole package and on what of the harness that
imports; one of the harness on its own module and the modules that imports. What only carries data between components
has no part in what they compute and is left out; a change there raises a schema number instead.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import harness
from harness.components.base import Component
from harness.plugins import registry

_OWN = "harness"
_CARRIERS = frozenset(
    f"harness.{name}"
    for name in (
        *("api", "arrays", "assemble", "cli", "code", "components", "engine", "errors", "foreign", "gates", "graph"),
        *("hookspecs", "planning", "plugins", "reading", "results", "stages", "store", "suites", "tracking"),
    )
)


def code_of(cls: type[Component]) -> dict[str, str]:
    """The modules that a component's result depends on, each with the digest of its source.

    Raises:
        ModuleNotFoundError: ``code`` names a module that is not there.
    """
    return _overridden(cls.code) if cls.code else dict(_derived(cls.__module__))


def _overridden(names: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in names:
        modules = list(_modules_below(name))
        if not modules:
            raise ModuleNotFoundError(f"code names {name!r}, which cannot be found")
        found |= {module: _digest(module) for module in modules}
    return found


@cache
def _derived(module: str) -> tuple[tuple[str, str], ...]:
    top = module.partition(".")[0]
    todo = [module] if top == _OWN else list(_modules_below(top))
    followed = {_OWN, top, *(plugin.module.partition(".")[0] for plugin in registry().plugins)}
    seen: set[str] = set()
    while todo:
        name = todo.pop()
        carries = ".".join(name.split(".")[:2]) in _CARRIERS or name == _OWN
        if name in seen or carries or name.partition(".")[0] not in followed or _file(name) is None:
            continue
        seen.add(name)
        todo += _imports(name)
    return tuple((name, _digest(name)) for name in sorted(seen))


@cache
def _imports(module: str) -> tuple[str, ...]:
    """The names that a module imports, in functions too; not what only type checkers see."""
    file = _file(module)
    assert file is not None
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    return tuple(_imported(ast.parse(file.read_text(encoding="utf-8")), package))


def _imported(node: ast.AST, package: str) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            dots = "." * child.level + (child.module or "")
            origin = importlib.util.resolve_name(dots, package) if child.level else dots
            yield origin
            for alias in child.names:
                if origin == _OWN and alias.name in harness.EXPORTS:
                    yield harness.EXPORTS[alias.name]
                yield f"{origin}.{alias.name}"
        yield from _imported(child, package)


def _modules_below(name: str) -> Iterator[str]:
    """A module, or all modules of a package."""
    file = _file(name)
    if file is None:
        return
    yield name
    if file.name == "__init__.py":
        for path in sorted(file.parent.rglob("*.py")):
            parts = path.relative_to(file.parent).with_suffix("").parts
            if path != file:
                yield ".".join([name, *(parts[:-1] if parts[-1] == "__init__" else parts)])


@cache
def _file(module: str) -> Path | None:
    """The source file of a module, found without importing it; None for a name that is no module."""
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None:
        return None
    if not spec.submodule_search_locations:
        return Path(spec.origin) if spec.origin and not rest else None
    inner = Path(next(iter(spec.submodule_search_locations))).joinpath(*rest)
    candidates = (inner / "__init__.py", inner.with_name(f"{inner.name}.py"))
    return next((path for path in candidates if path.is_file()), None)


def _digest(module: str) -> str:
    file = _file(module)
    assert file is not None
    return hashlib.sha256(file.read_bytes()).hexdigest()
