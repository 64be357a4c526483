"""`harness run` and `harness plan`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

import harness
from harness.cli.options import workdir_option
from harness.cli.signals import signals_raise
from harness.errors import DataError, InputError
from harness.graph import STAGES

suite_argument = click.argument("suite", type=click.Path(path_type=Path))
set_option = click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override one value.")


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


@click.command()
@suite_argument
@workdir_option
@set_option
def plan(suite: Path, workdir: Path, overrides: tuple[str, ...]) -> None:
    """Check a SUITE without running it: its stages, which of them are in the store, and what it can detect."""
    from harness.planning.absent import describe_cost, describe_missing
    from harness.reading.power import describe
    from harness.store.artifacts import Store
    from harness.suites.missing import Missing
    from harness.suites.read import load_suite

    missing: list[Missing] = []
    resolved = load_suite(suite, overrides, missing)
    if missing:
        for line in (*describe_missing(resolved, missing), *describe_cost(resolved)):
            click.echo(line)
        raise InputError(f"{suite}: cannot run: {len(missing)} paths are missing, first {missing[0].text}")
    planned = harness.plan(suite, set=overrides)
    store = Store(workdir / "store")
    there = 0
    for stage in planned.stages.values():
        try:
            state = "cached " if store.find(*stage.id) else "missing"
        except DataError:
            state = "damaged"
        there += state == "cached "
        click.echo(f"{state}  {stage.kind:9} {stage.key}  {stage.label}")
    rows = len(planned.rows)
    click.echo(f"{rows} rows x {len(planned.suite.seeds)} seeds, {len(planned.stages)} stages, {there} of them cached")
    for line in describe(planned.suite, workdir):
        click.echo(line)
