"""`harness plan`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.options import set_option, suite_argument, workdir_option
from harness.errors import DataError, InputError

if TYPE_CHECKING:
    from harness.graph import Stage, SuitePlan
    from harness.planning.forecast import Rates
    from harness.store.artifacts import Store


@click.command()
@suite_argument
@workdir_option
@set_option
def plan(suite: Path, workdir: Path, overrides: tuple[str, ...]) -> None:
    """Check a SUITE without running it: its stages, how long they will take, and what it can detect.

    Times are those of stages like them that were built in the workdir before; a stage without a time is like none.
    Where files are missing, it says which, where they are to be had and under which terms, and how much is to be done.
    """
    from harness.planning.absent import describe_cost, describe_missing
    from harness.planning.forecast import Rates, TimeLeft
    from harness.planning.planner import plan_suite
    from harness.reading.power import describe
    from harness.store.artifacts import Store
    from harness.store.machine import cores
    from harness.suites.missing import Missing
    from harness.suites.read import load_suite

    absent: list[Missing] = []
    resolved = load_suite(suite, overrides, absent)
    if absent:
        for line in (*describe_missing(resolved, absent), *describe_cost(resolved)):
            click.echo(line)
        raise InputError(f"{suite}: cannot run: {len(absent)} paths are missing, first {absent[0].text}")
    planned = plan_suite(resolved, suite)
    store = Store(workdir / "store")
    rates = Rates.of(store)
    missing = set()
    for heading, stages in _branches(planned):
        click.echo(heading)
        for stage in stages:
            state, line = _line(stage, store, rates)
            click.echo(f"  {state:7}  {line}")
            if state != "cached":
                missing.add(stage.id)
    rows, count = len(planned.rows), len(planned.stages)
    click.echo(f"{rows} rows x {len(planned.suite.seeds)} seeds, {count} stages, {count - len(missing)} of them cached")
    if missing:
        click.echo(f"time with {cores()} workers: {TimeLeft(planned, workdir, missing, cores(), rates).words()}")
    for line in describe(planned.suite, workdir):
        click.echo(line)


def _branches(planned: SuitePlan) -> Iterator[tuple[str, list[Stage]]]:
    """The stages that rows share, then those of each row and seed."""
    own = {stage.id for row in planned.row_plans for stage in row.stages}
    yield "shared", [stage for id, stage in planned.stages.items() if id not in own]
    told = set()
    for row in planned.row_plans:
        stages = [stage for stage in row.stages if stage.id not in told]
        told |= {stage.id for stage in stages}
        yield f"row {row.row}, seed {row.seed}", stages


def _line(stage: Stage, store: Store, rates: Rates) -> tuple[str, str]:
    """Whether a stage is in the store, and what it is, with its size and time."""
    from harness.reading.durations import duration

    try:
        artifact = store.find(*stage.id)
        state = "missing" if artifact is None else "cached"
    except DataError:
        artifact, state = None, "damaged"
    if artifact is not None:
        images, about = artifact.manifest.counts.get("images", 0), ""
        seconds: float | None = artifact.manifest.seconds
    else:
        images, seconds, about = _images(stage), rates.seconds(stage), "about "
    facts = [f"{images:,} images"] if images else []
    facts += [about + duration(seconds)] if seconds is not None else []
    return state, f"{stage.kind:9} {stage.key}  {stage.label}" + (f"  ({', '.join(facts)})" if facts else "")


def _images(stage: Stage) -> int:
    """How many images a stage makes or is given, where its options say it."""
    identities, per_identity = (stage.options.get(name) or 0 for name in ("identities", "per_identity"))
    return int(identities * per_identity)
