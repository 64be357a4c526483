"""Studies that accumulate: one committed result file per cell (row x seed) of a suite, and tables made from them.

    python benchmarks/studies/cells.py run benchmarks/studies/sampler-steps            # every cell that is missing
    python benchmarks/studies/cells.py run benchmarks/studies/sampler-steps --cells 3  # three of them
    python benchmarks/studies/cells.py tables benchmarks/studies/negatives --against baseline

`run` calls `harness run` on the study's own suite, one cell after another, in the usual workdir, and copies each result
file to STUDY/results/SUITE/ROW/seed-N/results.json. That is the layout of a workdir, so `harness leaderboard --workdir
STUDY` shows what was accumulated. A cell is measured again when its file is removed. `tables` writes STUDY/RESULTS.md:
the leaderboard over the committed files and, for `--against ROW` and three seeds in common, the paired differences of
every row to that one, as tables and as a picture. Differences of accuracy need the per-pair scores, which stay in the
workdir of the runs.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from math import inf
from pathlib import Path

import click
import numpy as np

from harness.compare import Comparison, compare
from harness.errors import HarnessError
from harness.figures import GENUINE_COLOR, to_png
from harness.leaderboard import load
from harness.results import FILE_NAME, read_result, result_folder
from harness.stats.comparison import MIN_SEEDS, Difference, cochran_cox, holm, method_difference
from harness.suite import load_suite
from harness.suite_schema import Suite
from harness.tracking import comparisons, formats

Cell = tuple[str, str, int]  # suite, row, seed


@dataclass(frozen=True)
class Quantity:
    """What two rows are compared in; rows are equal in it when the 90 percent interval lies within the margin."""

    title: str
    metric: str  # empty: the average accuracy
    relative: bool  # percent of the other row's value, or points
    margin: float = inf


QUANTITIES = (
    Quantity("average accuracy, points", "", relative=False, margin=2.0),
    Quantity("FDR, %", "separability/fdr", relative=True, margin=10.0),
    Quantity("EER, points", "separability/eer", relative=False),
    Quantity("pixel diversity, %", "separability/pixel_diversity", relative=True, margin=5.0),
)

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


NOTES = """
Mean over the seeds [95% interval], and p of no difference after Holm's correction over the {rows} rows. Accuracy:
people and seeds together, as in `harness compare`. The rest: paired t tests over the seeds, every one of which draws
the dataset's people anew. Relative differences are in percent of {against}.

### Equal to {against}?
"""


Found = dict[Quantity, list[tuple[Difference, float]]]  # of every row; what `difference` returns


def differences(study: Path, suite: Suite, compared: dict[str, Comparison], against: str) -> str:
    """A picture and two tables: how far every row is from `against`, and whether it is equal within the margins."""
    rows = list(compared)
    found: Found = {q: [difference(study, suite, q, row, against, compared[row]) for row in rows] for q in QUANTITIES}
    corrected = {q: holm([test.p for test, _ in tests]) for q, tests in found.items()}
    apart, equal = [], []
    for i, row in enumerate(rows):
        apart.append([row])
        bounds: dict[Quantity, tuple[float, float]] = {}
        for q in QUANTITIES:
            test, half = found[q][i]
            apart[-1].append(f"{test.value:+.2f} [{test.low:+.2f}, {test.high:+.2f}] p {corrected[q][i]:.2g}")
            if q.margin < inf:
                bounds[q] = (test.value - half, test.value + half)
        inside = all(max(map(abs, ends)) <= q.margin for q, ends in bounds.items())
        shown = [f"[{low:+.2f}, {high:+.2f}]" for low, high in bounds.values()]
        equal.append([row, *shown, "yes" if inside else "not shown"])
    drawn = f"{suite.name}-against-{against}.png"
    (study / drawn).write_bytes(picture(found, rows, against))
    margins = [f"{q.title} (within {q.margin:g})" for q in QUANTITIES if q.margin < inf]
    return "\n".join(
        [
            f"### Differences to {against}\n",
            f"![Differences to {against}, with their intervals]({drawn})\n",
            formats.pipes(["row", *(q.title for q in QUANTITIES)], apart),
            NOTES.format(rows=len(rows), against=against),
            formats.pipes(["row", *margins, "equal"], equal),
            "\n90% intervals of the same differences; equal when all of them lie within their margins.\n",
        ]
    )


def difference(
    study: Path, suite: Suite, quantity: Quantity, row: str, against: str, compared: Comparison
) -> tuple[Difference, float]:
    """The difference in one quantity with its 95 percent interval, and half the width of the 90 percent interval."""
    if quantity.metric:
        ours, theirs = (np.array(metric(study, suite, quantity.metric, name)) for name in (row, against))
        per_seed = 100 * (ours - theirs) / (theirs if quantity.relative else 1.0)
        test, people = method_difference(per_seed, 0.0, len(per_seed)), len(per_seed)
    else:
        average = compared.tests[-1]
        d, people = average.difference, average.people
        assert d is not None
        test = Difference(100 * d.value, 100 * d.low, 100 * d.high, d.p, 100 * d.people, 100 * d.seeds)
    components = [(test.people**2, people - 1), (test.seeds**2, len(suite.seeds) - 1)]
    return test, cochran_cox(components, 0.10)


def picture(found: Found, rows: list[str], against: str) -> bytes:
    """One panel per quantity: differences with 95 (thin) and 90 percent intervals (thick), and the margin as a band."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.2 * len(found), 1.1 + 0.3 * len(rows)), layout="constrained")
    for axes, (quantity, tests) in zip(figure.subplots(1, len(found), sharey=True), found.items(), strict=True):
        if quantity.margin < inf:
            axes.axvspan(-quantity.margin, quantity.margin, color="0.9")
        axes.axvline(0, color="0.5", linewidth=0.8)
        for y, (test, half) in enumerate(tests):
            axes.hlines(y, test.low, test.high, color=GENUINE_COLOR, linewidth=1)
            axes.hlines(y, test.value - half, test.value + half, color=GENUINE_COLOR, linewidth=4, alpha=0.6)
            axes.plot(test.value, y, "o", color=GENUINE_COLOR)
        axes.set(title=quantity.title, yticks=range(len(rows)), yticklabels=rows)
    axes.invert_yaxis()  # of all panels, which share it
    figure.supxlabel(f"difference to {against}")
    return to_png(figure)


def metric(study: Path, suite: Suite, name: str, row: str) -> list[float]:
    """One metric of a row, seed by seed."""
    found = [read_result(result_folder(study, suite.name, row, seed) / FILE_NAME).metric(name) for seed in suite.seeds]
    return [record.value for record in found if record is not None]


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
@click.option(
    "--against", metavar="ROW", multiple=True, help="Compare every other row with this one; needs three seeds of both."
)
def tables(study: Path, workdir: Path, against: tuple[str, ...]) -> None:
    """Write STUDY/RESULTS.md from the committed result files."""
    parts = [f"# Results of {study.name}\n\nMade by `benchmarks/studies/cells.py tables` from `results/`.\n"]
    for suite in suites(study).values():
        done = [cell for cell in cells(suite) if is_there(study, cell)]
        parts.append(f"## {suite.name}: {len(done)} of {len(cells(suite))} cells\n")
        if done:
            parts.append(formats.to_markdown(load(study, suite.name)))
        whole = [row for row in suite.rows if all((suite.name, row, seed) in done for seed in suite.seeds)]
        for reference in against if len(suite.seeds) >= MIN_SEEDS else ():
            others = [row for row in whole if row != reference]
            if reference not in whole or not others:
                continue
            compared = {row: compare(workdir, f"{suite.name}/{row}", f"{suite.name}/{reference}") for row in others}
            parts.append(differences(study, suite, compared, reference))
            for row, comparison in compared.items():
                parts.append(f"### {row} against {reference}: accuracy\n\n{comparisons.to_markdown(comparison)}")
    (study / "RESULTS.md").write_text("\n".join(parts), encoding="utf-8")
    click.echo(study / "RESULTS.md")


if __name__ == "__main__":
    try:
        main()
    except HarnessError as error:
        raise SystemExit(f"error: {error}") from error
