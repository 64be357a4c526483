"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

suite_argument = click.argument("suite", type=click.Path(path_type=Path))
set_option = click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override one value.")


def workdir_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--workdir``, the folder that holds everything a run makes; the command gets it as ``workdir: Path``."""
    return click.option(
        "--workdir",
        type=click.Path(file_okay=False, path_type=Path),
        default=Path("runs"),
        envvar="HARNESS_WORKDIR",
        show_envvar=True,
        show_default="runs",
        help="Folder that holds everything a run makes.",
    )(command)
