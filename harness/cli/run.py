"""`harness run`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

import harness
from harness.cli.options import set_option, suite_argument, workdir_option
from harness.cli.signals import signals_raise
from harness.graph import STAGES


@click.command()
@suite_argument
@workdir_option
@set_option
@click.option("--only", multiple=True, metavar="ROW", help="Run this row only; may be given again.")
@click.option("--until", type=click.Choice(STAGES), help="Stop after this kind of stage.")
@click.option("--workers", type=click.IntRange(min=1), help="Worker processes. Default: one per core, one on a GPU.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option(
    "--patience",
    type=click.FloatRange(min=0, min_open=True),
    default=30.0,
    show_default=True,
    metavar="MINUTES",
    help="Without progress for so long, a stage fails.",
)
@click.option(
    "--memory",
    type=click.FloatRange(min=0, min_open=True),
    metavar="GIB",
    help="What one worker may hold. Default: nearly all that the machine has.",
)
def run(
    suite: Path,
    workdir: Path,
    overrides: tuple[str, ...],
    only: tuple[str, ...],
    until: str | None,
    workers: int | None,
    device: str,
    patience: float,
    memory: float | None,
) -> None:
    """Run a SUITE; start it again after an interruption and it goes on where it was."""
    try:
        with signals_raise():
            results = harness.run(
                suite,
                workdir=workdir,
                set=overrides,
                only=only,
                until=until or "",
                workers=workers,
                device=device,
                patience_minutes=patience,
                memory_gib=memory,
            )
    except KeyboardInterrupt:
        click.echo("stopped; run the same command again and it goes on from here", err=True)
        sys.exit(1)
    sys.exit(1 if any(result.status == "failed" for result in results) else 0)
