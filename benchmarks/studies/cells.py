"""Studies that accumulate: one committed result file per cell (row x seed) of a suite, and tables made from them.

    python benchmarks/studies/cells.py run benchmarks/studies/sampler-steps            # every cell that is missing
    python benchmarks/studies/cells.py run benchmarks/studies/sampler-steps --cells 3  # three of them
    python benchmarks/studies/cells.py tables benchmarks/studies/negatives --against baseline

`run` calls `harness run` on the study's own suite, one cell after another, in the usual workdir, and copies each result
file to STUDY/results/SUITE/ROW/seed-N/results.json. That is the layout of a workdir, so `harness leaderboard --workdir
STUDY` shows what was accumulated. A cell is measured again when its file is removed. `tables` writes STUDY/RESULTS.md:
the leaderboard over the committed files and, for `--against ROW`, what `harness compare` says of every row against that
one; a comparison needs the per-pair scores, which stay in the workdir of the runs.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import click

from harness.errors import HarnessError
from harness.results import FILE_NAME, read_result, result_folder
from harness.suite import load_suite
from harness.suite_schema import Suite

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


def is_there(study: Path, cell: Cell) -> bool:
    """Whether the cell's result file is committed, and done."""
    path = result_folder(study, *cell) / FILE_NAME
    return path.exists() and read_result(path).status == "done"


def collect(study: Path, workdir: Path, cell: Cell) -> bool:
    """Copy a finished cell's result file from the workdir; False when it is not there or failed."""
    source = result_folder(workdir, *cell) / FILE_NAME
    if not source.exists() or read_result(source).status != "done":
        return False
    target = result_folder(study, *cell) / FILE_NAME
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    return True


def command(*args: str) -> list[str]:
    """The command line of this environment."""
    return [str(Path(sys.executable).parent / "harness"), *args]


def output(*args: str) -> str:
    """What a command prints; its message goes to the terminal when it fails."""
    done = subprocess.run(command(*args), stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise click.ClickException(f"`harness {' '.join(args)}` failed; its message stands above")
    return done.stdout


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
@workdir_option
@click.option("--against", metavar="ROW", help="Compare every other row with this one.")
def tables(study: Path, workdir: Path, against: str | None) -> None:
    """Write STUDY/RESULTS.md from the committed result files."""
    parts = [f"# Results of {study.name}\n\nMade by `benchmarks/studies/cells.py tables` from `results/`.\n"]
    for suite in suites(study).values():
        done = [cell for cell in cells(suite) if is_there(study, cell)]
        parts.append(f"## {suite.name}: {len(done)} of {len(cells(suite))} cells\n")
        if done:
            board = ("leaderboard", "--suite", suite.name, "--workdir", str(study), "--format", "markdown")
            parts.append(output(*board))
        rows = list(dict.fromkeys(row for _, row, _ in done))
        for row in [row for row in rows if against in rows and row != against]:
            pair = (f"{suite.name}/{row}", f"{suite.name}/{against}")
            compared = output("compare", *pair, "--workdir", str(workdir), "--format", "markdown")
            parts.append(f"### {row} against {against}\n\n{compared}")
    (study / "RESULTS.md").write_text("\n".join(parts), encoding="utf-8")
    click.echo(study / "RESULTS.md")


if __name__ == "__main__":
    try:
        main()
    except HarnessError as error:
        raise SystemExit(f"error: {error}") from error
