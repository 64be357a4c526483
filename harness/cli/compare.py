"""``harness compare``: whether two rows differ by more than chance."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from harness.cli.options import workdir_option


@click.command()
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["table", "json", "markdown"]),
    default="table",
    show_default=True,
    help="json holds everything, as fractions.",
)
@workdir_option
def compare(a: str, b: str, format_: str, workdir: Path) -> None:
    """Compare two rows, A and B: what differs in their recipes, then paired tests per benchmark.

    A row is SUITE/ROW, or ROW where one suite has it. Three seeds in common compare the methods; fewer compare two
    trained models.
    """
    from harness.compare import compare as compare_rows
    from harness.tracking import comparisons, tables

    comparison = compare_rows(workdir, a, b)
    if format_ == "table":
        from rich.console import Console

        width = None if sys.stdout.isatty() else tables.file_width()
        comparisons.render(comparison, Console(highlight=False, width=width))
        return
    make = {"json": comparisons.to_json, "markdown": comparisons.to_markdown}[format_]
    click.echo(make(comparison), nl=False)
