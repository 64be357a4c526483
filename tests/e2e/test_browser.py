"""``harness ui`` in a real browser: what a person sees of a finished run."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mlflow import MlflowClient
from playwright.sync_api import expect, sync_playwright
from rows import put
from suites import command, environment

from harness.tracking.experiment import EXPERIMENT
from harness.tracking.mlflow import sync
from harness.tracking.uris import store_uri

BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
PATIENCE_MS = 60_000  # of the page's own clock, for scripts and requests


def dom(url: str, profile: Path) -> str:
    """The page as the browser has built it, scripts included."""
    assert BROWSER is not None
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}", "--window-size=1600,1200"]
    done = subprocess.run(
        [BROWSER, *options, f"--virtual-time-budget={PATIENCE_MS}", "--dump-dom", url],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return done.stdout


@contextmanager
def served(workdir: Path) -> Iterator[tuple[str, str]]:
    """What ``harness ui`` says on a workdir: its address, and that of the leaderboard."""
    call = command("ui", "--port", "0")
    with subprocess.Popen(call, env=environment(workdir), stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            lines = iter(server.stdout)
            url = next(found[1] for line in lines if (found := re.search(r"MLflow is on (\S+)", line)))
            yield url, next(lines).removeprefix("the leaderboard: ").strip()
        finally:
            server.terminate()  # SIGINT is ignored where the tests run in the background of a shell


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome is installed")
def test_a_person_finds_the_runs_their_metrics_and_the_pictures(tiny, tmp_path):
    workdir = tiny[0]
    client = MlflowClient(store_uri(workdir))
    experiment = client.get_experiment_by_name(EXPERIMENT)
    (run,) = client.search_runs([experiment.experiment_id], "tags.`harness.row` = 'negfacediff'")
    profile = tmp_path / "profile"
    with served(workdir) as (url, _):
        runs = f"{url}/#/experiments/{experiment.experiment_id}/runs"
        listed = dom(runs, profile)
        one = dom(f"{runs}/{run.info.run_id}", profile)
        picture = dom(f"{runs}/{run.info.run_id}/artifacts/figures/samples.png", profile)
    assert ">tiny<" in listed
    assert "negfacediff, seed 0" in one
    assert "separability/fdr" in one
    assert '<img alt="figures/samples.png" src="blob:' in picture


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome is installed")
def test_the_saved_view_is_the_leaderboard_with_the_description(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for row, accuracy in {"poor": 0.6, "good": 0.95}.items():
        for seed in range(3):
            put(tmp_path, row, seed, accuracy)
    (tmp_path / "results" / "demo" / "report.html").write_text("<p>the report itself</p>")
    sync(tmp_path)
    with served(tmp_path) as (url, leaderboard), sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = chromium.new_page(viewport={"width": 1900, "height": 1100})
        page.set_default_timeout(PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)
        page.goto(leaderboard)
        named = ["params.`row`", "params.`suite`", "params.`seed`"]
        named += [f"metrics.`{name}/accuracy`" for name in ("average", "fw-lfw", "fw-cfp")]
        for name in named:
            expect(page.locator(f'[role="columnheader"][col-id="{name}"]')).to_be_visible()
        assert page.locator('[role="columnheader"][col-id="metrics.`separability/fdr`"]').count() == 0
        rows = page.locator('[role="gridcell"][col-id="params.`row`"]')
        expect(rows).to_have_count(6)
        assert rows.all_inner_texts() == ["good"] * 3 + ["poor"] * 3
        expect(page.get_by_role("link", name="Model registry")).to_be_visible()
        assert page.get_by_role("link", name="Judges").count() == 0, "this is the view of language models"
        page.locator('[data-component-id="mlflow.experiment.metadata_editor.expand_button"]').click()
        board = page.locator("table", has=page.locator("th", has_text="average"))
        expect(board.locator("tbody tr").first).to_contain_text("good")
        assert board.locator("th").all_inner_texts() == ["row", "fw-lfw", "fw-cfp", "average"]
        page.goto(f"{url}/{page.get_by_role('link', name='Report').get_attribute('href')}")
        expect(page.frame_locator("iframe").get_by_text("the report itself")).to_be_visible()
        chromium.close()
