"""`harness new-plugin`."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from string import Template

import click

from harness.errors import InputError

# What can be written, and the kind of the registry that it is of.
KINDS = {"generator": "generators", "evaluator": "evaluators", "recognizer": "recognizers"}
NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
LONGEST = 40


@click.command()
@click.argument("name")
@click.option("--kind", type=click.Choice(list(KINDS)), default="generator", show_default=True, help="What it offers.")
def new_plugin(name: str, kind: str) -> None:
    """Write the package of a plugin into the folder harness-NAME: small, typed, with tests and a suite that run."""
    from harness.plugins import registry

    if not NAME.fullmatch(name) or len(name) > LONGEST:
        text = f"expected small letters and digits, with single hyphens between, at most {LONGEST}, such as my-{kind}"
        raise InputError(f"plugin name {name!r}: {text}")
    taken = [r.distribution for r in (registry().names[KINDS[kind]].get(name),) if r]
    taken += [plugin.distribution for plugin in registry().plugins if plugin.name == name]
    if taken:
        raise InputError(f"plugin name {name!r} is taken by {taken[0]}; choose another one")
    folder = Path(f"harness-{name}")
    if folder.exists():
        raise InputError(f"{folder} exists; remove it or choose another name")
    for path, text in package(name, kind).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    click.echo(f'wrote {folder}; next, in that folder: pip install -e ".[test]", pytest, harness run suite.yaml')


def package(name: str, kind: str) -> dict[str, str]:
    """The files of a plugin: their text by their path."""
    module = f"harness_{name.replace('-', '_')}"
    words = {
        "name": name,
        "kind": kind,
        "kinds": KINDS[kind],
        "module": module,
        "cls": "".join(part.capitalize() for part in (*name.split("-"), kind)),  # never one that is imported
    }
    templates = {
        "pyproject.toml": "pyproject.toml",
        "README.md": f"{kind}/README.md",
        "suite.yaml": f"{kind}/suite.yaml",
        f"src/{module}/__init__.py": "init.py",
        f"src/{module}/{kind}.py": f"{kind}/component.py",
        "tests/test_contract.py": f"{kind}/test.py",
    }
    folder = files("harness.cli").joinpath("plugin_templates")
    made = {
        path: Template(folder.joinpath(f"{template}.tmpl").read_text(encoding="utf-8")).substitute(words)
        for path, template in templates.items()
    }
    return {**made, f"src/{module}/py.typed": ""}
