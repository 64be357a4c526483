"""The report and the comparison in a real browser: they work, ask for nothing, and show hostile names as text."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright
from rows import put

from harness.report.comparison import html as comparison
from harness.report.page import html as report

BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome is installed")
HOSTILE = ["<script>document.title='owned'</script>", "\"'><img src=x onerror=document.title='owned'>", "=1+1"]
HOSTILE += ["left\u202eright"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("pages")
    for row, accuracy in {"good": 0.95, "middle": 0.85, "poor": 0.6}.items():
        for seed in range(3):
            put(made, row, seed, accuracy)
    for number, name in enumerate(HOSTILE):
        said = {"generator": name, "warnings": [name], "parameters": {name: name}, "recipe": "sha256:hostile"}
        put(made, name, 0, 0.8, folder=f"hostile-{number}", **said)
    return made


class Opened:
    """A page with all that it said on the console, and all that it asked for."""

    def __init__(self, browser: Browser, text: str, folder: Path) -> None:
        path = folder / "page.html"
        path.write_text(text, encoding="utf-8")
        self.page: Page = browser.new_page(viewport={"width": 1500, "height": 1000})
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())
        self.group = self.page.locator(".group", has=self.page.locator("a", has_text="middle"))

    def quiet(self) -> bool:
        return not self.said and not [url for url in self.asked[1:] if not url.startswith("data:")]

    def names(self) -> list[str]:
        return self.group.locator("tbody tr:visible th a").all_inner_texts()


@pytest.fixture
def board(browser: Browser, workdir: Path, tmp_path: Path) -> Iterator[Opened]:
    opened = Opened(browser, report(workdir), tmp_path)
    yield opened
    opened.page.close()


def test_the_table_sorts_filters_and_hides_columns(board: Opened) -> None:
    page, first = board.page, board.group
    head = first.locator("thead th", has_text="fw-lfw")
    assert board.names() == ["good", "middle", "poor"]
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "descending", "higher is better, so the best come first"
    head.locator("button").press("Enter")
    assert board.names() == ["poor", "middle", "good"]
    assert page.locator("#said").inner_text() == "sorted by fw-lfw % ↑, ascending"
    page.keyboard.press("/")
    page.keyboard.type("GOO")
    assert board.names() == ["good"]
    assert page.locator("#said").inner_text().startswith("1 of ")
    page.locator("#filter").fill("")
    page.locator("summary", has_text="Columns").click()
    page.locator("#columns").get_by_text("FDR").click()
    assert first.locator("thead th", has_text="FDR").is_hidden()
    assert first.locator("tbody tr").first.locator("td:visible").count() == 6
    page.keyboard.press("Escape")
    assert page.locator("#columns").is_hidden()
    assert board.quiet(), (board.said, board.asked)


def test_the_theme_changes_and_sheets_open(board: Opened) -> None:
    page = board.page
    color = "getComputedStyle(document.body).backgroundColor"
    page.emulate_media(color_scheme="light")
    light = page.evaluate(color)
    page.locator("#theme").click()
    assert page.evaluate(color) == light
    page.locator("#theme").click()
    assert page.evaluate(color) != light
    page.locator(".board a", has_text="good").first.click()
    sheet = page.locator("details.sheet[open]")
    assert sheet.locator("h3").first.inner_text() == "good"
    assert sheet.locator("img").first.evaluate("image => image.naturalWidth") == 240
    page.locator(".board").first.screenshot()
    assert board.quiet(), (board.said, board.asked)


def test_hostile_names_are_text(board: Opened) -> None:
    shown = board.page.locator(".board th.name bdi").all_inner_texts()
    assert set(shown) >= {*HOSTILE[:3], "left\\u202eright"}
    for sheet in board.page.locator("details.sheet summary").all():
        sheet.click()
    assert board.page.title().startswith("Leaderboard")
    assert board.quiet(), (board.said, board.asked)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_violation(browser: Browser, workdir: Path, tmp_path: Path, scheme: str) -> None:
    for text in (report(workdir), comparison(workdir, "demo/good", "demo/poor")):
        opened = Opened(browser, text, tmp_path)
        opened.page.emulate_media(color_scheme=scheme)
        if (sheet := opened.page.locator("details.sheet summary")).count():
            sheet.first.click()
        found = Axe().run(opened.page).response["violations"]
        assert [
            (each["id"], each["nodes"][0]["html"]) for each in found if each["impact"] in ("serious", "critical")
        ] == []
        opened.page.close()


def test_a_comparison_says_effect_interval_p_and_the_pairs(browser: Browser, workdir: Path, tmp_path: Path) -> None:
    opened = Opened(browser, comparison(workdir, "demo/good", "demo/poor"), tmp_path)
    lines = opened.page.locator(".effects tbody tr").all_inner_texts()
    assert [line.split("\t")[0] for line in lines] == [
        *("fw-lfw, points", "fw-cfp, points", "average, points", "FDR, %")
    ]
    assert "good is higher" in lines[0]
    assert opened.page.locator(".disagree").count() == 2
    assert "the store has not the faces" in opened.page.locator(".disagree").first.inner_text()
    assert opened.page.locator(".pairs figure").count() > 10
    opened.page.locator("#theme").click()
    assert opened.quiet(), (opened.said, opened.asked)
    opened.page.close()
