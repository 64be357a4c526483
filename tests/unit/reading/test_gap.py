"""The gap to real: the difference to the authentic row of the same size, and no other."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from rows import put
from scipy import stats

from harness.reading.formats import to_json, to_markdown
from harness.reading.gap import gaps
from harness.reading.leaderboard import load
from harness.reading.tables import render
from harness.results import Dataset

SMALL = Dataset(identities=6, per_identity=4, images=24)


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    for seed in range(3):
        put(tmp_path, "real", seed, 0.9, generator="authentic")
        put(tmp_path, "made", seed, 0.8)
        put(tmp_path, "small", seed, 0.7, dataset=SMALL)
    return tmp_path


def test_the_gap_is_the_mean_difference_with_its_interval_over_seeds(workdir: Path) -> None:
    board = load(workdir)
    found = gaps(board)
    assert set(found) == {("demo", "made")}  # no authentic row has the size of `small`; `real` is real
    gap = found["demo", "made"]
    cells = {row.name: row.cells["average/accuracy"].values for row in board.rows}
    differences = [cells["made"][seed] - cells["real"][seed] for seed in range(3)]
    expected = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    assert gap.interval is not None
    assert gap.value == pytest.approx(sum(differences) / 3)
    assert (gap.interval.low, gap.interval.high) == pytest.approx((expected.low, expected.high))


def test_an_authentic_row_of_the_size_gives_the_other_row_its_gap(workdir: Path) -> None:
    for seed in range(3):
        put(workdir, "less-real", seed, 0.85, generator="authentic", dataset=SMALL)
    found = gaps(load(workdir))
    assert {name: gap.real.name for (_, name), gap in found.items()} == {"made": "real", "small": "less-real"}


def test_another_recipe_is_no_yardstick(workdir: Path) -> None:
    put(workdir, "other", 0, 0.8, recipe="sha256:other")
    assert ("demo", "other") not in gaps(load(workdir))


def test_boards_show_it_where_there_is_one(workdir: Path) -> None:
    board = load(workdir)
    shown = f"{100 * gaps(board)['demo', 'made'].value:+.1f}"
    out = io.StringIO()
    render(board, Console(file=out, width=200))
    for text in (to_markdown(board), out.getvalue()):
        assert "gap to" in text
        assert shown in text
    rows = {row["name"]: row["gap_to_real"] for row in json.loads(to_json(board))["rows"]}
    assert rows["small"] is None
    assert rows["made"]["real"] == "real"
