"""`harness run` and `harness plan`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from harness.cli.options import workdir_option
from harness.cli.signals import signals_raise
from harness.store.stage import STAGES

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
def run(
    suite: Path,
    workdir: Path,
    overrides: tuple[str, ...],
    only: tuple[str, ...],
    until: str | None,
    workers: int | None,
    device: str,
) -> None:
    """Run a SUITE; start it again after an interruption and it goes on where it was."""
    from harness.engine import Engine
    from harness.errors import InputError
    from harness.plan import plan_suite
    from harness.plugins import registry
    from harness.suite import load_suite, unknown_key
    from harness.tracking.mlflow import MlflowTracking
    from harness.tracking.terminal import Terminal

    plan = plan_suite(load_suite(suite, overrides), suite)
    for row in only:
        if row not in plan.rows:
            raise InputError(f"--only {row}: {unknown_key(row, plan.rows).replace('unknown key', 'unknown row')}")
    registry().manager.register(MlflowTracking(), name="mlflow")
    registry().manager.register(Terminal(), name="terminal")  # last, so it speaks first
    try:
        with signals_raise():
            results = Engine(plan, workdir, workers, device, only, until or "").run()
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
    from harness.plan import plan_suite
    from harness.power import describe
    from harness.store.artifacts import Store
    from harness.suite import load_suite

    planned = plan_suite(load_suite(suite, overrides), suite)
    store = Store(workdir / "store")
    there = 0
    for stage in planned.stages.values():
        artifact = store.find(*stage.id)
        there += artifact is not None
        state = "cached " if artifact else "missing"
        click.echo(f"{state}  {stage.kind:9} {stage.key}  {stage.label}")
    rows = len(planned.rows)
    click.echo(f"{rows} rows x {len(planned.suite.seeds)} seeds, {len(planned.stages)} stages, {there} of them cached")
    for line in describe(planned.suite, workdir):
        click.echo(line)
