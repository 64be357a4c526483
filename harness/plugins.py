"""Discovery of plugins, loaded one at a time so that a broken one cannot stop the others, and the registry of names."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from types import FrameType
from typing import Any, NoReturn

import pluggy

from harness import hookspecs
from harness.components.base import Component
from harness.components.roles import check_roles
from harness.errors import InputError, unknown

# What plugins can offer, and what one of each is called.
KINDS = {
    "sources": "source",
    "crops": "crop",
    "recognizers": "recognizer",
    "attribute_predictors": "attribute predictor",
    "weights": "shipped weights",
    "contexts": "law of contexts",
    "generators": "generator",
    "aligners": "aligner",
    "heads": "head",
    "trainers": "trainer",
    "protocols": "protocol",
    "evaluators": "evaluator",
}
COMPONENT_KINDS = tuple(kind for kind in KINDS if kind not in ("crops", "weights"))  # the others are no classes

ALLOWED = "HARNESS_PLUGINS"  # names the distributions whose plugins are loaded, with commas; empty: the core alone
IMPORT_TOLD_S, IMPORT_LIMIT_S = 3.0, 60.0  # that a plugin's import may take before that is told, and at all


@dataclass(frozen=True)
class Registration:
    """One name that a plugin offers."""

    kind: str
    name: str
    target: str
    distribution: str


@dataclass
class Loaded:
    """One entry point: what it registered and which events it watches, or why it could not be loaded.

    Attributes:
        left_out: whether ``HARNESS_PLUGINS`` does not name its distribution, so that it was not imported.
    """

    name: str
    module: str
    distribution: str
    version: str
    error: str = ""
    registered: list[Registration] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    left_out: bool = False


class Registry:
    """All plugins of this environment that the environment variable ``HARNESS_PLUGINS`` allows; unset: all.

    Attributes:
        manager: the pluggy manager of all plugins.
        plugins: one entry per entry point, in order of name, the core's own first.

    Raises:
        InputError: ``HARNESS_PLUGINS`` names a distribution that is not installed or has no plugin.
    """

    def __init__(self) -> None:
        self.manager = pluggy.PluginManager(hookspecs.PROJECT)
        self.manager.add_hookspecs(hookspecs)
        self.names: dict[str, dict[str, Registration]] = {kind: {} for kind in KINDS}
        found = entry_points(group=hookspecs.PROJECT)
        order = sorted(found, key=lambda entry: (not _is_core(entry), entry.name))
        allowed = _allowed(order)
        self.plugins = [self._load(entry, allowed) for entry in order]

    @property
    def loaded(self) -> list[Loaded]:
        """The plugins that are not left out, those included that failed."""
        return [plugin for plugin in self.plugins if not plugin.left_out]

    def _load(self, entry: EntryPoint, allowed: frozenset[str] | None) -> Loaded:
        dist = entry.dist
        loaded = Loaded(entry.name, entry.value, _distribution(entry), dist.version if dist else "?")
        if allowed is not None and not _is_core(entry) and _normal(loaded.distribution) not in allowed:
            loaded.left_out = True
            return loaded
        taken = self.manager.has_plugin(entry.name)  # then the one that has the name stays
        try:
            with _told(entry), _limited(float(os.environ.get("HARNESS_IMPORT_LIMIT_S", IMPORT_LIMIT_S))):
                module = entry.load()
            _check_version(module)
            self.manager.register(module, name=entry.name)
            self.manager.check_pending()
            for kind in KINDS:
                self._collect(kind, module, loaded)
            plugin = self.manager.get_plugin(entry.name)
            heard = (caller.name for caller in self.manager.get_hookcallers(plugin) or ())
            loaded.events = sorted(name for name in heard if not name.startswith("register_"))
        except (Exception, SystemExit) as error:  # whatever a plugin does at import, the others must load
            if self.manager.has_plugin(entry.name) and not taken:
                self.manager.unregister(name=entry.name)
            detail = str(error).strip().splitlines()
            loaded.error = f"{type(error).__name__}: {detail[0] if detail else ''}".rstrip(": ")
        for registration in loaded.registered if not loaded.error else []:
            self.names[registration.kind][registration.name] = registration
        return loaded

    def _collect(self, kind: str, module: object, loaded: Loaded) -> None:
        def register(name: str, target: str) -> None:
            own = next((r for r in loaded.registered if (r.kind, r.name) == (kind, name)), None)
            taken = self.names[kind].get(name, own)
            if taken:
                owner = taken.distribution
                raise InputError(f"{KINDS[kind]} {name!r} is taken by {owner}; rename the one in {loaded.module}")
            loaded.registered.append(Registration(kind, name, target, loaded.distribution))

        hook = getattr(module, f"register_{kind}", None)
        if hook is not None:
            hook(register=register)

    def find(self, kind: str, name: str) -> Registration:
        """The registration of a name.

        Raises:
            InputError: nobody registered it; the message has the nearest names and any plugin that failed to load.
        """
        known = self.names[kind]
        if name in known:
            return known[name]
        broken = "".join(f"; plugin {p.distribution} failed to load: {p.error}" for p in self.plugins if p.error)
        out = sorted({p.distribution for p in self.plugins if p.left_out})
        text = f"; {ALLOWED} leaves out {', '.join(out)}" if out else ""
        raise InputError(unknown(KINDS[kind], name, known) + broken + text)

    def load(self, kind: str, name: str) -> type[Component]:
        """Import the component class of a name.

        Raises:
            InputError: the name is unknown, or its module fails to import.
        """
        registration = self.find(kind, name)
        try:
            component = import_target(registration.target)
        except Exception as error:
            text = f"of {registration.distribution} fails to import: {type(error).__name__}: {error}"
            raise InputError(f"{KINDS[kind]} {name!r} {text}") from error
        if not (isinstance(component, type) and issubclass(component, Component)):
            raise InputError(f"{KINDS[kind]} {name!r}: {registration.target} is not a harness component class")
        check_roles(f"{KINDS[kind]} {name!r}", component.needs | getattr(component, "fit_needs", frozenset()))
        return component

    def events(self, listeners: Sequence[object]) -> Events:
        """The events of one run, for all plugins and its own listeners; the last one hears them first."""
        manager = pluggy.PluginManager(hookspecs.PROJECT)
        manager.add_hookspecs(hookspecs)
        for name, plugin in self.manager.list_name_plugin():
            manager.register(plugin, name=name)
        for listener in listeners:
            manager.register(listener, name=f"{type(listener).__name__} of this run")
        return Events(manager.hook)


class Events:
    """Tells listeners what happens in a run."""

    def __init__(self, hook: Any) -> None:
        self._hook = hook

    def tell(self, event: str, **data: Any) -> None:
        """Call every listener; one that fails, or wants to exit, loses the event and stops nobody else."""
        for heard in reversed(getattr(self._hook, event).get_hookimpls()):
            try:
                heard.function(**{name: data[name] for name in heard.argnames})
            except (Exception, SystemExit) as error:  # whatever a plugin raises
                who = f"plugin {heard.plugin_name} failed on {event}"
                warnings.warn(f"{who}: {type(error).__name__}: {error}", stacklevel=2)


def _is_core(entry: EntryPoint) -> bool:
    return entry.value.startswith("harness.")


def _distribution(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else "?"


def _normal(distribution: str) -> str:
    """The name as package indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def _allowed(entries: Sequence[EntryPoint]) -> frozenset[str] | None:
    """The distributions that ``HARNESS_PLUGINS`` names; None where it is not set."""
    if ALLOWED not in os.environ:
        return None
    installed = {_normal(_distribution(entry)) for entry in entries if not _is_core(entry)}
    asked = frozenset(_normal(name.strip()) for name in os.environ[ALLOWED].split(",") if name.strip())
    for name in sorted(asked - installed):
        raise InputError(f"{ALLOWED}: {unknown('plugin distribution', name, sorted(installed))}")
    return asked


def _check_version(module: object) -> None:
    """Refuse a plugin that was written for hooks which this harness does not have; one that says nothing is taken.

    Raises:
        InputError: it was.
    """
    oldest, newest = hookspecs.OLDEST_HOOKS, hookspecs.HOOKS
    stated = getattr(module, "HARNESS_HOOKS", newest)
    here = f"this harness has {newest}" if oldest == newest else f"this harness has {oldest} to {newest}"
    if not isinstance(stated, int):
        raise InputError(f"HARNESS_HOOKS is {stated!r}, expected the number of the hooks it was written for; {here}")
    if stated > newest:
        raise InputError(f"written for hooks {stated}, {here}; install a newer facegen-harness")
    if stated < oldest:
        raise InputError(f"written for hooks {stated}, {here}; install a newer version of the plugin")


@contextlib.contextmanager
def _told(entry: EntryPoint) -> Iterator[None]:
    """Say so when an import takes long, or a person would wait and not know for what."""
    text = f"plugin {entry.name} is still being imported ({entry.value})\n"
    timer = threading.Timer(IMPORT_TOLD_S, sys.stderr.write, [text])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextlib.contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Interrupt what takes longer; only the main thread can be interrupted.

    Raises:
        TimeoutError: it did.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
        raise TimeoutError(f"took more than {seconds:g} s to import")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def import_target(target: str) -> Any:
    """Import ``module:attribute``."""
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


@lru_cache(maxsize=1)
def registry() -> Registry:
    """The registry of this process, loaded on first use."""
    return Registry()
