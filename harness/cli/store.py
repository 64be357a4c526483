"""``harness store``: what runs have made, whether it is whole, what could go, and moving a row to another machine."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.options import workdir_option
from harness.reading.escape import visible

if TYPE_CHECKING:
    from harness.store.upkeep import Held


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def store() -> None:
    """Look after what runs have made: list, verify, clean up, and move a row with all its evidence."""


@store.command()
@workdir_option
def ls(workdir: Path) -> None:
    """List the artifacts with their sizes and the rows that rest on them."""
    from harness.store.upkeep import artifacts

    held = list(artifacts(workdir).values())
    for one in held:
        _say(one, ", ".join(sorted(one.used_by)) or "no result")
    click.echo(f"{len(held):,} artifacts, {_size(sum(one.bytes for one in held))}")


@store.command()
@click.option("--quick", is_flag=True, help="Compare names and sizes only; files are not read.")
@workdir_option
def verify(quick: bool, workdir: Path) -> None:
    """Compare every artifact with what was made; the exit status is 1 if any differs."""
    from harness.store.upkeep import artifacts
    from harness.store.upkeep import verify as look

    held = list(artifacts(workdir).values())
    faults = [(one.place, fault) for one in held if (fault := look(one, quick))]
    for place, fault in faults:
        click.echo(visible(f"damaged  {place}: {fault}"))
    click.echo(f"{len(held) - len(faults):,} of {len(held):,} artifacts are what was made")
    sys.exit(1 if faults else 0)


@store.command()
@click.option(
    "--older-than",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    metavar="DAYS",
    help="Spare the rest.",
)
@click.option("--delete", is_flag=True, help="Delete it; without this, only say what would go.")
@workdir_option
def gc(older_than: float, delete: bool, workdir: Path) -> None:
    """Say, or delete, what no result rests on: other artifacts, damaged ones, remains of runs that were stopped."""
    from harness.store.artifacts import Store
    from harness.store.upkeep import delete as remove
    from harness.store.upkeep import unused

    freed = 0
    for one in unused(workdir, older_than):
        gone = not delete or remove(Store(workdir / "store"), one)
        freed += one.bytes if gone else 0
        _say(one, "" if gone else "is being built; kept")
    click.echo(f"{_size(freed)} {'freed' if delete else 'to free; add --delete to do it'}")


@store.command()
@click.argument("row", metavar="SUITE/ROW")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@workdir_option
def export(row: str, file: Path, workdir: Path) -> None:
    """Write a row, all its seeds and everything it rests on into FILE (a tar), checked."""
    from harness.store.parcel import pack

    suite, _, name = row.partition("/")
    if not name:
        raise click.UsageError(f"{row}: expected SUITE/ROW")
    count = pack(workdir, suite, name, file)
    click.echo(visible(f"wrote {row} with {count:,} artifacts to {file}, {_size(file.stat().st_size)}"))


@store.command(name="import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@workdir_option
def import_(file: Path, workdir: Path) -> None:
    """Put what FILE holds into the workdir; every artifact is compared with its seal before it gets its place."""
    from harness.store.parcel import unpack

    new, old = unpack(file, workdir)
    for place in new:
        click.echo(visible(f"new      {place}"))
    click.echo(f"{len(new):,} new, {len(old):,} were there already")


def _say(held: Held, more: str) -> None:
    made = time.strftime("%Y-%m-%d", time.gmtime(held.finished))
    who = held.artifact.manifest.component if held.artifact is not None else ""
    click.echo(visible(f"{held.place:<36} {who:<16} {_size(held.bytes):>9}  {made}  {held.fault or more}").rstrip())


def _size(count: int) -> str:
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"
