"""The comparison of two rows as a page: recipes first, then effects, then the pairs on which they disagree most."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from harness.reading.comparison import Comparison, common_seeds, compare, find_row
from harness.reading.comparison_tables import footers, margin, verdict_of_equality
from harness.reading.leaderboard import Row, load
from harness.reading.tested import Tested
from harness.report.charts import Scale, difference_bar
from harness.report.disagreements import Disagreement, disagreements
from harness.report.page import render
from harness.results import result_folder
from harness.stats.comparison import SIGNIFICANCE


@dataclass(frozen=True)
class Effect:
    """One tested quantity: both values, the difference with its interval as text and bar, p-values, and the verdict."""

    title: str
    a: str
    b: str
    difference: str
    interval: str
    bar: Markup
    p: str
    corrected: str
    word: str


def html(workdir: Path, a: str, b: str) -> str:
    """The comparison of two rows as one HTML file; arguments and errors as of ``harness.reading.comparison``."""
    comparison, board = compare(workdir, a, b), load(workdir)
    rows = find_row(board.rows, a), find_row(board.rows, b)
    return render(
        "comparison.html.j2",
        comparison=comparison,
        verdict=footers(comparison)[0],
        footers=footers(comparison)[1:],
        effects=list(_effects(comparison)),
        models=[
            (test.title, seed, found, _p(found.p), _p(corrected))
            for test in comparison.tests
            for seed, found, corrected in test.models
        ],
        equal=verdict_of_equality(comparison),
        margins=[(test, margin(test)) for test in comparison.margins if test.bounds],
        disagreements=list(_disagreements(workdir, comparison, rows)),
    )


def _effects(comparison: Comparison) -> Iterator[Effect]:
    """Benchmarks share one scale, since all are in points; every metric of datasets has its own."""
    tested = [test for test in comparison.tests if test.difference is not None]
    of_pairs = [bound for test in tested if test.pairs for bound in _reach(test)]
    for test in tested:
        found = test.difference
        assert found is not None
        largest = max(map(abs, of_pairs if test.pairs else _reach(test)))
        scale = Scale.of([-largest, largest])
        interval = test.interval((found.low, found.high))
        p = found.p if test.corrected is None else test.corrected
        higher = comparison.a if found.value > 0 else comparison.b
        yield Effect(
            title=test.heading,
            a=test.about.number(test.a),
            b=test.about.number(test.b),
            difference=test.shown(found.value),
            interval=interval,
            bar=difference_bar(
                scale, found.value, (found.low, found.high), test.about.margin, f"95% interval {interval}"
            ),
            p=_p(found.p),
            corrected="" if test.corrected is None else _p(test.corrected),
            word=f"{higher} is higher" if p < SIGNIFICANCE else "no difference shown",
        )


def _reach(test: Tested) -> list[float]:
    found = test.difference
    assert found is not None
    return [found.low, found.high, test.about.margin or 0.0]


def _disagreements(workdir: Path, comparison: Comparison, rows: tuple[Row, Row]) -> Iterator[Disagreement]:
    seeds = common_seeds(*rows)
    folders = [_folders(workdir, row, seeds) for row in rows]
    for test in comparison.tests:
        if test.about.paired:
            protocol = rows[0].cells[test.about.name].protocol
            found = disagreements(workdir, test.about, protocol, *folders)
            if found is not None and (found.only_a or found.only_b):
                yield found


def _folders(workdir: Path, row: Row, seeds: Sequence[int]) -> list[Path]:
    return [result_folder(workdir, row.suite, row.name, seed) for seed in seeds]


def _p(value: float) -> str:
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}" if value < 0.1 else f"{value:.2f}"
