"""Studies that accumulate: one committed result file per cell (row x seed) of a suite, and tables made from them.

    python benchmarks/studies/cells.py run benchmarks/studies/sampler-steps            # every cell that is missing
    python benchmarks/studies/cells.py run benchmarks/studies/sampler-steps --cells 3  # three of them
    python benchmarks/studies/cells.py tables benchmarks/studies/negatives --against baseline

It is a loop over ordinary commands. `run` calls `harness run --only ROW` on the study's own suite, one cell after
another, in the usual workdir, and copies each result file to STUDY/results/SUITE/ROW/seed-N/results.json, with the
decisions of every pair and the histogram of the dataset's scores beside it. That is the layout of a workdir, so
`harness leaderboard --workdir STUDY` shows what was accumulated and `harness compare` compares it. A cell is measured
again when its file is removed. `tables` writes STUDY/RESULTS.md: what `harness leaderboard` and, for `--against ROW`,
`harness compare --against ROW` say of the committed files.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import click
import pyarrow.parquet as pq

from harness.errors import HarnessError
from harness.reading.score_panels import TABLE as SCORES
from harness.results import FILE_NAME, read_result, result_folder
from harness.stats.comparison import MIN_SEEDS
from harness.suites.read import load_suite
from harness.suites.schema import Suite

Cell = tuple[str, str, int]  # suite, row, seed

study_argument = click.argument("study", type=click.Path(exists=True, file_okay=False, path_type=Path))
workdir_option = click.option(
    "--workdir", type=click.Path(file_okay=False, path_type=Path), default=Path("runs"), envvar="HARNESS_WORKDIR"
)


def suites(study: Path) -> dict[Path, Suite]:
    """The study's suites by file."""
    return {path: load_suite(path) for path in sorted(study.glob("*.yaml"))}


def cells(suite: Suite) -> list[Cell]:
    """All cells of a suite, seed by seed, so that an unfinished study has every row."""
    return [(suite.name, row, seed) for seed in suite.seeds for row in suite.rows]


def is_there(folder: Path, cell: Cell) -> bool:
    """Whether the cell's result file is in a folder such as the study's, and done."""
    path = result_folder(folder, *cell) / FILE_NAME
    return path.exists() and read_result(path).status == "done"


def collect(study: Path, workdir: Path, cell: Cell) -> bool:
    """Copy a finished cell's result file and decisions from the workdir; False when it is not there or failed."""
    source, target = (result_folder(folder, *cell) for folder in (workdir, study))
    if not is_there(workdir, cell):
        return False
    target.mkdir(parents=True, exist_ok=True)
    for name in {metric.pairs for metric in read_result(source / FILE_NAME).metrics if metric.pairs}:
        copy_decisions(source / "tables" / f"{name}.parquet", target / "tables" / f"{name}.parquet")
    if (source / SCORES).exists():
        (target / SCORES).parent.mkdir(exist_ok=True)
        shutil.copyfile(source / SCORES, target / SCORES)
    shutil.copyfile(source / FILE_NAME, target / FILE_NAME)  # last: it says that the cell is whole
    return True


def copy_decisions(source: Path, target: Path) -> None:
    """Copy a table of pairs without the scores, which no comparison reads and which hardly compress."""
    target.parent.mkdir(exist_ok=True)
    table = pq.read_table(source)
    kept = [name for name in table.column_names if name != "score"]
    pq.write_table(table.select(kept), target, compression="zstd")


def command(*args: str) -> list[str]:
    """The command line of this environment."""
    return [str(Path(sys.executable).parent / "harness"), *args]


def say(*args: str) -> str:
    """What a command prints.

    Raises:
        ClickException: it failed; its message is repeated.
    """
    done = subprocess.run(command(*args), capture_output=True, text=True, check=False)
    if done.returncode:
        raise click.ClickException(f"harness {' '.join(args)}: {done.stderr.strip()}")
    return done.stdout


def board(study: Path, suite: Suite) -> str:
    """The leaderboard of a suite, with the picture of its rows' scores where their histograms are there."""
    chosen = ["leaderboard", "--suite", suite.name, "--workdir", str(study), "--format", "markdown"]
    if not any((study / "results" / suite.name).rglob(Path(SCORES).name)):
        return say(*chosen)
    drawn = f"{suite.name}-scores.png"
    text = say(*chosen, "--distributions", str(study / drawn))
    return f"![Genuine and impostor scores of every row, all seeds together]({drawn})\n\n{text}"


def against_reference(study: Path, suite: Suite, reference: str, others: Sequence[str]) -> str:
    """The comparison of all rows with one, with its picture, as a section."""
    drawn = f"{suite.name}-against-{reference}.png"
    rows = [f"{suite.name}/{row}" for row in others]
    chosen = ["compare", *rows, "--against", f"{suite.name}/{reference}", "--workdir", str(study)]
    text = say(*chosen, "--format", "markdown", "--picture", str(study / drawn))
    return f"### Against {reference}\n\n![Differences to {reference}, with their intervals]({drawn})\n\n{text}"


@click.group(help=__doc__.splitlines()[0] if __doc__ else "")
def main() -> None:
    """The command line."""


@main.command()
@study_argument
@workdir_option
@click.option("--cells", "limit", type=click.IntRange(min=1), help="Stop after so many cells. Default: all.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Try it with another size; needs --out.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder of the result files. [STUDY]")
def run(study: Path, workdir: Path, limit: int | None, overrides: tuple[str, ...], out: Path | None) -> None:
    """Measure the cells that are missing."""
    if overrides and out is None:
        raise click.ClickException("--set needs --out: what was measured with other settings is no result of the study")
    out = out or study
    todo = [(path, cell) for path, suite in suites(study).items() for cell in cells(suite) if not is_there(out, cell)]
    click.echo(f"{study}: {len(todo)} cells are missing")
    for path, cell in todo[:limit]:
        _, row, seed = cell
        changes = [part for override in overrides for part in ("--set", override)]
        options = ["--only", row, "--set", f"seeds=[{seed}]", "--workdir", str(workdir), *changes]
        subprocess.run(command("run", str(path), *options), check=False)
        if not collect(out, workdir, cell):
            raise click.ClickException(f"{row} seed {seed} did not finish; its message stands above")
        click.echo(f"{row} seed {seed}: done")


@main.command()
@study_argument
@click.option(
    "--against", metavar="ROW", multiple=True, help="Compare every other row with this one; needs three seeds of both."
)
def tables(study: Path, against: tuple[str, ...]) -> None:
    """Write STUDY/RESULTS.md from the committed result files."""
    parts = [f"# Results of {study.name}\n\nMade by `benchmarks/studies/cells.py tables` from `results/`.\n"]
    for suite in suites(study).values():
        done = [cell for cell in cells(suite) if is_there(study, cell)]
        parts.append(f"## {suite.name}: {len(done)} of {len(cells(suite))} cells\n")
        if done:
            parts.append(board(study, suite))
        whole = [row for row in suite.rows if all((suite.name, row, seed) in done for seed in suite.seeds)]
        for reference in against if len(suite.seeds) >= MIN_SEEDS else ():
            others = [row for row in whole if row != reference]
            if reference in whole and others:
                parts.append(against_reference(study, suite, reference, others))
    (study / "RESULTS.md").write_text("\n".join(parts), encoding="utf-8")
    click.echo(study / "RESULTS.md")


if __name__ == "__main__":
    try:
        main()
    except HarnessError as error:
        raise SystemExit(f"error: {error}") from error
