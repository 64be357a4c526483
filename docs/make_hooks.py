"""Writes ``docs/hooks.md`` from the docstrings of ``harness/hookspecs.py``: ``python docs/make_hooks.py``."""

from __future__ import annotations

import inspect
import re
import textwrap
import tomllib
from pathlib import Path

from harness import hookspecs
from harness.plugins import registry

PAGE = Path(__file__).with_name("hooks.md")
PLUGINS = Path(__file__).parents[1] / "plugins"
HEAD = """# Hooks

Every extension point, in pipeline order. Made from `harness/hookspecs.py` by `make docs`; a test compares the two. A
plugin is a module that an entry point of the group `facegen_harness` names; the functions in it that are marked
`@hookimpl` and named like one of these are called. A hook may take fewer arguments than are listed here, never other
ones: a misspelt hook or argument is an error of that plugin. [Writing a plugin](writing-a-plugin.md) has a complete
example.

```python
from harness import Register, hookimpl

HARNESS_HOOKS = {hooks}


@hookimpl
def register_aligners(register: Register) -> None:
    register("five-points", "harness_five.aligner:FivePoints")
```

`HARNESS_HOOKS` says which version of this interface the module was written for; this is version {hooks}. It may be left
out. The version rises when plugins have to be changed, and a plugin that was written for one that this harness does not
have is refused, with both numbers and what to install.

## What a plugin offers

The `register_*` hooks are called once at start-up, also by `harness plugins`, so they must be instant: call
`register(name, target)` and nothing else. The target is `module:attribute`, imported when a suite first names it. A
name may be taken once per kind; a second taker is reported with both distributions, and nothing of it is used.

"""
EVENTS = """## What a plugin may watch

The events of a run. They are called in the coordinating process, never in a worker, and return nothing. A slow one
holds the run up; one that raises costs a warning and the event, not the run. The core's own listeners are the terminal
(`harness/tracking/terminal.py`) and MLflow (`harness/tracking/mlflow.py`).

"""


def hooks() -> dict[str, inspect.Signature]:
    """Every hook with its arguments, in the order of the file."""
    marked = {name: each for name, each in vars(hookspecs).items() if hasattr(each, f"{hookspecs.PROJECT}_spec")}
    return {name: inspect.signature(each) for name, each in marked.items()}


def offered(kind: str) -> str:
    """What the core offers of a kind, and what each plugin of this repository does."""
    found: dict[str, list[str]] = {}
    for plugin in registry().plugins:
        found[plugin.distribution] = [f"`{r.name}`" for r in plugin.registered if r.kind == kind]
    names = [tomllib.loads(path.read_text(encoding="utf-8"))["project"]["name"] for path in PLUGINS.glob("*/*.toml")]
    texts = [f"Ours: {', '.join(found['facegen-harness']) or 'none'}"]
    texts += [f"of {name}: {', '.join(found[name])}" for name in sorted(names) if found[name]]
    return "; ".join(texts) + "."


def section(name: str, arguments: inspect.Signature) -> str:
    """A hook's heading and text."""
    text = inspect.getdoc(getattr(hookspecs, name)) or ""
    if name.startswith("register_"):
        text += f"\n\n{offered(name.removeprefix('register_'))}"
    text = re.sub(r"docs/(writing-a-(\w+)\.md)", r"[Writing a \2](\1)", text.replace("``", "`"))
    filled = [textwrap.fill(part, 120, break_long_words=False, break_on_hyphens=False) for part in text.split("\n\n")]
    return "\n\n".join([f"### {name}({', '.join(arguments.parameters)})", *filled]) + "\n"


def page() -> str:
    """The whole page."""
    parts = {name: section(name, arguments) for name, arguments in hooks().items()}
    offers = [text for name, text in parts.items() if name.startswith("register_")]
    events = [text for name, text in parts.items() if not name.startswith("register_")]
    return HEAD.format(hooks=hookspecs.HOOKS) + "\n".join(offers) + "\n" + EVENTS + "\n".join(events)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
