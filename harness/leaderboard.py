"""Result files -> comparable rows: aggregated over seeds, ranked only where a comparison means something.

Two sources of uncertainty are kept apart and named: the interval over identities (or pairs) that an evaluator gave for
one seed, and the t interval over seeds, which exists from three seeds on. A rank needs three seeds and, per benchmark,
the same protocol, recipe and dataset size as the rows it is ranked with. ``harness.tracking.tables`` prints a board.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.errors import InputError
from harness.published import PublishedRow, read_published
from harness.results import Dataset, MetricRecord, Result, iterate_results

MIN_SEEDS = 3
CONFIDENCE = 0.95
AVERAGE = "average/accuracy"
DETECTION = "alignment/detection_rate"


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
    seeds are measured on the same identities. ``over_seeds`` is the t interval over seeds.
    """

    metric: str
    value: float
    values: dict[int, float]
    n: int
    protocol: str
    std_folds: float | None = None
    interval: Interval | None = None
    over_seeds: Interval | None = None
    notes: tuple[str, ...] = ()
    rank: int | None = None
    unranked: str = ""


@dataclass(frozen=True)
class Row:
    """One row of a suite, over its seeds. ``failures`` holds the errors of the seeds that failed."""

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
    seconds: float
    gpu_hours: float
    cells: dict[str, Cell] = field(default_factory=dict)

    @property
    def size(self) -> str:
        """The dataset size in words."""
        if self.dataset is None:
            return "no dataset"
        return f"{self.dataset.identities} identities x {self.dataset.per_identity} images"


@dataclass(frozen=True)
class Board:
    """The rows of one suite or of all suites, in the order they are shown; ``metrics`` in order of appearance."""

    rows: tuple[Row, ...]
    metrics: tuple[str, ...]
    published: tuple[PublishedRow, ...] = ()

    @property
    def suites(self) -> tuple[str, ...]:
        """The suites on the board."""
        return tuple(dict.fromkeys(row.suite for row in self.rows))

    def label(self, row: Row) -> str:
        """The row's name, with its suite where the board shows several."""
        return row.name if len(self.suites) == 1 else f"{row.suite}/{row.name}"


def load(workdir: Path, suite: str | None = None, *, published: bool = False) -> Board:
    """Read the result files under a workdir and aggregate them.

    Args:
        workdir: the folder that ``harness run`` wrote to.
        suite: only this suite; default all.
        published: also the rows that papers print.

    Raises:
        InputError: there are no results (of that suite).
        DataError: a result file is damaged.
    """
    board = build(result for _, result in iterate_results(workdir, suite))
    if not board.rows:
        raise InputError(_nothing_found(workdir, suite))
    return replace(board, published=tuple(read_published())) if published else board


def build(results: Iterable[Result]) -> Board:
    """Aggregate results over seeds, rank them where they are comparable, and put them in order."""
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        groups.setdefault((result.suite, result.row), []).append(result)
    rows = [_aggregate(group) for group in groups.values()]
    metrics = tuple(dict.fromkeys(name for row in rows for name in row.cells))
    for metric in metrics:
        if is_ranked(metric):
            rows = _rank(rows, metric)
    return Board(tuple(sorted(rows, key=_order)), metrics)


def is_ranked(metric: str) -> bool:
    """Whether rows rank by this metric: verification accuracy, or TAR at a fixed FAR."""
    ending = metric.rsplit("/", 1)[-1]
    return ending == "accuracy" or ending.startswith("tar_at_far")


def is_fraction(metric: str) -> bool:
    """Whether the metric is a fraction, which the field prints in percent."""
    ending = metric.rsplit("/", 1)[-1]
    return is_ranked(metric) or ending in {"eer", "detection_rate"} or ending.startswith("fmr")


def t_interval(values: Sequence[float]) -> Interval | None:
    """The t interval for the mean of at least three values, else None."""
    count = len(values)
    if count < MIN_SEEDS or not all(map(math.isfinite, values)):
        return None
    from scipy.special import stdtrit

    half = float(stdtrit(count - 1, 0.5 + CONFIDENCE / 2)) * statistics.stdev(values) / math.sqrt(count)
    mean = statistics.fmean(values)
    return Interval(mean - half, mean + half, "seeds", f"t, {CONFIDENCE:.0%}, {count} seeds")


def _nothing_found(workdir: Path, suite: str | None) -> str:
    folder = workdir / "results"
    others = sorted(path.name for path in folder.glob("*") if path.is_dir()) if folder.is_dir() else []
    if suite and others:
        return f"no results of suite '{suite}' under {folder}; there are: {', '.join(others)}"
    return f"no results under {folder}; run a suite first (harness run SUITE) or name its --workdir"


# --- one row over its seeds -------------------------------------------------------------------------------------------


def _aggregate(results: list[Result]) -> Row:
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
        commercial_use=_strictest(r.commercial_use for r in used),
        generator_fits=min(r.generator_fits for r in used),
        shipped=tuple(dict.fromkeys(name for r in used for name in r.shipped)),
        seconds=statistics.fmean(sum(stage.seconds for stage in r.stages) for r in used),
        gpu_hours=statistics.fmean(sum(stage.gpu_hours for stage in r.stages) for r in used),
    )
    names = dict.fromkeys(metric.name for r in kept for metric in r.metrics)
    cells = {name: _cell(name, kept) for name in names}
    if average := _average(kept):
        cells[AVERAGE] = average
    return replace(row, cells=cells)


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


def _cell(name: str, results: list[Result]) -> Cell:
    records = {r.seed: record for r in results if (record := r.metric(name)) is not None}
    first = next(iter(records.values()))
    values = {seed: record.value for seed, record in records.items()}
    folds = [record.std_folds for record in records.values() if record.std_folds is not None]
    return Cell(
        metric=name,
        value=statistics.fmean(values.values()),
        values=values,
        n=first.n,
        protocol=first.protocol,
        std_folds=statistics.fmean(folds) if folds else None,
        interval=_mean_interval(list(records.values())),
        over_seeds=_seed_interval(name, list(values.values())),
        notes=tuple(dict.fromkeys(record.note for record in records.values() if record.note)),
    )


def _mean_interval(records: list[MetricRecord]) -> Interval | None:
    bounds = [record.interval for record in records if record.interval is not None]
    if not bounds or len(bounds) < len(records):
        return None
    low, high = (statistics.fmean(side) for side in zip(*bounds, strict=True))
    several = f"mean bounds of {len(records)} seeds" if len(records) > 1 else ""
    method = ", ".join(filter(None, (records[0].method, several)))
    return Interval(low, high, records[0].interval_over or "identities", method)


def _seed_interval(name: str, values: list[float]) -> Interval | None:
    interval = t_interval(values)
    if interval is None or not is_fraction(name):
        return interval
    return replace(interval, low=max(0.0, interval.low), high=min(1.0, interval.high))


def _average(results: list[Result]) -> Cell | None:
    """The mean of a row's verification accuracies, as the field's tables have it; two benchmarks at least."""
    names = sorted({m.name for r in results for m in r.metrics if m.name.endswith("/accuracy")})
    if len(names) < 2 or AVERAGE in names:
        return None
    values: dict[int, float] = {}
    for result in results:
        records = [record for name in names if (record := result.metric(name)) is not None]
        if len(records) == len(names):
            values[result.seed] = statistics.fmean(record.value for record in records)
    if not values:
        return None
    protocols = {m.name: m.protocol for r in results for m in r.metrics}
    return Cell(
        metric=AVERAGE,
        value=statistics.fmean(values.values()),
        values=values,
        n=len(names),
        protocol="; ".join(f"{name}={protocols[name]}" for name in names),
        over_seeds=_seed_interval(AVERAGE, list(values.values())),
    )


def _strictest(uses: Iterable[str]) -> str:
    found = set(uses)
    return next(use for use in ("no", "unknown", "yes") if use in found)


def _size(dataset: Dataset | None) -> tuple[int, int] | None:
    return None if dataset is None else (dataset.identities, dataset.per_identity)


# --- ranks ------------------------------------------------------------------------------------------------------------


def _rank(rows: list[Row], metric: str) -> list[Row]:
    """Rank the largest set of rows that agree in protocol, recipe and dataset size; the others get a reason."""
    groups: dict[object, list[Row]] = {}
    for row in rows:
        if metric in row.cells and not _unfit(row, metric):
            groups.setdefault((row.cells[metric].protocol, row.recipe, _size(row.dataset)), []).append(row)
    field_ = max(groups.values(), key=len, default=[])
    ranked = [row.cells[metric].value for row in field_] if len(field_) > 1 else []
    marked = []
    for row in rows:
        if metric in row.cells:
            inside = any(row is other for other in field_) and bool(ranked)
            cell = row.cells[metric]
            rank = 1 + sum(value > cell.value for value in ranked) if inside else None
            reason = "" if inside else _unfit(row, metric) or _why_apart(row, field_, metric)
            row = replace(row, cells={**row.cells, metric: replace(cell, rank=rank, unranked=reason)})
        marked.append(row)
    return marked


def _unfit(row: Row, metric: str) -> str:
    """Why a row cannot be ranked whatever the others are; empty if it can."""
    if len(row.cells[metric].values) < MIN_SEEDS:
        return f"fewer than {MIN_SEEDS} seeds"
    if not math.isfinite(row.cells[metric].value):
        return "the value is not a number"
    return f"its seeds differ in {row.mixed}" if row.mixed else ""


def _why_apart(row: Row, field_: list[Row], metric: str) -> str:
    others = [other for other in field_ if other is not row]
    if not others:
        return "no other row with enough seeds under the same protocol, recipe and dataset size"
    other = others[0]
    differing = []
    if row.cells[metric].protocol != other.cells[metric].protocol:
        differing.append("protocol")
    if row.recipe != other.recipe:
        differing.append("recipe")
    if _size(row.dataset) != _size(other.dataset):
        differing.append(f"dataset size ({row.size})")
    return f"another {' and '.join(differing)} than {other.name}"


def _order(row: Row) -> tuple[int, float, str, str]:
    """Ranked rows first, by their mean rank; then the others by name; rows without a number last."""
    ranks = [cell.rank for cell in row.cells.values() if cell.rank is not None]
    if ranks:
        return (0, statistics.fmean(ranks), row.suite, row.name)
    return (1 if row.seeds else 2, 0.0, row.suite, row.name)
