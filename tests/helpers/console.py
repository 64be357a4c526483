"""Command lines as the documentation shows them: split as a shell would, and checked by click without being run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import click

from harness.cli import main

_ENDS = {">", ">>", "|", "&&", "||", ";"}
_INNER = re.compile(r"\$\([^)]*\)")  # a command within a command
_CONTINUED = re.compile(r"\\\n|\n\s+(?=\[?-)")  # a synopsis goes on with an option


def command_lines(text: str) -> Iterator[list[str]]:
    """The words of each line, without comments, assignments before it and what it is piped to.

    Brackets of a synopsis are dropped: what may be left out is checked as well.
    """
    for line in _CONTINUED.sub(" ", _INNER.sub("X", text)).splitlines():
        words = shlex.split(line, comments=True)
        ends = [place for place, word in enumerate(words) if word in _ENDS]
        words = words[: ends[0]] if ends else words
        while words and "=" in words[0] and not words[0].startswith("-"):
            words = words[1:]
        if words:
            yield [word if "=" in word else word.strip("[]") for word in words]


def check_harness(words: list[str], whole: bool = True) -> None:
    """Refuse what ``harness`` would not understand.

    Args:
        words: without ``harness`` itself. ``a|b`` stands for both.
        whole: whether it is a line to be typed, with every argument; else it may be a group's name as well.

    Raises:
        click.UsageError: an unknown command or option, a value of the wrong kind, too few or too many words.
    """
    command: click.Command = main
    context = click.Context(main, info_name="harness")
    while isinstance(command, click.Group) and (words or whole):
        names, words = words[0].split("|") if words else [""], words[1:]
        found = {name: command.get_command(context, name) for name in names}
        for name, one in found.items():
            if one is None:
                raise click.UsageError(f"{context.command_path} has no command {name!r}")
            command = one
        context = click.Context(command, context, info_name=names[-1])
    given, rest, _ = command.make_parser(context).parse_args(words)
    if rest:
        raise click.UsageError(f"{context.command_path} takes no {rest}")
    for parameter in command.params:
        value = given.get(parameter.name or "")
        several = value if isinstance(value, list | tuple) else [value]
        values = [each for each in several if isinstance(each, str | int)]  # click marks what is not there otherwise
        if whole and parameter.required and not values:
            raise click.UsageError(f"{context.command_path} lacks {parameter.name}")
        for each in values if not isinstance(parameter.type, click.Path) else []:
            for one in str(each).split("|"):
                if one not in ("N", "..."):  # a synopsis leaves the number open
                    parameter.type.convert(one, parameter, context)
