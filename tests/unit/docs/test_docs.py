"""Documents that are made from the code, or speak of its files, stay in step with it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md"), *(ROOT / "plugins").glob("*/README.md")])
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")


@pytest.mark.parametrize("page", ["commands", "hooks"])
def test_pages_that_are_made_from_the_code_are_current(page: str) -> None:
    # in a process of its own: click remembers the options of commands that other tests called directly
    code = f"import make_{page} as made; print(made.page(), end='')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT / "docs", capture_output=True, text=True, check=True)
    assert (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8") == done.stdout, "run `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    lost = [link for link in LINK.findall(page.read_text(encoding="utf-8")) if not (page.parent / link).exists()]
    assert not lost


def architecture(title: str) -> str:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    return page.partition(f"## {title}\n")[2].partition("\n## ")[0]


def test_the_way_of_a_suite_is_short_and_each_file_has_a_sentence() -> None:
    rows = re.findall(r"^\| \[([\w/.]+)\]\(\S+\) \| (.+) \|$", architecture("From a suite to a number"), re.MULTILINE)
    assert 8 <= len(rows) <= 14
    for file, sentence in rows:
        assert (ROOT / "harness" / file).is_file()
        assert len(sentence.split()) >= 6, file


def test_the_map_names_every_room() -> None:
    named = set(re.findall(r"`([\w.]+)/?`", architecture("The rooms")))
    rooms = {path.name for path in (ROOT / "harness").iterdir() if not path.name.startswith(("__", "py.typed"))}
    assert rooms <= named


def test_no_module_is_long() -> None:
    modules = [path for folder in ("harness", "plugins", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
    assert not [str(m.relative_to(ROOT)) for m in modules if len(m.read_text(encoding="utf-8").splitlines()) > 400]
