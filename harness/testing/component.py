"""Checks of what every component has, whatever its kind."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from harness.components import Component, FittedGenerator, Given
from harness.components.given import NOTHING
from harness.components.roles import Role, check_roles
from harness.errors import InputError, StageError
from harness.testing.rules import fail, name_of, require

# Packages that take a second or more to import; listing plugins and checking a suite must not wait for them.
HEAVY = ("torch", "torchvision", "mlflow", "tensorflow", "jax", "pandas", "scipy", "matplotlib")
IMPORT_S = 2.0  # that the modules may take to import, after the harness; a light one takes 0.05
_IMPORT = """
import importlib, sys, time
import harness.components, numpy
before = time.perf_counter()
for module in sys.argv[1:]:
    importlib.import_module(module)
print(time.perf_counter() - before, *sys.modules)
"""


def check_component(component: Component) -> None:
    """Check what every component has: needs, settings that survive JSON and explain themselves, a license, and code.

    Raises:
        AssertionError: one of ``needs``, ``kind``, ``settings``, ``license`` and ``code`` is broken.
    """
    from harness.code import code_of
    from harness.store.keys import digest

    who, settings = name_of(component), component.settings
    _check_needs(component)
    again = type(settings).model_validate_json(settings.model_dump_json())
    require(again == settings, "settings", f"{who}: they come back from JSON as {again!r}, expected {settings!r}")
    digest(component.identity())  # plain JSON values, or the stage has no key
    for schema in {component.schema(""), component.schema("fit")}:
        strict = schema.model_config.get("extra") == "forbid"
        text = "lets typos pass; derive it from harness.Settings"
        require(strict, "settings", f"{who}: {schema.__name__} {text}")
        silent = [name for name, field in schema.model_fields.items() if not field.description]
        text = f"has no description (unit, range, source) of {', '.join(silent)}"
        require(not silent, "settings", f"{who}: {schema.__name__} {text}")
    text = f"{who} has no license; set license = License(NAME, URL, commercial_use)"
    require(component.license.name not in ("", "unknown"), "license", text)
    code_of(type(component))


def _check_needs(component: Component) -> None:
    """Roles are known, kinds are said for those that have kinds, and what is fitted is of a kind."""
    who = name_of(component)
    fits = isinstance(component, FittedGenerator)
    try:
        check_roles(who, component.needs | frozenset(component.accepts) | getattr(component, "fit_needs", frozenset()))
    except InputError as error:
        raise AssertionError(f"[needs] {error}") from error
    text = f"{who} needs a model but accepts none; set accepts = {{'model': frozenset({{KIND}})}}"
    require("model" not in component.needs or bool(component.accepts.get("model")), "kind", text)
    stray = component.accepts.keys() - component.needs - ({"autoencoder"} if fits else set())
    text = f"{who} accepts kinds for {', '.join(sorted(stray))}, which it does not need"
    require(not stray, "kind", text)
    text = f"{who} can be fitted; set fits to the kind of Model it gives"
    require(not fits or hasattr(component, "fits"), "kind", text)


def check_own_code(component: Component) -> None:
    """Check that the code its results depend on has the class's own module, so that an edit never meets a stale one.

    Raises:
        AssertionError: it has not (``code``).
    """
    from harness.code import code_of

    own, code = type(component).__module__, sorted(code_of(type(component)))
    text = f"{name_of(component)}: code is {code}, expected {own!r} or its package among them"
    require(own in code, "code", text)


def check_light_import(*modules: str) -> None:
    """Check that the modules load nothing heavy and do no work: import torch inside the methods that need it.

    Raises:
        AssertionError: they cannot be imported (``raises``), load something heavy or take seconds (``light-import``).
    """
    names = ", ".join(modules)
    seconds: list[float] = []
    while not seconds or (seconds[-1] > IMPORT_S and len(seconds) < 2):  # once more: the machine may have been busy
        command = [sys.executable, "-c", _IMPORT, *modules]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        last = "".join(done.stderr.strip().splitlines()[-1:])
        require(not done.returncode, "raises", f"{names} cannot be imported: {last}")
        taken, *loaded = done.stdout.splitlines()[-1].split()
        heavy = sorted(set(HEAVY) & set(loaded))
        text = "import them inside the methods, or under TYPE_CHECKING"
        require(not heavy, "light-import", f"{names} imports {', '.join(heavy)} when it is imported; {text}")
        seconds.append(float(taken))
    text = f"{names} takes {min(seconds):.1f} s to import, expected less than {IMPORT_S:g} s; work inside the methods"
    require(min(seconds) <= IMPORT_S, "light-import", text)


def asked_for(component: Component, given: Given, needs: frozenset[Role] | None = None) -> Given:
    """What the component needs and nothing else, as a run gives it."""
    roles: dict[str, Any] = {}
    for role in sorted(component.needs if needs is None else needs):
        try:
            roles[role] = getattr(given, role)
        except StageError:
            fail("needs", f"{name_of(component)} needs {role}; give the check some: Given({role}=...)")
    return Given(**roles)


@contextmanager
def left_alone(who: str, given: Given = NOTHING, **values: Any) -> Iterator[None]:
    """A call that must not write to what it is given: arrays, sample plans and mappings of tensors by name."""
    from harness.stages.unchanged import Unchanged

    unchanged = Unchanged(who)
    for role, value in (vars(given) | values).items():
        for part in _parts(role, value):
            unchanged.watch(role, part)
    yield
    try:
        unchanged.check()
    except StageError as error:
        raise AssertionError(f"[unchanged-input] {error}") from error


def _parts(role: str, value: Any) -> Iterator[Any]:
    """What of a given value can be written to."""
    from harness.components import Model, Recognizer

    if isinstance(value, Model):
        yield value.tensors
    elif isinstance(value, Recognizer):
        yield value.state()
    elif role in ("dataset", "source") and value is not None:
        yield from (value.identities, value.samples, value.rows)
    elif role in ("pairs", "templates") and isinstance(value, Mapping):
        for faces, listed in value.values():
            yield from (faces.identities, listed.a, listed.b, listed.same)
    elif value is not None:
        yield value
