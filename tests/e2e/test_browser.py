"""``harness ui`` in a real browser: what a person sees of a finished run."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mlflow import MlflowClient
from suites import command, environment

from harness.tracking.experiment import EXPERIMENT
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
def served(workdir: Path) -> Iterator[str]:
    """The address of ``harness ui`` on a workdir."""
    call = command("ui", "--port", "0")
    with subprocess.Popen(call, env=environment(workdir), stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield next(found[1] for line in server.stdout if (found := re.search(r"MLflow is on (\S+)", line)))
        finally:
            server.terminate()  # SIGINT is ignored where the tests run in the background of a shell


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome is installed")
def test_a_person_finds_the_runs_their_metrics_and_the_pictures(tiny, tmp_path):
    workdir = tiny[0]
    client = MlflowClient(store_uri(workdir))
    experiment = client.get_experiment_by_name(EXPERIMENT)
    (run,) = client.search_runs([experiment.experiment_id], "tags.`harness.row` = 'negfacediff'")
    profile = tmp_path / "profile"
    with served(workdir) as url:
        runs = f"{url}/#/experiments/{experiment.experiment_id}/runs"
        listed = dom(runs, profile)
        one = dom(f"{runs}/{run.info.run_id}", profile)
        picture = dom(f"{runs}/{run.info.run_id}/artifacts/figures/samples.png", profile)
    assert ">tiny<" in listed
    assert "negfacediff, seed 0" in one
    assert "separability/fdr" in one
    assert '<img alt="figures/samples.png" src="blob:' in picture
