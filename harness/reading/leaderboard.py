"""Result files -> comparable rows: aggregated over seeds, ranked only where a comparison means something.

Two sources of uncertainty are kept apart and named: the interval over identities (or pairs) that an evaluator gave for
one seed, and the t interval over seeds, which exists from three seeds on. A rank needs three seeds and, per benchmark,
the same protocol, recipe and dataset size as the rows it is ranked with (``harness.reading.ranks``). What a metric is
called, its unit and its direction come from the metric itself (``harness.reading.metrics``). ``harness.reading.tables``
prints a board.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import DataError, InputError, unknown
from harness.reading import ranks
from harness.reading.metrics import About, describe
from harness.reading.published import PublishedRow, read_published
from harness.results import FILE_NAME, SCHEMA, Dataset, MetricRecord, Result, iterate_results, strictest
from harness.stats.comparison import MIN_SEEDS, SIGNIFICANCE
from harness.stats.student import two_sided

if TYPE_CHECKING:
    from pandas import DataFrame

CONFIDENCE = 1 - SIGNIFICANCE


@dataclass(frozen=True)
class Interval:
    """An interval, what it ranges over and how it was made."""

    low: float
    high: float
    over: str
    method: str


@dataclass(frozen=True)
class Cell:
    """One metric of one row, over its seeds.

    ``interval`` is the evaluator's own; with several seeds its bounds are the means of the seeds' bounds, because all
    seeds are measured on the same identities. ``intervals`` are those of the seeds, ``over_seeds`` is the t interval
    over seeds. ``described`` says whether all records behind it describe themselves: those of earlier versions do not.
    ``place`` is the row's position by its mean among the rows that it can be ranked with, ``rank`` the letters that it
    shares with those from which it does not differ.
    """

    about: About
    value: float
    values: dict[int, float]
    n: int
    protocol: str
    described: bool = True
    std_folds: float | None = None
    interval: Interval | None = None
    intervals: dict[int, Interval] = field(default_factory=dict)
    over_seeds: Interval | None = None
    notes: tuple[str, ...] = ()
    place: int | None = None
    rank: str = ""
    unranked: str = ""

    @property
    def metric(self) -> str:
        """The metric's name."""
        return self.about.name


@dataclass(frozen=True)
class Row:
    """One row of a suite, over its seeds.

    ``failures`` holds the errors of the seeds that failed, ``chosen_on`` the benchmarks that chose among its epochs.
    """

    suite: str
    name: str
    generator: str
    seeds: tuple[int, ...]
    failures: dict[int, str]
    warnings: dict[int, list[str]]
    left_out: str
    mixed: str
    recipe: str
    dataset: Dataset | None
    commercial_use: str
    generator_fits: int
    shipped: tuple[str, ...]
    chosen_on: tuple[str, ...]
    seconds: float
    gpu_hours: float
    cells: dict[str, Cell] = field(default_factory=dict)

    @property
    def size(self) -> str:
        """The dataset size in words."""
        if self.dataset is None:
            return "no dataset"
        return self.dataset.size

    @property
    def parts(self) -> str:
        """What a mixture is made of, in words; empty for every other dataset."""
        parts = self.dataset.parts if self.dataset else []
        return " + ".join(f"{part.name} ({part.identities} identities, {part.images} images)" for part in parts)


@dataclass(frozen=True)
class Board:
    """The rows of one suite or of all suites, in the order they are shown; ``metrics`` in order of appearance.

    ``damaged`` says which result files could not be read, and why.
    """

    rows: tuple[Row, ...]
    metrics: tuple[About, ...]
    published: tuple[PublishedRow, ...] = ()
    damaged: tuple[str, ...] = ()

    @property
    def suites(self) -> tuple[str, ...]:
        """The suites on the board."""
        return tuple(dict.fromkeys(row.suite for row in self.rows))

    def label(self, row: Row) -> str:
        """The row's name, with its suite where the board shows several."""
        return row.name if len(self.suites) == 1 else f"{row.suite}/{row.name}"

    def to_frame(self) -> DataFrame:
        """One line per row, metric and seed: :func:`harness.reading.frames.board_frame`."""
        from harness.reading.frames import board_frame

        return board_frame(self)


def load(workdir: Path, suite: str | None = None, *, published: bool = False) -> Board:
    """Read the result files under a workdir and aggregate them.

    Args:
        workdir: the folder that ``harness run`` wrote to.
        suite: only this suite; default all.
        published: also the rows that papers print.

    Raises:
        InputError: there are no results (of that suite).
        DataError: all result files are damaged.
    """
    board, _ = load_results(workdir, suite)
    return replace(board, published=tuple(read_published())) if published else board


def load_results(workdir: Path, suite: str | None = None) -> tuple[Board, list[tuple[Path, Result]]]:
    """:func:`load`, with the results themselves and their folders."""
    damaged: list[str] = []
    found = list(iterate_results(workdir, suite, lambda _, error: damaged.append(str(error))))
    board = build((result for _, result in found), workdir)
    if not board.rows and damaged:
        raise DataError(damaged[0] + (f"; {len(damaged) - 1} more are damaged" if len(damaged) > 1 else ""))
    if not board.rows:
        raise InputError(_nothing_found(workdir, suite))
    return replace(board, damaged=tuple(damaged)), found


def build(results: Iterable[Result], workdir: Path | None = None) -> Board:
    """Aggregate results over seeds, rank them where they are comparable, and put them in order.

    Args:
        workdir: where the decisions pair by pair lie that ranks rest on; None: nowhere.
    """
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        groups.setdefault((result.suite, result.row), []).append(result)
    metrics = describe(result for group in groups.values() for result in group)
    rows = [_aggregate(group, metrics) for group in groups.values()]
    shown = tuple(about for name, about in metrics.items() if any(name in row.cells for row in rows))
    return Board(tuple(sorted(ranks.rank(rows, shown, workdir), key=ranks.order)), shown)


def t_interval(values: Sequence[float]) -> Interval | None:
    """The t interval for the mean of at least three values, else None."""
    count = len(values)
    if count < MIN_SEEDS or not all(map(math.isfinite, values)):
        return None
    mean = statistics.fmean(values)
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    half = two_sided(count - 1, CONFIDENCE) * spread / math.sqrt(count)
    return Interval(mean - half, mean + half, "seeds", f"t, {CONFIDENCE:.0%}, {count} seeds")


def _nothing_found(workdir: Path, suite: str | None) -> str:
    folder = workdir / "results"
    if suite and (folder / suite).is_dir():
        return f"{folder / suite}: no row is finished yet; run the suite again, and it goes on where it was"
    others = sorted({path.parents[2].name for path in folder.glob(f"*/*/seed-*/{FILE_NAME}")})
    if suite and others:
        return f"{folder}: {unknown('suite', suite, others)}"
    return f"no results under {folder}; run a suite first (harness run SUITE) or name its --workdir"


# --- one row over its seeds -------------------------------------------------------------------------------------------


def _aggregate(results: list[Result], metrics: dict[str, About]) -> Row:
    latest = max(results, key=lambda r: (r.status == "done", r.finished))
    done = sorted((r for r in results if r.status == "done"), key=lambda r: r.seed)
    kept = [r for r in done if not _difference(r, latest)]
    if latest.generator == "recognizer":  # weights that exist are one model, whatever the seed
        kept = kept[:1]
    left_out = {r.seed: found for r in done if (found := _difference(r, latest))}
    used = kept or [latest]
    row = Row(
        suite=latest.suite,
        name=latest.row,
        generator=latest.generator,
        seeds=tuple(r.seed for r in kept),
        failures={r.seed: r.error or "failed" for r in results if r.status == "failed"},
        warnings={r.seed: r.warnings for r in results if r.warnings},
        left_out="; ".join(f"seed {seed} has another {what}" for seed, what in left_out.items()),
        mixed=_mixed_parameters(kept),
        recipe=latest.recipe,
        dataset=latest.dataset,
        commercial_use=strictest(r.commercial_use for r in used),
        generator_fits=min(r.generator_fits for r in used),
        chosen_on=tuple(dict.fromkeys(name for r in used for name in r.chosen_on)),
        shipped=tuple(dict.fromkeys(name for r in used for name in r.shipped)),
        seconds=statistics.fmean(sum(stage.seconds for stage in r.stages) for r in used),
        gpu_hours=statistics.fmean(sum(stage.gpu_hours for stage in r.stages) for r in used),
    )
    names = dict.fromkeys(metric.name for r in kept for metric in r.metrics)
    records = [(r, {metric.name: metric for metric in r.metrics}) for r in kept]
    cells = {name: _cell(metrics[name], [(r, own[name]) for r, own in records if name in own]) for name in names}
    averages = (_average(about, kept) for about in metrics.values() if about.members)
    return replace(row, cells=cells | {cell.metric: cell for cell in averages if cell})


def _difference(result: Result, reference: Result) -> str:
    """In what a seed's result cannot be averaged with the latest one of the same row; empty if it can."""
    if result.generator != reference.generator:
        return "generator"
    if result.recipe != reference.recipe:
        return "recipe"
    if _size(result.dataset) != _size(reference.dataset):
        return "dataset size"
    protocols = {metric.name: metric.protocol for metric in reference.metrics}
    differs = any(protocols.get(metric.name, metric.protocol) != metric.protocol for metric in result.metrics)
    return "protocol" if differs else ""


def _mixed_parameters(results: list[Result]) -> str:
    """The settings in which the seeds of one row differ, seeds themselves aside; or that something under it does."""
    names = sorted({name for r in results for name in r.parameters if "seed" not in name.lower()})
    differing = [n for n in names if any(r.parameters.get(n) != results[0].parameters.get(n) for r in results)]
    if not differing and len({r.method for r in results if r.method}) > 1:
        return "model, contexts, source, aligner or code"
    return ", ".join(differing)


def _cell(about: About, held: list[tuple[Result, MetricRecord]]) -> Cell:
    records = {result.seed: record for result, record in held}
    first = next(iter(records.values()))
    values = {seed: record.value for seed, record in records.items()}
    folds = [record.std_folds for record in records.values() if record.std_folds is not None]
    intervals = {seed: interval for seed, record in records.items() if (interval := _own_interval(record))}
    return Cell(
        about=about,
        value=statistics.fmean(values.values()),
        values=values,
        n=first.n,
        protocol=first.protocol,
        described=all(result.schema_ == SCHEMA for result, _ in held),
        std_folds=statistics.fmean(folds) if folds else None,
        interval=_mean_interval(list(intervals.values())) if len(intervals) == len(records) else None,
        intervals=intervals,
        over_seeds=_seed_interval(about, list(values.values())),
        notes=tuple(dict.fromkeys(record.note for record in records.values() if record.note)),
    )


def _own_interval(record: MetricRecord) -> Interval | None:
    if record.interval is None:
        return None
    return Interval(*record.interval, record.interval_over or "identities", record.method)


def _mean_interval(intervals: list[Interval]) -> Interval:
    low, high = (statistics.fmean(side) for side in zip(*((i.low, i.high) for i in intervals), strict=True))
    several = f"mean bounds of {len(intervals)} seeds" if len(intervals) > 1 else ""
    method = ", ".join(filter(None, (intervals[0].method, several)))
    return Interval(low, high, intervals[0].over, method)


def _seed_interval(about: About, values: list[float]) -> Interval | None:
    interval = t_interval(values)
    if interval is None or about.unit != "fraction":
        return interval
    return replace(interval, low=max(0.0, interval.low), high=min(1.0, interval.high))


def _average(about: About, results: list[Result]) -> Cell | None:
    """The mean of a row's members of an average, such as its accuracies in the field's tables; two at least."""
    names = sorted(name for name in about.members if any(r.metric(name) for r in results))
    if len(names) < 2:
        return None
    whole = {r.seed: found for r in results if len(found := [m for m in r.metrics if m.name in names]) == len(names)}
    if not whole:
        return None
    values = {seed: statistics.fmean(record.value for record in found) for seed, found in whole.items()}
    protocols = {m.name: m.protocol for r in results for m in r.metrics}
    return Cell(
        about=about,
        value=statistics.fmean(values.values()),
        values=values,
        n=len(names),
        protocol="; ".join(f"{name}={protocols[name]}" for name in names),
        described=all(r.schema_ == SCHEMA for r in results),
        over_seeds=_seed_interval(about, list(values.values())),
    )


def _size(dataset: Dataset | None) -> tuple[int, int, int] | None:
    return None if dataset is None else (dataset.identities, dataset.per_identity, dataset.images)
