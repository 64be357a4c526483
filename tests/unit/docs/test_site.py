"""The site is built without a warning, names every page, and asks the network for nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from suites import ROOT

FROM_ELSEWHERE = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*?\b(?:src|href)=[\"']?((?:https?:)?//[^\"' >]+)")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make docs` writes."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.slow
def test_pages_are_there_and_nothing_comes_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 60
    assert not {found for page in pages for found in FROM_ELSEWHERE.findall(page.read_text(encoding="utf-8"))}


@pytest.mark.slow
def test_the_reference_and_the_readmes_are_on_it(site: Path) -> None:
    reference = (site / "reference" / "components.html").read_text(encoding="utf-8")
    for name in ("Generator", "Evaluator", "Given", "Metric"):
        assert re.search(rf'id="harness\.components\.\w+\.{name}"', reference), name
    assert "NegFaceDiff for" in (site / "plugins" / "negfacediff" / "index.html").read_text(encoding="utf-8")
    assert "def plan_suite" in re.sub("<[^>]+>", "", (site / "harness/planning/planner.py.html").read_text("utf-8"))


@pytest.mark.slow
def test_search_finds_pages_by_their_words(site: Path) -> None:
    index = (site / "search" / "search_index.json").read_text(encoding="utf-8")
    for word in ("consent: chosen-on-test", "Tammes", "harness weights check"):
        assert word in index
