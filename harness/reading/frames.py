"""Boards and comparisons as data frames. pandas is imported when one is made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from harness.reading.escape import all_visible, csv_value

if TYPE_CHECKING:
    from pandas import DataFrame

    from harness.reading.against import Against
    from harness.reading.comparison import Comparison
    from harness.reading.leaderboard import Board, Cell, Row
    from harness.reading.tested import Tested

BOARD_COLUMNS = (
    *("suite", "row", "generator", "seed", "metric", "title", "value", "low", "high", "interval_over", "method"),
    *("mean", "seeds_low", "seeds_high", "rank", "unranked", "unit", "better", "headline"),
    *("n", "protocol", "recipe", "identities", "per_identity"),
)
TEST_COLUMNS = (
    *("a", "b", "metric", "title", "value_a", "value_b", "difference", "low", "high", "p", "p_holm"),
    *("people", "seeds", "low_90", "high_90", "margin", "equal", "relative", "unit", "seed", "only_a", "only_b"),
)


_NUMBERS = dict.fromkeys(("value", "low", "high", "mean", "seeds_low", "seeds_high"), "float64")
_NUMBERS |= dict.fromkeys(("seed", "n", "identities", "per_identity"), "Int64")  # which can be missing


def board_frame(board: Board) -> DataFrame:
    """One line per row, metric and seed of a board, averages included; fractions, not percent.

    ``low`` and ``high`` are the seed's own interval; ``mean``, ``seeds_low``, ``seeds_high`` and ``rank`` are the
    row's. Rows that failed have no line. Columns have the same types whatever the board holds.
    """
    lines = (line for row in board.rows for cell in row.cells.values() for line in _lines(row, cell))
    return _frame(lines, BOARD_COLUMNS).astype(_NUMBERS)


def to_parquet(board: Board) -> bytes:
    """The frame as a parquet file, which pandas and any other reader open with the types that it has."""
    return bytes(board_frame(board).to_parquet(index=False))


def to_csv(board: Board) -> str:
    """The frame as CSV; no text in it is a formula."""
    frame = board_frame(all_visible(board))
    texts = frame.columns.difference([*_NUMBERS, "headline"])
    frame[texts] = frame[texts].map(csv_value)
    return str(frame.to_csv(index=False, lineterminator="\n"))


def _lines(row: Row, cell: Cell) -> Iterator[dict[str, Any]]:
    about, over, size = cell.about, cell.over_seeds, row.dataset
    common: dict[str, Any] = {"suite": row.suite, "row": row.name, "generator": row.generator, "metric": about.name}
    common |= {"title": about.title, "unit": about.unit, "better": about.better, "headline": about.headline}
    common |= {"mean": cell.value, "rank": cell.rank, "unranked": cell.unranked, "n": cell.n}
    common |= {"protocol": cell.protocol, "recipe": row.recipe}
    common |= {"seeds_low": over.low, "seeds_high": over.high} if over else {}
    common |= {"identities": size.identities, "per_identity": size.per_identity} if size else {}
    for seed, value in cell.values.items():
        own = cell.intervals.get(seed)
        interval = {"low": own.low, "high": own.high, "interval_over": own.over, "method": own.method} if own else {}
        yield {**common, "seed": seed, "value": value, **interval}


def comparison_frame(comparison: Comparison) -> DataFrame:
    """One line per tested quantity; below three seeds one per benchmark and seed (McNemar).

    Differences are fractions, in the metric's unit, or shares of B's value where ``relative``; ``people`` and ``seeds``
    are standard errors.
    """
    lines = (
        line for test in comparison.tests for line in _test_lines(test, comparison.a, comparison.b, test.corrected)
    )
    return _frame(lines, TEST_COLUMNS)


def against_frame(against: Against) -> DataFrame:
    """:func:`comparison_frame` of every row with the reference; ``p_holm`` is corrected over the rows."""
    lines = (
        line
        for quantity in against.quantities
        for row, test in quantity.tests.items()
        for line in _test_lines(test, row, against.reference, quantity.corrected[row])
    )
    return _frame(lines, TEST_COLUMNS)


def _test_lines(test: Tested, a: str, b: str, corrected: float | None) -> Iterator[dict[str, Any]]:
    about = test.about
    common: dict[str, Any] = {
        "a": a,
        "b": b,
        "metric": about.name,
        "title": about.title,
        "value_a": test.a,
        "value_b": test.b,
    }
    common |= {"margin": about.margin, "equal": test.equal, "relative": about.relative, "unit": about.unit}
    if test.bounds:
        common |= {"low_90": test.bounds[0], "high_90": test.bounds[1]}
    if found := test.difference:
        tested = {"difference": found.value, "low": found.low, "high": found.high, "p": found.p, "p_holm": corrected}
        yield {**common, **tested, "people": found.people, "seeds": found.seeds}
    for seed, model, p in test.models:
        difference = (model.only_a - model.only_b) / test.pairs
        counts = {"only_a": model.only_a, "only_b": model.only_b}
        yield {**common, "seed": seed, "difference": difference, **counts, "p": model.p, "p_holm": p}


def _frame(lines: Iterator[dict[str, Any]], columns: tuple[str, ...]) -> DataFrame:
    from pandas import DataFrame

    return DataFrame(list(lines), columns=list(columns))
