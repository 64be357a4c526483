"""``harness report``: the leaderboard as one HTML file."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.options import workdir_option


@click.command()
@click.option("--suite", metavar="NAME", help="Only this suite; default all suites of the workdir.")
@click.option("--published", is_flag=True, help="Also show the rows that papers print; they are never ranked.")
@click.option("--open", "opened", is_flag=True, help="Open it in the browser as well.")
@workdir_option
def report(suite: str | None, published: bool, opened: bool, workdir: Path) -> None:
    """Write the leaderboard as one HTML file into the results, and say where it is.

    It holds the rows with their intervals, ranks that rows share, score densities, curves, sample sheets, costs and
    terms, and needs neither a network nor the files beside it. `harness run` writes that of its suite by itself.
    """
    from harness.report.page import write

    path = write(workdir, suite, published=published)
    click.echo(path)
    if opened and click.launch(path.resolve().as_uri()):
        click.echo("no browser could be started; open the file by hand", err=True)
