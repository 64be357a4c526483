"""Writes ``docs/commands.md`` from the commands' own ``--help``: ``python docs/make_commands.py``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from harness.cli import main

PAGE = Path(__file__).with_name("commands.md")
HEAD = """# Commands

What `harness COMMAND --help` says, for every command. Made by `make docs`; a test compares the two.
"""


def commands(command: click.Command, name: str, parent: click.Context | None = None) -> Iterator[tuple[str, str]]:
    """Every command below one, with its help, in the order in which help lists them."""
    settings = {"terminal_width": 100, **command.context_settings}
    context = click.Context(command, parent, info_name=name.rpartition(" ")[2], **settings)
    yield name, command.get_help(context)
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            found = command.get_command(context, inner)
            if found is not None:
                yield from commands(found, f"{name} {inner}", context)


def page() -> str:
    """The whole page."""
    sections = [f"## {name}\n\n```text\n{text}\n```\n" for name, text in commands(main, "harness")]
    return "\n".join([HEAD, *sections])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
