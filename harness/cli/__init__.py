"""The command line: nothing heavy is imported until a command needs it."""

from __future__ import annotations

import errno
import importlib
import os
import sys
from typing import Any

import click

from harness import __version__
from harness.errors import HarnessError
from harness.reading.escape import replace_unknown, visible

# Command -> module under harness.cli that defines it under the same name.
_COMMANDS = {
    "compare": "compare",
    "components": "plugins",
    "data": "data",
    "init": "init",
    "leaderboard": "leaderboard",
    "new-plugin": "new_plugin",
    "plan": "plan",
    "plugins": "plugins",
    "report": "report",
    "results": "results",
    "run": "run",
    "store": "store",
    "sync": "ui",
    "ui": "ui",
    "weights": "weights",
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"harness.cli.{_COMMANDS[cmd_name]}")
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except HarnessError as error:
            if ctx.params.get("debug"):
                raise
            click.echo(f"error: {visible(' '.join(str(error).split()))}", err=True)
            sys.exit(error.exit_status)
        except OSError as error:  # a full disk, a folder that may not be written to
            if ctx.params.get("debug") or error.errno == errno.EPIPE:  # click ends quietly when a pipe is closed
                raise
            click.echo(f"error: {visible(str(error))}; what was finished is kept", err=True)
            sys.exit(1)


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="harness")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.option("--no-plugins", is_flag=True, help="Load the harness's own components alone.")
def main(debug: bool, no_plugins: bool) -> None:
    """Find out whether a synthetic face generator is really better: one suite file in, a leaderboard out."""
    if no_plugins:
        os.environ["HARNESS_PLUGINS"] = ""  # which worker processes see too
    for stream in (sys.stdout, sys.stderr):
        replace_unknown(stream)  # no board is lost to ASCII
