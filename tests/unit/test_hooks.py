"""The hooks, their page in the docs and their implementations stay in step."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from harness import hookspecs
from harness.plugins import KINDS, Registry
from harness.tracking.mlflow import MlflowTracking
from harness.tracking.terminal import Terminal

PAGE = Path(__file__).parents[2] / "docs" / "hooks.md"
HOOKS = {
    name: list(inspect.signature(function).parameters)
    for name, function in vars(hookspecs).items()
    if hasattr(function, f"{hookspecs.PROJECT}_spec")
}


@pytest.fixture(scope="module")
def registry() -> Registry:
    """The plugins of this environment with the listeners of ``harness run``."""
    registry = Registry()
    registry.manager.register(MlflowTracking())
    registry.manager.register(Terminal())
    return registry


def sections() -> dict[str, tuple[list[str], str]]:
    """Of each hook on the page: its arguments and its text."""
    found = re.findall(
        r"^### (\w+)\((.*?)\)\n(.*?)(?=^##|\Z)", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    return {name: (re.findall(r"\w+", arguments), text) for name, arguments, text in found}


def test_every_hook_is_documented_with_its_arguments_in_pipeline_order() -> None:
    assert [(name, arguments) for name, (arguments, _) in sections().items()] == list(HOOKS.items())


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_has_a_docstring(hook: str) -> None:
    assert getattr(hookspecs, hook).__doc__


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_has_a_real_implementation(hook: str, registry: Registry) -> None:
    assert getattr(registry.manager.hook, hook).get_hookimpls()


@pytest.mark.parametrize("hook", [name for name in HOOKS if not name.startswith("register_")])
def test_the_page_explains_every_argument_of_an_event(hook: str) -> None:
    arguments, text = sections()[hook]
    missing = [argument for argument in arguments if f"`{argument}`" not in text]
    assert not missing


def test_there_is_a_hook_for_every_kind() -> None:
    assert [name for name in HOOKS if name.startswith("register_")] == [f"register_{kind}" for kind in KINDS]


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_lists_what_the_core_offers(kind: str, registry: Registry) -> None:
    (core,) = [plugin for plugin in registry.plugins if plugin.module == "harness.builtin"]
    offered = [r.name for r in core.registered if r.kind == kind]
    _, text = sections()[f"register_{kind}"]
    ours = re.search(r"Ours:\s([^;.]*)", text)
    assert ours
    assert re.findall(r"`([\w-]+)`", ours[1]) == offered
