"""``harness compare``: whether two rows differ by more than chance, and many rows from one."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.options import workdir_option


@click.command()
@click.argument("rows", nargs=-1, metavar="A B | [ROW]...")
@click.option("--against", metavar="ROW", help="Compare every row named, or every other row of ROW's suite, with ROW.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["table", "json", "markdown", "html"]),
    default="table",
    show_default=True,
    help="json holds everything, as fractions; html, of two rows, also the pairs on which they disagree most.",
)
@click.option(
    "--picture",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.png",
    help="With --against: also draw the differences.",
)
@workdir_option
def compare(rows: tuple[str, ...], against: str | None, format_: str, picture: Path | None, workdir: Path) -> None:
    """Compare two rows, A and B: what differs in their recipes, then a test of every metric that both have.

    A row is SUITE/ROW, or ROW where one suite has it. Three seeds in common compare the methods; fewer compare two
    trained models. With --against, many rows are compared with one.
    """
    if against is not None:
        if format_ == "html":
            raise click.UsageError("--format html compares two rows; give A B without --against")
        _against(against, rows, format_, picture, workdir)
        return
    if len(rows) != 2:
        raise click.UsageError(f"give two rows, or --against ROW; got {len(rows)}")
    if picture is not None:
        raise click.UsageError("--picture needs --against")
    if format_ == "html":
        from harness.report.comparison import html

        click.echo(html(workdir, *rows), nl=False)
        return
    from harness.reading import comparison_tables, output
    from harness.reading.comparison import compare as compare_rows

    comparison = compare_rows(workdir, *rows)
    if format_ == "table":
        comparison_tables.render(comparison, output.stdout())
        return
    make = {"json": comparison_tables.to_json, "markdown": comparison_tables.to_markdown}[format_]
    click.echo(make(comparison), nl=False)


def _against(reference: str, rows: tuple[str, ...], format_: str, picture: Path | None, workdir: Path) -> None:
    from harness.reading import against_tables, output
    from harness.reading.against import compare_against

    found = compare_against(workdir, reference, rows)
    if picture is not None:
        picture.write_bytes(against_tables.picture(found))
    if format_ == "table":
        against_tables.render(found, output.stdout())
        return
    make = {"json": against_tables.to_json, "markdown": against_tables.to_markdown}[format_]
    click.echo(make(found), nl=False)
