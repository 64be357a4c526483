"""The leaderboard: aggregation over seeds, ranks only where comparable, and every format."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from harness.cli.leaderboard import leaderboard
from harness.errors import DataError, InputError
from harness.reading import formats, tables
from harness.reading.leaderboard import Board, build, load, t_interval
from harness.reading.published import read_published
from harness.results import Dataset, Environment, MetricRecord, Result, StageRecord, result_folder, write_result

AVERAGE = "average/accuracy"
SHARE: dict[str, Any] = {"unit": "fraction", "better": "lower"}
RANKED: dict[str, Any] = {"unit": "fraction", "better": "higher", "headline": True, "ranked": True}


def metric(name: str, value: float, protocol: str = "sha256:p", **more: Any) -> MetricRecord:
    return MetricRecord(name=name, value=value, n=2000, protocol=protocol, **more)


def make(row: str, seed: int, accuracy: float, protocol: str = "sha256:lfw", **more: Any) -> Result:
    low, high = accuracy - 0.02, accuracy + 0.02
    metrics = [
        metric(
            "fw-lfw/accuracy",
            accuracy,
            protocol,
            interval=(low, high),
            interval_over="identities",
            method="bootstrap",
            std_folds=0.012,
            title="fw-lfw",
            average=AVERAGE,
            **RANKED,
        ),
        metric("fw-lfw/eer", 0.1, protocol, **SHARE),
        metric(
            "fw-cfp/accuracy",
            accuracy - 0.1,
            "sha256:cfp",
            note="fewer than 30 identities: no interval",
            title="fw-cfp",
            average=AVERAGE,
            **RANKED,
        ),
        metric("separability/fdr", 2.5, interval=(2.1, 2.9), interval_over="identities", title="FDR", headline=True),
        metric("separability/eer", 0.13, title="EER", headline=True, **SHARE),
        metric("separability/fmr100", 0.385, title="FMR100", headline=True, **SHARE),
        metric("separability/genuine_mean", 0.226),
        metric("separability/pixel_diversity", 0.1234, title="pixel diversity", headline=True),
        metric("alignment/detection_rate", 0.987, title="detected", headline=True, unit="fraction", better="higher"),
    ]
    given: dict[str, Any] = {
        "suite": "demo",
        "row": row,
        "generator": row,
        "seed": seed,
        "status": "done",
        "recipe": "sha256:r",
        "shipped": ["ldm"],
        "dataset": Dataset(identities=150, per_identity=12, images=1800),
        "metrics": metrics,
        "stages": [
            StageRecord(kind="generate", key="k", content="c", seconds=40.0, images=1800),
            StageRecord(kind="train", key="k2", content="c2", seconds=20.5),
        ],
        "commercial_use": "no",
        "started": 1000.0,
        "finished": 1100.0 + seed,
        "environment": Environment(harness="0.1.0"),
    }
    return Result(**(given | more))


def seeds(row: str, accuracy: float, count: int = 3, **more: Any) -> list[Result]:
    return [make(row, seed, accuracy + 0.01 * seed, **more) for seed in range(count)]


def put(workdir: Path, *results: Result) -> None:
    for result in results:
        write_result(result_folder(workdir, result.suite, result.row, result.seed), result)


def table(board: Board, width: int = 200) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    tables.render(board, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def ranks(board: Board, name: str = "fw-lfw/accuracy") -> dict[str, str]:
    return {row.name: row.cells[name].rank for row in board.rows}


def test_one_seed_is_shown_with_its_interval_and_not_ranked() -> None:
    board = build([make("a", 0, 0.869), make("b", 0, 0.8)])
    cell = board.rows[0].cells["fw-lfw/accuracy"]
    assert cell.interval is not None
    assert (cell.interval.over, cell.over_seeds, cell.rank) == ("identities", None, "")
    text = table(board)
    assert "86.9 ± 1.2 [84.9, 88.9]" in text
    assert "not ranked, fewer than 3 seeds: all rows" in text
    assert "fewer than 30 identities" in text
    assert "shipped weights, not fitted here: ldm (all rows)" in text
    assert "150 identities x 12 images" in text
    assert "generator fits: 1" in text


def test_three_seeds_are_ranked_and_have_both_intervals() -> None:
    board = build(seeds("a", 0.80) + seeds("b", 0.85))
    assert [row.name for row in board.rows] == ["b", "a"]
    assert ranks(board) == {"b": "a", "a": "b"}
    cell = board.rows[0].cells["fw-lfw/accuracy"]
    assert cell.interval is not None
    assert cell.over_seeds is not None
    assert cell.value == pytest.approx(0.86)
    assert (cell.interval.low, cell.interval.high) == pytest.approx((0.84, 0.88))
    # 0.86 +- t(0.975, 2) * 0.01 / sqrt(3), with t = 4.302653
    assert (cell.over_seeds.low, cell.over_seeds.high) == pytest.approx((0.835159, 0.884841), abs=1e-6)
    assert cell.over_seeds.over == "seeds"
    assert "a 86.0 ± 1.2 [84.0, 88.0]" in table(board)
    assert "seeds [83.5, 88.5]" in table(board)


def test_the_average_is_over_benchmarks_per_seed() -> None:
    board = build(seeds("a", 0.80))
    assert board.rows[0].cells[AVERAGE].value == pytest.approx(0.76)
    assert board.rows[0].cells[AVERAGE].interval is None


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"recipe": "sha256:other"}, "another recipe than"),
        ({"protocol": "sha256:other"}, "another protocol than"),
        ({"dataset": Dataset(identities=10, per_identity=4, images=40)}, "another dataset size (10 identities"),
        ({"dataset": None}, "another dataset size (no dataset) than"),
    ],
)
def test_rows_that_differ_are_shown_unranked_with_the_reason(more: dict[str, Any], reason: str) -> None:
    board = build(seeds("a", 0.80) + seeds("b", 0.85) + seeds("c", 0.9, **more))
    assert ranks(board) == {"b": "a", "a": "b", "c": ""}
    assert any(
        line.startswith("not ranked") and reason in line and line.endswith(": c") for line in tables.footers(board)
    )


def test_another_protocol_of_one_benchmark_leaves_the_others_ranked() -> None:
    board = build(seeds("a", 0.80) + seeds("b", 0.85) + seeds("c", 0.9, protocol="sha256:other"))
    assert ranks(board, "fw-cfp/accuracy") == {"c": "a", "b": "b", "a": "c"}


def test_a_single_row_has_no_rank() -> None:
    board = build(seeds("a", 0.8))
    assert ranks(board) == {"a": ""}
    assert any("no other row" in line for line in tables.footers(board))


def test_a_seed_of_another_recipe_is_left_out_of_the_mean() -> None:
    results = [make("a", 0, 0.5, recipe="sha256:old", finished=1.0), make("a", 1, 0.8), make("a", 2, 0.9)]
    board = build(results)
    assert board.rows[0].seeds == (1, 2)
    assert board.rows[0].cells["fw-lfw/accuracy"].value == pytest.approx(0.85)
    assert any("seed 0 has another recipe" in line for line in tables.footers(board))


def test_seeds_with_different_settings_are_not_ranked() -> None:
    mixed = [make("a", seed, 0.8, parameters={"gamma": 0.1 * (seed > 0), "seed": seed}) for seed in range(3)]
    board = build(mixed + seeds("b", 0.7) + seeds("c", 0.6))
    assert ranks(board) == {"b": "a", "c": "b", "a": ""}
    assert any("its seeds differ in gamma" in line for line in tables.footers(board))


def test_seeds_that_rest_on_different_models_or_code_are_not_ranked() -> None:
    mixed = [make("a", seed, 0.8, method="new" if seed else "old") for seed in range(3)]
    before_methods_were_told = [make("d", seed, 0.5, method="new" if seed else "") for seed in range(3)]
    board = build(mixed + seeds("b", 0.7, method="m") + seeds("c", 0.6, method="n") + before_methods_were_told)
    assert ranks(board) == {"b": "a", "c": "b", "d": "c", "a": ""}
    assert any("its seeds differ in model, contexts, source, aligner or code" in line for line in tables.footers(board))


def test_weights_that_exist_are_one_model_whatever_the_seeds() -> None:
    fixed = [make("r50", seed, 0.9, generator="recognizer", dataset=None) for seed in range(3)]
    board = build(fixed + seeds("b", 0.7))
    row = next(row for row in board.rows if row.name == "r50")
    assert row.seeds == (0,)
    assert row.cells["fw-lfw/accuracy"].over_seeds is None
    assert ranks(board)["r50"] == ""
    assert not row.left_out


def test_failed_rows_are_shown_with_their_error() -> None:
    failed = make("broken", 0, 0.0, status="failed", error="too few identities\nmore", metrics=[])
    board = build([make("a", 0, 0.8), failed])
    assert board.rows[-1].name == "broken"
    assert "FAILED broken, seed 0: too few identities" in table(board)
    assert "| broken | failed |" in formats.to_markdown(board)
    assert "FAILED broken" in table(build([failed]))


def more_metrics(result: Result, *metrics: MetricRecord) -> Result:
    return result.model_copy(update={"metrics": [*result.metrics, *metrics]})


def titles(board: Board) -> list[str]:
    return [column.title for column in tables.columns(board)]


def test_headline_metrics_get_columns_and_helpers_do_not() -> None:
    extra = more_metrics(make("a", 0, 0.8), metric("realism/fid", 12.345, headline=True))
    assert titles(build([extra])) == [
        *("fw-lfw", "fw-cfp", "average", "FDR", "EER %", "FMR100 %", "pixel\ndiversity", "detected %"),
        *("realism\nfid", "seconds", "commercial\nuse"),
    ]


def test_a_strangers_metrics_get_percent_a_rank_a_mean_and_a_column_as_built_in_ones_do() -> None:
    def of(row: str, wrong: float) -> list[Result]:
        lower: dict[str, Any] = {"unit": "fraction", "better": "lower", "headline": True, "ranked": True}
        found = [
            metric("zoo/miss", wrong, title="miss", average="mean-miss/rate", **lower),
            metric("farm/miss", wrong + 0.1, title="miss", average="mean-miss/rate", **lower),
            metric("zoo/keepers", 12.0, title="keepers", unit="count", headline=True),
            metric("zoo/share", 0.25, title="share", unit="fraction", headline=True),
            metric("zoo/aside", 0.5, unit="fraction", better="higher", ranked=True),
        ]
        return [make(row, seed, 0.5, metrics=found) for seed in range(3)]

    board = build([*of("a", 0.20), *of("b", 0.15), *of("c", 0.30)])
    assert titles(board) == [
        *("zoo\nmiss", "farm\nmiss", "mean-miss", "keepers", "share %", "seconds", "commercial\nuse")
    ]
    for name in ("zoo/miss", "farm/miss", "mean-miss/rate"):
        assert ranks(board, name) == {"b": "a", "a": "b", "c": "c"}, "fewer misses are better"
    assert ranks(board, "zoo/aside") == {"b": "", "a": "", "c": ""}, "no column, no test"
    cells = {column.title: column.text(board.rows[0]) for column in tables.columns(board)}
    assert cells["zoo\nmiss"].startswith("a 15.0")
    assert cells["mean-miss"].startswith("a 20.0")
    assert cells["keepers"].startswith("12\n")
    assert cells["share %"].startswith("25.0\n")
    assert "in percent (keepers as they are)" in tables.footers(board)[0]


def test_two_judges_are_told_apart() -> None:
    first = make("a", 0, 0.8)
    both = more_metrics(first, metric("separability-own/fdr", 1.5, title="FDR", headline=True))
    assert [title for title in titles(build([both])) if "FDR" in title] == [
        "separability\nFDR",
        "separability-own\nFDR",
    ]
    same = more_metrics(first, *(metric(f"mean/{name}", 1.0, title="mean/x", headline=True) for name in "pq"))
    assert {"mean/p", "mean/q"} <= {about.title for about in build([same]).metrics}


def test_a_metric_without_a_direction_has_no_rank() -> None:
    results = [
        make(row, seed, 0.5, metrics=[metric("zoo/size", 1.0 + seed, ranked=True)]) for row in "ab" for seed in range(3)
    ]
    assert ranks(build(results), "zoo/size") == {"a": "", "b": ""}


def earlier(result: Result) -> Result:
    """The result as schema 1 has it."""
    bare = [
        MetricRecord(**m.model_dump(include={"name", "value", "n", "protocol", "interval"})) for m in result.metrics
    ]
    return result.model_copy(update={"schema_": 1, "metrics": bare})


def test_results_of_earlier_versions_are_plain_numbers_without_a_rank() -> None:
    board = build(map(earlier, seeds("a", 0.80) + seeds("b", 0.85)))
    assert {cell.rank for row in board.rows for cell in row.cells.values()} == {""}
    cells = {column.title: column.text(board.rows[0]) for column in tables.columns(board)}
    assert cells["fw-lfw\naccuracy"].startswith("0.810 [0.790, 0.830]")
    assert cells["separability\nfdr"].startswith("2.50")
    assert "separability\ngenuine_mean" in cells
    assert AVERAGE not in board.rows[0].cells
    assert "percent" not in tables.footers(board)[0]
    table(board, 100)


def test_beside_new_results_old_ones_read_as_they_do_and_have_no_rank() -> None:
    old = [earlier(result) for result in seeds("old", 0.9)]
    board = build([*old, *seeds("a", 0.80), *seeds("b", 0.85)])
    assert ranks(board) == {"b": "a", "a": "b", "old": ""}
    assert next(row for row in board.rows if row.name == "old").cells["fw-lfw/accuracy"].about.unit == "fraction"
    assert "separability\ngenuine_mean" not in titles(board)
    assert any("its result files are of an earlier version: old" in line for line in tables.footers(board))


def test_a_board_as_a_frame() -> None:
    board = build(seeds("a", 0.80) + seeds("b", 0.85))
    frame = board.to_frame()
    assert len(frame) == 2 * 3 * 10
    line = frame[(frame.row == "b") & (frame.seed == 1) & (frame.metric == "fw-lfw/accuracy")].iloc[0]
    assert (line.suite, line.title, line.unit, line["rank"]) == ("demo", "fw-lfw", "fraction", "a")
    assert (line.value, line.low, line.high, line["mean"]) == pytest.approx((0.86, 0.84, 0.88, 0.86))
    assert frame[frame.metric == AVERAGE].low.isna().all()


@pytest.mark.parametrize("width", [100, 120, 160, 200])
def test_tables_fit_the_console(width: int) -> None:
    text = table(build(seeds("negfacediff", 0.80) + seeds("idiffface", 0.85)), width)
    assert max(len(line) for line in text.splitlines() if "│" in line) <= width
    assert "…" not in text
    assert "other metrics" in text


def test_json_and_csv_hold_every_metric_as_fractions(tmp_path: Path) -> None:
    put(tmp_path, *seeds("a", 0.80), *seeds("b", 0.85), make("c", 0, 0.1, status="failed", error="no", metrics=[]))
    board = load(tmp_path)
    document = json.loads(formats.to_json(board))
    first = document["rows"][0]
    assert (first["name"], first["origin"], len(first["cells"])) == ("b", "measured", 10)
    assert first["cells"][0]["values"] == {"0": 0.85, "1": 0.86, "2": 0.87}
    assert [first["cells"][0][key] for key in ("metric", "title", "unit", "better", "rank")] == [
        *("fw-lfw/accuracy", "fw-lfw", "fraction", "higher", "a")
    ]
    lines = list(csv.DictReader(io.StringIO(formats.to_csv(board))))
    assert len(lines) == 21
    assert lines[0]["metric"] == "fw-lfw/accuracy"
    assert float(lines[0]["value"]) == pytest.approx(0.86)
    assert (lines[0]["rank"], lines[0]["seeds"], lines[0]["seconds"]) == ("a", "0 1 2", "60.5")
    assert (lines[-1]["row"], lines[-1]["status"], lines[-1]["note"]) == ("c", "failed", "no")


def test_published_rows_are_marked_and_never_ranked(tmp_path: Path) -> None:
    put(tmp_path, *seeds("a", 0.80), *seeds("b", 0.85))
    board = load(tmp_path, published=True)
    assert len(board.published) == len(read_published()) == 71
    assert all(row.name in {"a", "b"} for row in board.rows)
    assert {row["origin"] for row in json.loads(formats.to_json(board))["published"]} == {"published"}
    lines = list(csv.DictReader(io.StringIO(formats.to_csv(board))))
    printed = [line for line in lines if line["origin"] == "published"]
    assert printed
    assert not any(line["rank"] for line in printed)
    assert "not measured here, never ranked" in table(board)
    assert "99.55" in formats.to_markdown(board)


def test_published_numbers_are_fractions() -> None:
    first = read_published()[0]
    assert first.method == "CASIA-WebFace (C-WF)"
    assert first.metrics["LFW/accuracy"] == 0.9955
    assert read_published()[-1].metrics["separability/fdr"] == 5.687
    assert "LFW/accuracy" in read_published()[6].metrics  # SynFace prints LFW only
    assert len(read_published()[6].metrics) == 1


def test_a_damaged_file_is_one_line(tmp_path: Path) -> None:
    put(tmp_path, make("a", 0, 0.8))
    path = result_folder(tmp_path, "demo", "a", 0) / "results.json"
    path.write_text(path.read_text()[:100])
    with pytest.raises(DataError) as caught:
        load(tmp_path)
    assert len(str(caught.value).splitlines()) == 1
    assert str(path) in str(caught.value)


def test_nothing_found_says_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="run a suite first"):
        load(tmp_path)
    put(tmp_path, make("a", 0, 0.8))
    with pytest.raises(InputError, match=r"results: unknown suite 'other', expected one of demo"):
        load(tmp_path, "other")


def test_a_suite_without_a_result_yet_is_told_from_one_that_is_not_there(
    tmp_path: Path,
) -> None:
    put(tmp_path, make("a", 0, 0.8))
    (tmp_path / "results" / "second").mkdir()
    (tmp_path / "results" / "second" / "suite.yaml").write_text("name: second\n")
    with pytest.raises(InputError, match=r"second: no row is finished yet; run the suite again"):
        load(tmp_path, "second")
    with pytest.raises(InputError, match=r"unknown suite 'other', expected one of demo$"):
        load(tmp_path, "other")


def test_two_suites_are_told_apart(tmp_path: Path) -> None:
    put(tmp_path, make("a", 0, 0.8), make("a", 0, 0.7, suite="second"))
    board = load(tmp_path)
    assert [board.label(row) for row in board.rows] == ["demo/a", "second/a"]
    single = load(tmp_path, "second")
    assert [single.label(row) for row in single.rows] == ["a"]


def test_t_interval_needs_three_finite_values() -> None:
    assert t_interval([0.1, 0.2]) is None
    assert t_interval([0.1, 0.2, float("nan")]) is None


@pytest.mark.parametrize(
    ("format_", "expected"),
    [
        ("table", "Leaderboard: demo"),
        ("json", '"schema": 1'),
        ("csv", "origin,suite,row"),
        ("markdown", "| row | fw-lfw |"),
    ],
)
def test_command(tmp_path: Path, format_: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    put(tmp_path, make("a", 0, 0.8))
    outcome = CliRunner().invoke(
        leaderboard, ["--format", format_], env={**os.environ, "HARNESS_WORKDIR": str(tmp_path)}
    )
    assert outcome.exit_code == 0, outcome.output
    assert expected in outcome.output


def test_a_wide_console_gets_one_table() -> None:
    text = table(build([make("a", 0, 0.8), make("b", 0, 0.7)]), 200)
    assert text.count("┏") == 1
    assert "other metrics" not in text
