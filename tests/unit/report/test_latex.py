"""The board as LaTeX: balanced, escaped, and bold only where rows differ by more than chance."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from rows import put

from harness.cli.leaderboard import leaderboard
from harness.reading.leaderboard import Board, load
from harness.report.latex import tex, to_latex

COLUMNS = 5  # the row, two accuracies, their mean, FDR


@pytest.fixture
def board(tmp_path: Path) -> Board:
    """Two rows with equal ranks and one that is clearly worse, of three seeds; and one that failed."""
    for row, accuracy in (("good", 0.9), ("good_too", 0.9), ("bad", 0.6)):
        for seed in range(3):
            put(tmp_path, row, seed, accuracy)
    odd = r"50% & $x_1^2$ #{a}~\up [b]"
    put(tmp_path, odd, 0, 0.5, folder="odd", status="failed", error="no % luck", metrics=[])
    return load(tmp_path, "demo")


def ranked(board: Board, metric: str, letters: dict[str, str]) -> Board:
    """The board with other ranks of a metric."""
    rows = []
    for row in board.rows:
        if metric in row.cells:
            cell = replace(row.cells[metric], rank=letters[row.name])
            row = replace(row, cells={**row.cells, metric: cell})
        rows.append(row)
    return replace(board, rows=tuple(rows))


def cells(text: str, row: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.strip().startswith(f"{tex(row)} &"))
    return [cell.strip() for cell in re.split(r"(?<!\\)&", line.strip().removesuffix(r"\\"))]


def test_bold_is_the_best_group_where_another_row_is_outside(board: Board) -> None:
    text = to_latex(board)
    assert cells(text, "good")[1].startswith(r"\textbf{")
    assert cells(text, "good_too")[1].startswith(r"\textbf{")
    assert not cells(text, "bad")[1].startswith(r"\textbf{")


@pytest.mark.parametrize(
    ("letters", "bold"),
    [
        ({"good": "a", "good_too": "ab", "bad": "b"}, ["good"]),  # the one between differs from nobody
        ({"good": "a", "good_too": "a", "bad": "a"}, []),
        ({"good": "a", "good_too": "b", "bad": "c"}, ["good"]),
        ({"good": "a", "good_too": "", "bad": ".a"}, ["good"]),  # untested; the 53rd letter is not the first
    ],
)
def test_bold_follows_the_letters(board: Board, letters: dict[str, str], bold: list[str]) -> None:
    text = to_latex(ranked(board, "fw-lfw/accuracy", letters))
    assert [row for row in letters if r"\textbf" in cells(text, row)[1]] == bold


def test_the_table_is_balanced_and_every_line_has_all_columns(board: Board) -> None:
    text = to_latex(board)
    body = [line for line in text.splitlines() if not line.startswith("%")]
    opened = re.findall(r"\\(begin|end)\{(\w+)\}", "\n".join(body))
    assert opened == [("begin", "table"), ("begin", "tabular"), ("end", "tabular"), ("end", "table")]
    assert [line.strip() for line in body if "rule" in line] == [r"\toprule", r"\midrule", r"\bottomrule"]
    plain = re.sub(r"\\[{}]", "", "\n".join(body))
    assert plain.count("{") == plain.count("}")
    assert plain.count("$") % 2 == plain.count(r"\$") % 2
    lines = [line for line in body if line.endswith(r"\\")]
    assert len(lines) == 1 + len(board.rows)
    assert {len(re.findall(r"(?<!\\)&", line)) for line in lines} == {COLUMNS - 1}
    assert "l" + "r" * (COLUMNS - 1) in text


def test_a_number_has_both_intervals_and_a_failed_row_says_so(board: Board) -> None:
    assert re.fullmatch(r"\\textbf\{[\d.]+\} \$\\pm\$ [\d.]+ \[[\d.]+, [\d.]+\]", cells(to_latex(board), "good")[1])
    assert set(cells(to_latex(board), board.rows[-1].name)[1:]) == {"failed"}


def test_no_character_of_a_name_has_a_meaning() -> None:
    assert tex(r"a_b & 50% $#{}[") == r"a\_b \& 50\% \$\#\{\}{[}"
    named = r"\textasciitilde{}\textasciicircum{}\textbackslash{}\textless{}\textgreater{}\textbar{}"
    assert tex(r"~^\<>|") == named
    assert "\n" not in tex("a\nb")


def test_published_rows_have_no_place_in_it(tmp_path: Path) -> None:
    put(tmp_path, "one", 0, 0.9)
    args = ["--format", "latex", "--workdir", str(tmp_path)]
    assert CliRunner().invoke(leaderboard, args).output.count("tabular") == 2
    done = CliRunner().invoke(leaderboard, [*args, "--published"])
    assert done.exit_code == 2
    assert "--format latex has no published rows" in done.output


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_it_compiles(board: Board, tmp_path: Path) -> None:
    page = r"\documentclass{article}\usepackage{booktabs}\begin{document}" + to_latex(board) + r"\end{document}"
    (tmp_path / "page.tex").write_text(page)
    command = ["pdflatex", "-halt-on-error", "page.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
