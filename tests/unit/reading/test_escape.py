"""What files and plugins call things is text wherever it is shown, and no output loses a board."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from harness.errors import DataError, InputError
from harness.reading import against_tables, comparison_tables, formats, output, tables
from harness.reading.against import compare_against
from harness.reading.comparison import compare
from harness.reading.escape import csv_value, json_text, markdown_text, picture_text, visible
from harness.reading.leaderboard import load

HOSTILE = {
    "esc": "\x1b]0;owned\x07\x1b[2J",
    "line": "first\nsecond\r",
    "bidi": "a\u202eb\u2066",
    "csi": "\x9b31m",
    "half": "\ud800",
    "html": "<script>alert(1)</script><img src=x>",
    "pipe": "a|b",
    "link": "[here](http://evil)",
    "rich": "[bold red]x[/] :smile:",
    "math": "$\\frac{1}{$",
    "formula": "=HYPERLINK(1)",
}
HIDDEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\u2028\u2029\ud800-\udfff]")


def document(row: str, seed: int, name: str, **more: Any) -> dict[str, Any]:
    """A result file as JSON, by hand."""
    common = {"n": 2000, "headline": True}
    metrics = [
        {"name": f"{name}/accuracy", "title": name, "value": 0.8 + seed / 100, "protocol": "p", "note": name}
        | common | {"unit": "fraction", "better": "higher", "ranked": True},
        {"name": f"fid{name}", "title": f"fid {name}", "value": -1.5 + seed, "protocol": "q", **common},
    ]  # fmt: skip
    given = {
        "schema": 2, "suite": "demo", "row": row, "generator": name, "seed": seed, "status": "done",
        "dataset": {"identities": 10, "per_identity": 5, "images": 50}, "metrics": metrics, "stages": [],
        "warnings": [name], "shipped": [name], "recipe": "r", "started": 1.0, "finished": 2.0 + seed,
        "environment": {"harness": "0.1.0"}, "parameters": {"settings.word": f"{name}{row}"},
    }  # fmt: skip
    return given | more


def put(workdir: Path, *documents: dict[str, Any]) -> Path:
    """Write result files; the folders have plain names, whatever the files say."""
    for number, each in enumerate(documents):
        folder = workdir / "results" / "demo" / f"row{number}" / f"seed-{each['seed']}"
        folder.mkdir(parents=True)
        (folder / "results.json").write_text(json.dumps(each), encoding="utf-8")
    return workdir


def shown(render: Any, found: Any) -> str:
    console = Console(file=io.StringIO(), width=400, highlight=False, force_terminal=False)
    render(found, console)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize("kind", sorted(HOSTILE.keys() - {"half"}))
def test_a_board_is_text_in_every_format(tmp_path: Path, kind: str) -> None:
    name = HOSTILE[kind]
    failed = document(f"c{name}", 0, name, status="failed", error=name, metrics=[])
    rows = [document(f"{row}{name}", seed, name) for row in "ab" for seed in range(3)]
    board = load(put(tmp_path, *rows, failed))
    table, text = shown(tables.render, board), formats.to_markdown(board)
    for each in (table, text, formats.to_csv(board), formats.to_json(board)):
        assert not HIDDEN.search(each)
    assert "<script" not in text
    assert "<img" not in text
    assert "](http" not in text
    cells = [len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines() if line.startswith("| ")]
    assert len(set(cells)) <= 2  # one count of columns per table
    assert name not in table or kind in ("html", "pipe", "link", "rich", "math", "formula")
    if kind == "rich":
        assert name in table  # as it is written, without colors and pictures
    assert any(name in metric["title"] for metric in json.loads(formats.to_json(board))["rows"][0]["cells"])
    lines = list(csv.DictReader(io.StringIO(formats.to_csv(board))))
    assert {line["value"] for line in lines if line["metric"].startswith("fid")} == {"-0.5"}  # a number stays one
    if kind == "formula":
        assert {line["title"] for line in lines if line["title"].startswith("'")} == {f"'{name}"}


@pytest.mark.parametrize("kind", sorted(HOSTILE.keys() - {"half"}))
def test_comparisons_are_text_too(tmp_path: Path, kind: str) -> None:
    name = HOSTILE[kind]
    rows = [document(f"{row}{name}", seed, name) for row in "ab" for seed in range(3)]
    put(tmp_path, *rows)
    for seed in range(3):  # a comparison reads the files again, where the rows' names say
        for row in "ab":
            folder = tmp_path / "results" / "demo" / f"{row}{name}" / f"seed-{seed}"
            if "/" not in name:
                folder.mkdir(parents=True)
                (folder / "results.json").write_text(json.dumps(document(f"{row}{name}", seed, name)), encoding="utf-8")
    if "/" in name:
        return
    for number in range(6):
        for file in (tmp_path / "results" / "demo" / f"row{number}").rglob("results.json"):
            file.unlink()
    found, many = compare(tmp_path, f"a{name}", f"b{name}"), compare_against(tmp_path, f"a{name}")
    texts = [
        shown(comparison_tables.render, found),
        comparison_tables.to_markdown(found),
        comparison_tables.to_json(found),
    ]
    texts += [shown(against_tables.render, many), against_tables.to_markdown(many), against_tables.to_json(many)]
    assert not any(HIDDEN.search(text) for text in texts)
    assert against_tables.picture(many).startswith(b"\x89PNG")


def test_each_way_of_writing() -> None:
    assert visible("é 李 ± \x1b[0m\n\u202e\ud800\U000e0041") == r"é 李 ± \x1b[0m\n\u202e\ud800\U000e0041"
    assert markdown_text("a|b *c* <b> 1 < 2 & [x](y)\nz") == r"a\|b \*c\* &lt;b> 1 < 2 & [x]\(y)<br>z"
    assert [csv_value(value) for value in ("=1", "+1", "-1", "@a", "\ta", "a=1", -1, 1.5, None)] == [
        "'=1", "'+1", "'-1", "'@a", "'\ta", "a=1", -1, 1.5, None
    ]  # fmt: skip
    text = json.dumps({"a": "\x9b\u202e\ud800é\U000e0041"}, ensure_ascii=False)
    assert json.loads(json_text(text)) == json.loads(text)
    assert json_text(text).isprintable()
    assert picture_text("$x$ \x1b") == r"\$x\$ \x1b"


# Damaged files


def test_one_damaged_file_is_named_and_the_others_are_shown(tmp_path: Path) -> None:
    put(tmp_path, *(document(row, seed, "lfw") for row in "ab" for seed in range(3)))
    for row, data in (("row1", b"{"), ("row4", b"\xff"), ("row5", b"[" * 100_000)):
        next((tmp_path / "results" / "demo" / row).rglob("results.json")).write_bytes(data)
    board = load(tmp_path)
    assert {row.name: row.seeds for row in board.rows} == {"a": (0, 2), "b": (0,)}
    assert len(board.damaged) == 3
    for text in (shown(tables.render, board), formats.to_markdown(board), formats.to_json(board)):
        assert text.count("DAMAGED, left out: ") == 3
        assert "row1/seed-1/results.json" in text
    done = leaderboard(tmp_path, "--format", "csv")
    assert done.returncode == 0
    assert done.stderr.count("warning: ") == 3
    assert "row1/seed-1/results.json" in done.stderr
    assert done.stdout.startswith("origin,")


def test_only_damaged_files_are_an_error(tmp_path: Path) -> None:
    put(tmp_path, document("a", 0, "lfw"), document("b", 0, "lfw"))
    for file in tmp_path.rglob("results.json"):
        file.write_text("{")
    with pytest.raises(DataError, match=r"row0/seed-0/results.json: not a result file .*; 1 more are damaged"):
        load(tmp_path)


def test_a_comparison_names_what_is_damaged(tmp_path: Path) -> None:
    for row in "abc":
        for seed in range(3):
            folder = tmp_path / "results" / "demo" / row / f"seed-{seed}"
            folder.mkdir(parents=True)
            (folder / "results.json").write_text(json.dumps(document(row, seed, "lfw")))
            if row == "c":
                (folder / "results.json").write_text("{")
    found = compare(tmp_path, "a", "b")
    assert sum("c/seed-1/results.json" in note for note in found.notes) == 1
    assert any("c/seed-1/results.json" in note for note in compare_against(tmp_path, "a").notes)
    with pytest.raises(InputError, match=r"unknown row 'c', expected one of a, b.*; damaged: .*c/seed-0/results.json"):
        compare(tmp_path, "a", "c")


@pytest.mark.parametrize("text", ["- a", "a: &a [*a]", "a: [", "\xff"])
def test_a_damaged_suite_file_is_one_line(tmp_path: Path, text: str) -> None:
    for row in "ab":
        for seed in range(3):
            folder = tmp_path / "results" / "demo" / row / f"seed-{seed}"
            folder.mkdir(parents=True)
            (folder / "results.json").write_text(json.dumps(document(row, seed, "lfw")))
    path = tmp_path / "results" / "demo" / "suite.yaml"
    path.write_text(text, encoding="latin-1")
    with pytest.raises((DataError, InputError)) as caught:
        compare(tmp_path, "a", "b")
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


# Poor and closed outputs


def leaderboard(workdir: Path, *args: str, shell: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "harness", "leaderboard", "--workdir", str(workdir), *args]
    given = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHONUTF8"))}
    if shell:
        command = ["bash", "-o", "pipefail", "-c", f'"$@" {shell}', "bash", *command]
    return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, env=given | env)


@pytest.mark.parametrize("format_", ["table", "markdown", "json", "csv"])
@pytest.mark.parametrize(
    "env",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
        {"LANG": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        {"LC_ALL": "C"},
    ],
    ids=str,
)
def test_a_poor_encoding_loses_no_board(tmp_path: Path, format_: str, env: dict[str, str]) -> None:
    put(tmp_path, *(document(row, seed, "李 ±") for row in "ab" for seed in range(3)))
    done = leaderboard(tmp_path, "--format", format_, **env)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "0.810" in done.stdout or "81.0" in done.stdout or "0.81" in done.stdout


@pytest.mark.parametrize("format_", ["table", "json"])
def test_a_reader_that_goes_away_ends_it_quietly(tmp_path: Path, format_: str) -> None:
    put(tmp_path, *(document(f"row-{n}", seed, f"metric-{n}") for n in range(60) for seed in range(3)))
    done = leaderboard(tmp_path, "--format", format_, shell="| head -1")
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1


def test_a_closed_output_is_no_fault(tmp_path: Path) -> None:
    put(tmp_path, document("a", 0, "lfw"))
    for closed in (">&-", "2>&-", ">&- 2>&-"):
        done = leaderboard(tmp_path, shell=closed)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("columns", ["", "0", "-5", "²", "9" * 5000])
def test_odd_widths(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert output.file_width() == output.FILE_WIDTH
