"""``harness leaderboard``: the rows of a suite with their intervals, ranked where they are comparable."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.options import workdir_option


@click.command()
@click.option("--suite", metavar="NAME", help="Only this suite; default all suites of the workdir.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["table", "json", "csv", "markdown", "latex", "html"]),
    default="table",
    show_default=True,
    help="json and csv hold every metric, as fractions; html is the page that `harness report` writes, latex a table "
    "with booktabs, bold where a difference is more than chance.",
)
@click.option("--published", is_flag=True, help="Also show the rows that papers print; they are never ranked.")
@click.option(
    "--distributions",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.png",
    help="Also draw the genuine and impostor scores of every row, with FDR and EER.",
)
@workdir_option
def leaderboard(suite: str | None, format_: str, published: bool, distributions: Path | None, workdir: Path) -> None:
    """Show rows with their intervals, ranked only where they are comparable.

    Rows that share a letter do not differ by more than chance. A rank needs three seeds and, per metric, the same
    protocol, recipe and dataset size.
    """
    if format_ == "latex" and published:
        raise click.UsageError("--format latex has no published rows; take --format markdown")
    if format_ == "html":
        from harness.report.page import html

        click.echo(html(workdir, suite, published=published), nl=False)
        return
    from harness.reading import formats, output, tables
    from harness.reading.escape import visible
    from harness.reading.leaderboard import load

    board = load(workdir, suite, published=published)
    if distributions is not None:
        from harness.figures import to_png
        from harness.reading import score_panels

        distributions.write_bytes(to_png(score_panels.picture(board, workdir)))
    if format_ == "table":
        tables.render(board, output.stdout())
        return
    for text in board.damaged if format_ == "csv" else ():  # the other formats have a place for it
        click.echo(f"warning: {visible(text)}; left out", err=True)
    if format_ == "latex":
        from harness.report.latex import to_latex

        click.echo(to_latex(board), nl=False)
        return
    make = {"json": formats.to_json, "csv": formats.to_csv, "markdown": formats.to_markdown}[format_]
    click.echo(make(board), nl=False)
