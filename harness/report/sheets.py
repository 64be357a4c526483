"""One sheet per row: how its scores lie, how it was trained, what its faces look like, what it rests on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from harness.arrays import Doubles
from harness.errors import DataError
from harness.reading.durations import duration
from harness.reading.leaderboard import Board, Row
from harness.reading.paired import read_table
from harness.report.charts import curves, densities, roc
from harness.report.numbers import Style
from harness.report.pictures import WIDTHS, Picture, embed
from harness.report.table import images_per_second, sheet_names
from harness.results import Result, StageRecord
from harness.stats.templates import points_at_most

PICTURE_BYTES = 1_000_000  # of all pictures of a page together, so that many rows stay below 5 MB
_MOST_BYTES = 120_000  # of one picture
_DRAWN = ("-scores", "-roc", "-det")  # pictures of similarities, drawn from the scores where these are there


@dataclass(frozen=True)
class Chart:
    """Drawings with their heading."""

    title: str
    drawings: tuple[Markup, ...]


@dataclass(frozen=True)
class Sheet:
    """All that a page says of one row beside its line; ``metrics`` are name, number, intervals, n and note."""

    row: Row
    label: str
    name: str
    facts: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    scores: tuple[Chart, ...]
    training: tuple[Chart, ...]
    pictures: tuple[Picture, ...]
    metrics: tuple[tuple[str, str, str, str, str], ...]
    settings: tuple[tuple[str, str], ...]
    stages: tuple[StageRecord, ...]


def sheets(board: Board, found: Sequence[tuple[Path, Result]]) -> Iterator[Sheet]:
    """The sheets of all rows, in the order of the board.

    Args:
        found: result folders with their results.
    """
    names = sheet_names(board)
    by_row: dict[tuple[str, str], list[tuple[Path, Result]]] = {}
    for folder, result in found:
        by_row.setdefault((result.suite, result.row), []).append((folder, result))
    share = PICTURE_BYTES // max(1, len(board.rows))
    for row in board.rows:
        own = sorted(by_row[row.suite, row.name], key=lambda each: (each[1].status != "done", each[1].seed))
        yield _sheet(board, row, names[row.suite, row.name], own, share)


def _sheet(board: Board, row: Row, name: str, found: Sequence[tuple[Path, Result]], share: int) -> Sheet:
    folder, first = found[0]
    scores, far = _scores(folder, first)
    drawn = {chart.title for chart in scores}
    of_seeds = [result.curves for _, result in found]
    training = [
        Chart(
            each.replace("train/", "training "), (curves([own.get(each, []) for own in of_seeds], f"{each} by step"),)
        )
        for each in dict.fromkeys(each for own in of_seeds for each in own)
    ]
    return Sheet(
        row=row,
        label=board.label(row),
        name=name,
        facts=tuple(_facts(row, first)),
        notes=tuple(_notes(row)),
        scores=tuple(scores),
        training=tuple(chart for chart in training if any(chart.drawings)),
        pictures=tuple(_pictures(folder, first, drawn, share)),
        metrics=tuple(_metrics(row, far)),
        settings=tuple((key, str(value)) for key, value in first.parameters.items()),
        stages=tuple(first.stages),
    )


def _facts(row: Row, first: Result) -> Iterator[tuple[str, str]]:
    made = first.environment
    yield "generator", row.generator
    yield "seeds", ", ".join(map(str, row.seeds)) or "none finished"
    yield "dataset", row.size
    if first.dataset is not None and first.dataset.contexts:
        yield "contexts", first.dataset.contexts
    yield "commercial use", row.commercial_use
    licences = dict.fromkeys(stage.license for stage in first.stages if stage.license)
    if licences:
        yield "licences", ", ".join(licences)
    if row.shipped:
        yield "shipped weights", ", ".join(row.shipped)
    yield "time per seed", duration(row.seconds) + (f", {row.gpu_hours:.2f} GPU hours" if row.gpu_hours else "")
    if (rate := images_per_second(first)) is not None:
        yield "images per second", f"{rate:,.1f} of one worker"
    yield "generator fits", str(row.generator_fits)
    versions = [f"harness {made.harness}", made.torch and f"torch {made.torch}", made.processor, made.device]
    yield "made with", ", ".join(filter(None, versions))


def _notes(row: Row) -> Iterator[str]:
    for seed, error in sorted(row.failures.items()):
        yield f"seed {seed} failed: {error.splitlines()[0] if error else 'no reason given'}"
    for seed, texts in sorted(row.warnings.items()):
        yield from (f"seed {seed}: {text}" for text in texts)
    if row.mixed:
        yield f"the seeds differ in {row.mixed}"
    if row.left_out:
        yield f"left out: {row.left_out}"


def _metrics(row: Row, far: Mapping[str, str]) -> Iterator[tuple[str, str, str, str, str]]:
    """Name, number, intervals, n, and notes with the achieved FAR."""
    for name, cell in row.cells.items():
        style = Style.of(cell.about, [cell])
        found = [each for each in (cell.interval, cell.over_seeds) if each is not None]
        intervals = "; ".join(f"{style.interval(each)} over {each.over}" for each in found)
        percent = " %" if cell.about.unit == "fraction" else ""
        notes = "; ".join(filter(None, [far.get(name, ""), *cell.notes, cell.unranked and f"no rank: {cell.unranked}"]))
        yield name, style.number(cell.value) + percent, intervals, f"{cell.n:,}", notes


def _scores(folder: Path, first: Result) -> tuple[list[Chart], dict[str, str]]:
    """Densities and ROC of every table of scores, and what false accept rate was reached, by metric."""
    charts: list[Chart] = []
    achieved: dict[str, str] = {}
    for metric in first.metrics:
        if not metric.pairs:
            continue
        try:
            table = read_table(folder / "tables" / f"{metric.pairs}.parquet")
        except DataError:
            continue
        if "score" not in table.column_names:
            continue
        score, same = (table[name].to_numpy(zero_copy_only=False) for name in ("score", "same"))
        genuine, impostor = score[same], score[~same]
        name = metric.pairs.removesuffix("-pairs")
        areas = densities(genuine, impostor, f"{name}: densities of scores")
        charts.append(Chart(name, (areas, roc(genuine, impostor, f"{name}: ROC"))))
        achieved |= _achieved(first, name, genuine, impostor)
    return charts, achieved


def _achieved(first: Result, benchmark: str, genuine: Doubles, impostor: Doubles) -> Iterator[tuple[str, str]]:
    """Of each true accept rate, the false accept rate that its threshold reaches."""
    for metric in first.metrics:
        family, _, quantity = metric.name.rpartition("/")
        if family == benchmark and quantity.startswith("tar_at_far_"):
            target = quantity.removeprefix("tar_at_far_")
            (point,) = points_at_most(genuine, impostor, [float(target)])
            accepted = round(point.measured * len(impostor))
            told = f"{accepted:,} of {len(impostor):,} impostor pairs"
            yield metric.name, f"FAR reached {point.measured:.2g} of {target}: {told}"


def _pictures(folder: Path, first: Result, drawn: set[str], share: int) -> Iterator[Picture]:
    """The sample sheets first, then what is not drawn already, as far as the row's share of the page goes."""
    # a result file may come from anyone: nothing outside its folder enters a page
    inside = [name for name in first.figures if ".." not in Path(name).parts and not Path(name).is_absolute()]
    names = [name for name in inside if not _is_drawn(Path(name).stem, drawn)]
    for name in sorted(names, key=lambda name: "samples" not in name):
        picture = embed(folder / name, min(share, _MOST_BYTES), WIDTHS[0] if "samples" in name else WIDTHS[2])
        if picture is not None:
            share -= len(picture.uri)
            yield picture


def _is_drawn(stem: str, drawn: set[str]) -> bool:
    return any(stem.endswith(ending) and stem.removesuffix(ending) in drawn for ending in _DRAWN)
