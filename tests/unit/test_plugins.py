"""Discovery: plugins load one at a time, names are checked, and a broken plugin stops nobody else."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from importlib.metadata import EntryPoint

import pytest

from harness import plugins
from harness.errors import InputError
from harness.hookspecs import PROJECT, hookimpl
from harness.plugins import Loaded, Registry
from harness.testing.toy import Toy

Register = Callable[[str, str], None]


class Distribution:
    """What an entry point knows of its distribution."""

    def __init__(self, name: str) -> None:
        self.name, self.version = name, "1.2"


class Environment:
    """Entry points made up for one test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._found: list[EntryPoint] = []
        monkeypatch.setattr(plugins, "entry_points", self._entry_points)

    def _entry_points(self, group: str) -> list[EntryPoint]:
        return [entry for entry in self._found if entry.group == group]

    def add(self, name: str, *hooks: Callable[..., None], distribution: str = "", written_for: object = None) -> None:
        """A plugin whose module holds these hooks, and says which version of them it was written for."""
        module = types.ModuleType(f"fake_{name}_{len(self._found)}")
        if written_for is not None:
            vars(module)["HARNESS_HOOKS"] = written_for
        for hook in hooks:
            setattr(module, hook.__name__, hook)
        self._monkeypatch.setitem(sys.modules, module.__name__, module)
        self.add_entry(name, module.__name__, distribution)

    def add_entry(self, name: str, value: str, distribution: str = "") -> None:
        """An entry point that names a module, which may not exist."""
        entry = EntryPoint(name, value, PROJECT)
        vars(entry)["dist"] = Distribution(distribution or f"dist-{name}")
        self._found.append(entry)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Environment:
    return Environment(monkeypatch)


def offers(*names: str, target: str = "harness.testing.toy:Toy") -> Callable[..., None]:
    @hookimpl
    def register_generators(register: Register) -> None:
        for name in names:
            register(name, target)

    return register_generators


def loaded(registry: Registry, name: str) -> Loaded:
    (plugin,) = [p for p in registry.plugins if p.name == name]
    return plugin


def test_what_a_plugin_registers(environment: Environment) -> None:
    environment.add("one", offers("a", "b"))
    registry = Registry()
    assert [(r.kind, r.name, r.distribution) for r in loaded(registry, "one").registered] == [
        ("generators", "a", "dist-one"),
        ("generators", "b", "dist-one"),
    ]
    assert registry.load("generators", "a") is Toy
    assert not loaded(registry, "one").error


def test_the_core_comes_first_then_plugins_by_name(environment: Environment) -> None:
    environment.add("b", offers("b"))
    environment.add("a", offers("a"))
    environment.add_entry("zcore", "harness.builtin", "facegen-harness")
    assert [plugin.name for plugin in Registry().plugins] == ["zcore", "a", "b"]


def test_a_plugin_that_fails_to_import_stops_nobody(environment: Environment) -> None:
    environment.add("good", offers("good"))
    environment.add_entry("gone", "no_such_module_at_all")
    environment.add("later", offers("later"))
    registry = Registry()
    assert loaded(registry, "gone").error == "ModuleNotFoundError: No module named 'no_such_module_at_all'"
    assert set(registry.names["generators"]) == {"good", "later"}


@pytest.mark.parametrize("error", [ValueError("first\nsecond"), SystemExit(3)])
def test_a_hook_that_raises_registers_nothing(environment: Environment, error: BaseException) -> None:
    @hookimpl
    def register_generators(register: Register) -> None:
        register("half", "harness.testing.toy:Toy")
        raise error

    environment.add("bad", register_generators)
    environment.add("good", offers("good"))
    registry = Registry()
    assert loaded(registry, "bad").error in ("ValueError: first", "SystemExit: 3")
    assert set(registry.names["generators"]) == {"good"}
    assert not registry.manager.has_plugin("bad")


def test_a_misspelt_hook_is_an_error_of_its_plugin_alone(environment: Environment) -> None:
    @hookimpl
    def register_generator(register: Register) -> None:
        register("never", "harness.testing.toy:Toy")

    environment.add("bad", register_generator)
    environment.add("good", offers("good"))
    registry = Registry()
    assert "unknown hook 'register_generator'" in loaded(registry, "bad").error
    assert not loaded(registry, "good").error


def test_a_hook_with_a_wrong_argument_is_an_error_of_its_plugin_alone(environment: Environment) -> None:
    @hookimpl
    def row_finished(result: object, path: object) -> None: ...

    environment.add("bad", row_finished)
    environment.add("good", offers("good"))
    registry = Registry()
    assert "row_finished" in loaded(registry, "bad").error
    assert not registry.manager.has_plugin("bad")
    registry.manager.hook.row_finished(result=None, folder=None)
    assert set(registry.names["generators"]) == {"good"}


def test_a_name_that_is_taken_names_both(environment: Environment) -> None:
    environment.add("first", offers("same", "other"))
    environment.add("second", offers("new", "same"))
    registry = Registry()
    error = loaded(registry, "second").error
    assert "generator 'same' is taken by dist-first; rename the one in fake_second_1" in error
    assert set(registry.names["generators"]) == {"same", "other"}, "a plugin with an error offers nothing"
    assert registry.find("generators", "same").distribution == "dist-first"


def test_one_plugin_cannot_take_a_name_twice(environment: Environment) -> None:
    environment.add("one", offers("same", "same"))
    assert "generator 'same' is taken by dist-one" in loaded(Registry(), "one").error


def test_the_same_name_may_be_of_two_kinds(environment: Environment) -> None:
    @hookimpl
    def register_sources(register: Register) -> None:
        register("images", "harness.builtin.images:ImagesSource")

    environment.add("one", register_sources, offers("images"))
    registry = Registry()
    assert registry.find("sources", "images").target != registry.find("generators", "images").target


def test_two_plugins_of_one_name(environment: Environment) -> None:
    calls: list[str] = []

    @hookimpl
    def suite_started(plan: object, workdir: object) -> None:
        calls.append("first")

    environment.add("same", offers("a"), suite_started, distribution="dist-first")
    environment.add("same", offers("b"), distribution="dist-second")
    registry = Registry()
    assert [(p.distribution, bool(p.error)) for p in registry.plugins] == [("dist-first", False), ("dist-second", True)]
    registry.manager.hook.suite_started(plan=None, workdir=None, missing=frozenset(), workers=1)
    assert calls == ["first"], "the one that came first keeps its hooks"
    assert set(registry.names["generators"]) == {"a"}


def test_an_unknown_name_gets_the_nearest_and_the_broken_plugins(environment: Environment) -> None:
    environment.add("good", offers("idiffface", "toy"))
    environment.add_entry("gone", "no_such_module_at_all")
    with pytest.raises(InputError) as caught:
        Registry().find("generators", "idifface")
    text = str(caught.value)
    assert text.startswith("unknown generator 'idifface', expected one of idiffface, toy; did you mean 'idiffface'?")
    assert "plugin dist-gone failed to load: ModuleNotFoundError: No module named 'no_such_module_at_all'" in text


def test_an_unknown_name_with_nothing_near(environment: Environment) -> None:
    environment.add("good", offers("toy"))
    with pytest.raises(InputError, match=r"^unknown generator 'id3', expected one of toy$"):
        Registry().find("generators", "id3")
    with pytest.raises(InputError, match=r"^unknown aligner 'mtcnn', expected one of none$"):
        Registry().find("aligners", "mtcnn")


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("no_such_module_at_all:Toy", "generator 'x' of dist-one fails to import: ModuleNotFoundError: No module"),
        ("harness.testing.toy:Toi", "generator 'x' of dist-one fails to import: AttributeError: "),
        ("harness.testing.toy:ToySettings", "harness.testing.toy:ToySettings is not a harness component class"),
        ("harness.testing.toy:np", "harness.testing.toy:np is not a harness component class"),
    ],
)
def test_a_target_that_cannot_be_used(environment: Environment, target: str, says: str) -> None:
    environment.add("one", offers("x", target=target))
    registry = Registry()
    assert not loaded(registry, "one").error, "targets are imported when a suite names them"
    with pytest.raises(InputError) as caught:
        registry.load("generators", "x")
    assert says in str(caught.value)


def test_the_events_that_a_plugin_watches(environment: Environment) -> None:
    @hookimpl
    def suite_started(plan: object) -> None: ...

    @hookimpl
    def row_finished(result: object) -> None: ...

    environment.add("one", offers("a"), suite_started, row_finished)
    environment.add("two", offers("b"))
    assert [plugin.events for plugin in Registry().plugins] == [["row_finished", "suite_started"], []]


@pytest.mark.parametrize(
    ("oldest", "newest", "written_for", "says"),
    [
        (1, 1, 2, "InputError: written for hooks 2, this harness has 1; install a newer facegen-harness"),
        (2, 3, 1, "InputError: written for hooks 1, this harness has 2 to 3; install a newer version of the plugin"),
        (1, 1, "1", "InputError: HARNESS_HOOKS is '1', expected the number of the hooks it was written for"),
        (1, 1, 1, ""),
        (2, 3, 2, ""),
        (2, 3, None, ""),
    ],
)
def test_a_plugin_written_for_other_hooks_is_refused(
    environment: Environment,
    monkeypatch: pytest.MonkeyPatch,
    oldest: int,
    newest: int,
    written_for: object,
    says: str,
) -> None:
    monkeypatch.setattr(plugins.hookspecs, "OLDEST_HOOKS", oldest)
    monkeypatch.setattr(plugins.hookspecs, "HOOKS", newest)
    environment.add("one", offers("a"), written_for=written_for)
    environment.add("two", offers("b"))
    registry = Registry()
    error = loaded(registry, "one").error
    assert error.startswith(says) if says else not error
    assert set(registry.names["generators"]) == ({"b"} if says else {"a", "b"}), "the other one loads"


@pytest.mark.parametrize(
    ("allowed", "offered"),
    [("dist-one", {"a"}), ("Dist_One, dist.two", {"a", "b"}), ("", set()), (" , ", set())],
)
def test_the_allow_list(
    environment: Environment, monkeypatch: pytest.MonkeyPatch, allowed: str, offered: set[str]
) -> None:
    environment.add("one", offers("a"))
    environment.add("two", offers("b"))
    environment.add_entry("three", "no_such_module_at_all")
    environment.add_entry("harness", "harness.builtin", "facegen-harness")
    monkeypatch.setenv("HARNESS_PLUGINS", allowed)
    registry = Registry()
    assert {r.name for r in registry.names["generators"].values() if r.distribution != "facegen-harness"} == offered
    assert "toy" in registry.names["generators"], "the core is always there"
    assert not loaded(registry, "three").error, "what is left out is not imported"
    assert [p.name for p in registry.loaded] == [
        "harness",
        *(["one"] if offered else []),
        *(["two"] if "b" in offered else []),
    ]
    with pytest.raises(InputError, match=r"HARNESS_PLUGINS leaves out (dist-one, )?dist-three"):
        registry.find("generators", "c")


def test_an_allow_list_with_a_typo_is_refused(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    environment.add("one", offers("a"))
    monkeypatch.setenv("HARNESS_PLUGINS", "dist-one,dist-on")
    with pytest.raises(
        InputError, match=r"^HARNESS_PLUGINS: unknown plugin distribution 'dist-on', expected one of dist-one; did"
    ):
        Registry()
