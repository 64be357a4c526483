"""``harness results``: every number of every seed as one table for notebooks."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from harness.cli.options import workdir_option


@click.command()
@click.option("--suite", metavar="NAME", help="Only this suite; default all suites of the workdir.")
@click.option("--format", "format_", type=click.Choice(["parquet", "csv"]), default="parquet", show_default=True)
@workdir_option
def results(suite: str | None, format_: str, workdir: Path) -> None:
    """Print one line per row, metric and seed, as in `harness results > results.parquet`.

    Columns are those of `harness.leaderboard(...).to_frame()`: value, the seed's interval, n, digests of protocol and
    recipe, and the row's mean, interval over seeds and rank; fractions, not percent.
    """
    from harness.reading import frames
    from harness.reading.escape import visible
    from harness.reading.leaderboard import load

    if format_ == "parquet" and sys.stdout.isatty():
        raise click.UsageError("parquet is no text; send it to a file, as in: harness results > results.parquet")
    board = load(workdir, suite)
    for text in board.damaged:
        click.echo(f"warning: {visible(text)}; left out", err=True)
    make = {"parquet": frames.to_parquet, "csv": frames.to_csv}[format_]
    click.echo(make(board), nl=False)
