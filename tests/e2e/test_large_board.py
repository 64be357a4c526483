"""200 rows, 12 benchmarks and 5 seeds: how large the report is, and how long it and the board take."""

import os
import resource
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from playwright.sync_api import sync_playwright
from suites import command, environment

from harness.reading.leaderboard import load
from harness.report.page import write
from harness.results import Dataset, Environment, MetricRecord, Result, StageRecord, result_folder, write_result

ROWS, BENCHMARKS, SEEDS = 200, 12, 5
PAIRS, PEOPLE, KINDS = 6000, 3000, 5
BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
SHOWN = {"unit": "fraction", "better": "higher", "headline": True, "ranked": True, "average": "average/accuracy"}
INTERVAL = {"interval_over": "identities", "method": "bootstrap"}


def make_tables(folder: Path) -> None:
    """A few tables of every benchmark, to which the rows' tables are links."""
    for bench in range(BENCHMARKS):
        rng = np.random.default_rng(bench)
        same = np.arange(PAIRS) % 2 == 0
        first = rng.integers(0, PEOPLE, PAIRS)
        second = np.where(same, first, (first + rng.integers(1, PEOPLE, PAIRS)) % PEOPLE)
        place = np.arange(PAIRS)
        common = {"a": place, "b": place, "identity_a": first, "identity_b": second, "same": same, "fold": place // 600}
        for kind in range(KINDS):
            score = np.where(same, 0.5, 0.0) + rng.normal(0, 0.2, PAIRS)
            right = rng.random(PAIRS) < 0.8 + 0.03 * kind
            pq.write_table(pa.table({**common, "score": score, "correct": right}), folder / f"{bench}-{kind}.parquet")


def make(workdir: Path) -> None:
    """The results of all rows."""
    tables = workdir / "made"
    tables.mkdir()
    make_tables(tables)
    colors = np.random.default_rng(0).integers(0, 255, (24, 30, 3), dtype=np.uint8)
    Image.fromarray(colors).resize((640, 512)).save(tables / "samples.png")
    for row in range(ROWS):
        for seed in range(SEEDS):
            folder = result_folder(workdir, "large", f"generator-{row:03d}", seed)
            (folder / "tables").mkdir(parents=True)
            (folder / "figures").mkdir()
            os.link(tables / "samples.png", folder / "figures" / "samples.png")
            for bench in range(BENCHMARKS):
                kind = row * KINDS // ROWS
                os.link(tables / f"{bench}-{kind}.parquet", folder / "tables" / f"bench-{bench}-pairs.parquet")
            write_result(folder, result(row, seed))


def result(row: int, seed: int) -> Result:
    value = 0.8 + 0.0005 * row + 0.001 * seed
    metrics = []
    for bench in range(BENCHMARKS):
        name = f"bench-{bench}"
        bounds = {"interval": (value - 0.01, value + 0.01), **INTERVAL}
        common = {"n": PAIRS, "protocol": name, "value": value, **bounds}
        metrics.append(MetricRecord(name=f"{name}/accuracy", title=name, pairs=f"{name}-pairs", **common, **SHOWN))
        metrics.append(MetricRecord(name=f"{name}/tar_at_far_1e-2", unit="fraction", better="higher", **common))
    for name, better in (("fdr", "higher"), ("eer", "lower"), ("fmr100", "lower")):
        judged = {"title": name.upper(), "better": better, "headline": True}
        metrics.append(MetricRecord(name=f"separability/{name}", value=value, n=9, protocol="judge", **judged))
    return Result(
        suite="large",
        row=f"generator-{row:03d}",
        generator="made",
        seed=seed,
        status="done",
        recipe="recipe",
        dataset=Dataset(identities=10_000, per_identity=50, images=500_000),
        parameters={f"settings.{number}": number for number in range(12)},
        metrics=metrics,
        stages=[StageRecord(kind="generate", key="key", content="content", seconds=4000, images=500_000)],
        curves={"train/loss": [(10 * step, 9.0 / (1 + step)) for step in range(300)]},
        figures=["figures/samples.png"],
        started=0,
        finished=1000 + seed,
        environment=Environment(harness="0.1.0"),
    )


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("large")
    make(workdir)
    return workdir


@pytest.mark.slow
def test_the_board_of_200_rows_does_not_read_its_tables_twice(large: Path) -> None:
    begun = time.process_time()
    board = load(large)  # reads 12,000 tables
    first = time.process_time() - begun
    assert len(board.rows) == ROWS
    assert all(row.cells["average/accuracy"].rank for row in board.rows)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command("leaderboard"), env=environment(large), capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert b"generator-199" in done.stdout
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"leaderboard: {spent:.2f} s of a processor, {first:.2f} s the first time")
    # 12,000 tables take far longer to read than the board that was kept
    assert spent < 0.5 * first


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome is installed")
def test_the_report_of_200_rows_is_small_and_can_be_used(large: Path) -> None:
    path = write(large)
    size = path.stat().st_size
    assert size < 5_000_000
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        times = []
        for _ in range(3):
            page = browser.new_page(viewport={"width": 1500, "height": 1000})
            begun = time.monotonic()
            page.goto(path.as_uri(), wait_until="domcontentloaded")
            page.locator("#filter").fill("generator-19")
            assert page.locator("#said").inner_text() == f"10 of {ROWS} rows"
            times.append(time.monotonic() - begun)
            page.close()
        browser.close()
    print(f"report: {size / 1e6:.2f} MB, filtered after {min(times):.2f} s")
