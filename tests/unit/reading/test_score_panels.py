"""The picture of rows' score distributions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from harness.cli.leaderboard import leaderboard
from harness.errors import DataError, InputError
from harness.reading.leaderboard import load
from harness.reading.score_panels import TABLE, picture
from harness.results import result_folder, write_result
from tests.unit.reading.test_leaderboard import make

EDGES = np.linspace(-1, 1, 401)


def write(workdir: Path, row: str, seed: int, genuine: float) -> Path:
    """A result with its table of scores: all genuine ones equal, impostor ones at 0.001."""
    result = make(row, seed, 0.8)
    folder = result_folder(workdir, result.suite, row, seed)
    write_result(folder, result)
    counts = [np.histogram([score], EDGES)[0] * n for score, n in ((genuine, 10), (0.001, 90))]
    path = folder / TABLE
    path.parent.mkdir()
    columns = {"low": EDGES[:-1], "high": EDGES[1:], "genuine": counts[0], "impostor": counts[1]}
    pq.write_table(pa.table(columns), path)
    return path


def test_a_panel_per_row_over_its_seeds(tmp_path: Path) -> None:
    for row, scores in {"one": (0.501, 0.601), "two": (0.301, 0.301)}.items():
        for seed, score in enumerate(scores):
            write(tmp_path, row, seed, score)
    drawn = picture(load(tmp_path), tmp_path).axes
    assert [axes.get_title() for axes in drawn] == ["one", "two"]
    assert [axes.texts[0].get_text() for axes in drawn] == ["FDR 2.50\nEER 13.0%"] * 2
    genuine, impostor = (patch.get_data() for patch in drawn[0].patches)
    low = genuine.edges[:-1][genuine.values > 0]
    np.testing.assert_allclose(low, [0.5, 0.6])
    np.testing.assert_allclose(genuine.values[genuine.values > 0], 0.5 / 0.02)  # half of them in each bin of 0.02
    np.testing.assert_allclose((impostor.values * np.diff(impostor.edges)).sum(), 1)
    assert [line.get_xdata()[0] for line in drawn[0].lines] == pytest.approx([0.5525, 0.0025])


def test_a_row_without_its_scores_is_left_out_and_a_damaged_table_is_named(tmp_path: Path) -> None:
    write(tmp_path, "one", 0, 0.5)
    path = write(tmp_path, "two", 0, 0.3)
    path.unlink()
    assert [axes.get_title() for axes in picture(load(tmp_path), tmp_path).axes] == ["one"]
    path.write_bytes(b"no table")
    with pytest.raises(DataError, match=r"separability-histogram.parquet: cannot be read as a table of scores"):
        picture(load(tmp_path), tmp_path)


def test_the_command_draws_it(tmp_path: Path) -> None:
    path, target = write(tmp_path, "one", 0, 0.5), tmp_path / "scores.png"
    call = ["--workdir", str(tmp_path), "--distributions", str(target)]
    assert CliRunner().invoke(leaderboard, call).exit_code == 0
    assert target.read_bytes().startswith(b"\x89PNG")
    path.unlink()
    with pytest.raises(InputError, match=r"no row has tables/separability-histogram\.parquet"):
        CliRunner().invoke(leaderboard, call, catch_exceptions=False)
