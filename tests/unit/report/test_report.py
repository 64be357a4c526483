"""`harness report`: what the page holds, and that what stands in result files stays text."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner
from rows import pairs, put

from harness.cli import main
from harness.errors import InputError
from harness.reading.leaderboard import Cell, Interval
from harness.reading.metrics import About
from harness.report.numbers import Style
from harness.report.page import html, write
from harness.results import Dataset

ROWS = {"good": 0.95, "near": 0.94, "poor": 0.7}


class Page(HTMLParser):
    """Tags with their attributes, and the text of the table's cells by row, names of bars included."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self._inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th") and self.rows:
            self.rows[-1].append("")
            self._inside = True
        if tag == "i" and dict(attrs).get("role") == "img":  # a bar says in words what it shows
            self.rows[-1][-1] += dict(attrs)["title"] or ""

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._inside:
            self.rows[-1][-1] += data

    def row(self, name: str) -> list[str]:
        return next(row for row in self.rows if row and row[0].startswith(name))


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("report")
    for row, accuracy in ROWS.items():
        for seed in range(3):
            put(made, row, seed, accuracy)
    put(made, "other recipe", 0, 0.9, recipe="sha256:other")
    put(made, "broken", 0, 0.9, status="failed", error="out of memory\nmore", metrics=[], warnings=["few faces"])
    (made / "results" / "demo" / "suite.yaml").write_text("name: demo\nrows: {good: {use: made}}\n# <b>&\n")
    return made


@pytest.fixture(scope="module")
def page(workdir: Path) -> Page:
    return Page(html(workdir, "demo"))


def test_rows_stand_with_those_that_they_can_be_compared_with(page: Page) -> None:
    headings = [row for row in page.rows if row and row[0] == "row"]
    assert len(headings) == 3, "the recipe of three rows, another one, and a row without a number"
    assert "3 rows" in page.text
    assert "training recipe recipe" in page.text
    assert "training recipe other" in page.text


def test_cells_have_number_letter_and_interval(page: Page, workdir: Path) -> None:
    good, poor = page.row("good"), page.row("poor")
    accuracy = re.match(
        r"(\d\d\.\d)(\w+)over seeds [\d.]+ to [\d.]+; over identities [\d.]+ to [\d.]+$", good[1].strip()
    )
    assert accuracy is not None, good[1]
    assert accuracy[2] == "a"
    assert re.match(r"\d\d\.\db", poor[1].strip()), poor[1]
    assert "FDR: good > near > poor" in page.text
    assert good[-3:] == ["1.4 min", "2.0", "no"], "time, images per second, commercial use"


def test_what_was_not_measured_is_missing_and_what_failed_says_why(page: Page) -> None:
    broken = page.row("broken")
    assert "1 seed failed" in broken[0]
    assert "seed 0 failed: out of memory" in page.text
    assert "seed 0: few faces" in page.text


def test_the_page_says_what_lies_under_a_row(page: Page) -> None:
    assert "MIT, Apache-2.0" in page.text
    impostors = int((~pairs()["same"]).sum())
    assert f"FAR reached 0.01 of 1e-2: {impostors // 100} of {impostors} impostor pairs" in page.text
    assert "name: demo" in page.text
    assert "# <b>&" in page.text, "the suite's text is text"
    drawings = [attrs.get("class") for tag, attrs in page.tags if tag == "svg"]
    assert drawings.count("ch") == 4 * 2 * 2 + 5, "densities and ROC of two benchmarks, and a loss also where it failed"
    assert sum(tag == "img" for tag, _ in page.tags) == 5


def test_a_page_needs_nothing_beside_it(page: Page) -> None:
    links = [attrs[name] for _, attrs in page.tags for name in ("src", "href", "action") if attrs.get(name)]
    assert links
    assert all(link.startswith(("#", "data:image/webp")) for link in links)
    assert not [tag for tag, _ in page.tags if tag in ("link", "iframe", "object", "embed", "base")]


HOSTILE = {
    "script": "<script>alert(1)</script>",
    "quotes": "\"'><img src=x onerror=alert(2)>",
    "turned": "abc\u202edcba\u2066",
    "formula": '=HYPERLINK("http://example.org","x")',
    "template": "{{ 7 * 7 }}{% include 'style.css' %}",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_text(tmp_path: Path, name: str) -> None:
    bad = HOSTILE[name]
    put(tmp_path, bad, 0, 0.9, folder="bad", generator=bad, parameters={bad: bad}, warnings=[bad])
    text = html(tmp_path)
    page = Page(text)
    assert sum(tag == "script" for tag, _ in page.tags) == 1, "the page's own"
    assert not any(attr.startswith("on") and tag != "form" for tag, attrs in page.tags for attr in attrs)
    assert all((attrs.get("src") or "data:").startswith("data:") for tag, attrs in page.tags if tag == "img")
    assert not re.search("[\u202a-\u202e\u2066-\u2069]", text)
    shown = bad.replace("\u202e", r"\u202e").replace("\u2066", r"\u2066")
    assert shown in page.text


def test_nothing_outside_the_result_folder_enters_a_page(tmp_path: Path) -> None:
    result = put(tmp_path, "a", 0, 0.9)
    secret = tmp_path / "secret.png"
    (tmp_path / "results/demo/a/seed-0/figures/samples.png").rename(secret)
    put(tmp_path, "b", 0, 0.9, figures=[str(secret), "../../../../secret.png"])
    assert result.figures
    assert "data:image" not in html(tmp_path)


@pytest.mark.parametrize(
    ("unit", "half", "number"),
    [("fraction", 0.025, "99.6"), ("fraction", 0.0012, "99.55"), ("fraction", 0.12, "100"), ("plain", 0.06, "0.996")],
)
def test_numbers_have_as_many_decimals_as_their_intervals_support(unit: str, half: float, number: str) -> None:
    about = About("x/y", "y", unit=unit)  # type: ignore[arg-type]
    cell = Cell(about, 0.9955, {0: 0.9955}, 100, "p", interval=Interval(0.9955 - half, 0.9955 + half, "folds", "t"))
    assert Style.of(about, [cell]).number(0.9955) == number


def test_commands_write_the_page_and_print_it(workdir: Path, tmp_path: Path) -> None:
    outcome = CliRunner().invoke(main, ["report", "--suite", "demo", "--workdir", str(workdir), "--published"])
    path = workdir / "results" / "demo" / "report.html"
    assert outcome.output.strip() == str(path)
    assert "Printed in papers, not run here" in path.read_text()
    printed = CliRunner().invoke(main, ["leaderboard", "--format", "html", "--workdir", str(workdir)])
    assert printed.output == html(workdir)
    assert write(workdir) == workdir / "results" / "report.html"
    with pytest.raises(InputError, match="no results"):
        write(tmp_path)


def test_many_rows_share_the_room_for_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.report.sheets.PICTURE_BYTES", 10_500)
    for number in range(3):
        put(tmp_path, f"row-{number}", 0, 0.9)
    uris = re.findall(r'src="(data:image/webp[^"]*)"', html(tmp_path))
    assert len(uris) == 3
    assert all(len(uri) <= 3_500 for uri in uris)


def test_dataset_sizes_are_not_mixed(tmp_path: Path) -> None:
    put(tmp_path, "small", 0, 0.9)
    put(tmp_path, "large", 0, 0.9, dataset=Dataset(identities=24, per_identity=4, images=96))
    page = Page(html(tmp_path))
    assert len([row for row in page.rows if row and row[0] == "row"]) == 2


@pytest.mark.parametrize("status", [0, 3])
def test_the_command_opens_what_it_wrote(workdir: Path, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    opened: list[str] = []
    monkeypatch.setattr("click.launch", lambda address: opened.append(address) or status)
    outcome = CliRunner().invoke(main, ["report", "--suite", "demo", "--workdir", str(workdir), "--open"])
    assert opened == [(workdir / "results" / "demo" / "report.html").as_uri()]
    assert outcome.exit_code == 0
    assert ("no browser could be started" in outcome.output) == bool(status)
