"""Every fenced block of the documentation is of a kind that a test checks, or is listed with a reason.

Commands are read by click, options and values included, and those that cost little are run; suites, and fragments in a
whole one (``pages``), are planned; Python is executed, but for calls of the tool. Blocks that name a file
belong to a page that is followed as a whole.
"""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner
from console import check_harness, command_lines
from pages import Block, blocks, whole_suite, write_stand_ins
from rows import put
from suites import ROOT, run_suite
from suites import write as write_suite

import harness
from harness.cli import main
from harness.planning.planner import plan_suite
from harness.plugins import COMPONENT_KINDS, registry
from harness.suites.read import load_suite
from harness.suites.schema import Entry

DOCS = ROOT / "docs"
PATTERNS = ("docs/**/*.md", "plugins/*/README.md", "benchmarks/**/*.md", "*.md")
PAGES = sorted(page for pattern in PATTERNS for page in ROOT.glob(pattern))
GENERATED = {DOCS / "commands.md"}  # its blocks are the commands' own help
RECORDS = {DOCS / "decisions.md", ROOT / "CHANGELOG.md"}  # what they name may be gone
# Pages that are followed as a whole, with the tests that do it.
FOLLOWED = {
    DOCS / "writing-a-plugin.md": "tests/packaging/test_stranger.py",
    DOCS / "writing-a-recognizer.md": "tests/packaging/test_recognizer_page.py",
    DOCS / "tutorials" / "your-dataset.md": "tests/unit/docs/test_examples.py",
}
# Blocks that nothing can run: page, how they begin, and why.
TOLD = [
    ("docs/comparing-methods.md", "V_people = variance", "a formula"),
    ("docs/comparing-methods.md", "V_people = q (2", "a formula"),
    ("docs/data-formats.md", "error: evil.bin", "what a command says"),
    ("docs/data-formats.md", "protocol lfw (folder-pairs)", "what a command says"),
    ("docs/evaluators/distributions.md", "geteerinf -p tables", "another tool's command, run by test_distributions.py"),
    ("docs/published-weights.md", "error: backbone.pth", "what a command says"),
    ("docs/published-weights.md", "error: ema.ckpt", "what a command says"),
    ("docs/tutorials/your-dataset.md", "faces/", "a folder"),
    ("docs/tutorials/cluster.md", "#!/bin/bash", "a script of Slurm, which tests do not have"),
    ("benchmarks/faceworld-evaluation/README.md", "leaked: 50 of 50", "what a command says"),
    ("benchmarks/id3-table/README.md", "missing", "what a command says"),
    ("benchmarks/idiffface-table/README.md", "missing", "what a command says"),
    ("benchmarks/negfacediff-table/README.md", "missing", "what a command says"),
]
COMMANDS = ("harness", "make", "pip", "pytest", "python", "mlflow", "export", "cd")
# Run in the folder of the fixture `reader`, with the exit statuses that are right there.
QUICK = {
    "plan suite.yaml": {0},
    "init": {0},
    "components": {0},
    "leaderboard": {0},
    "compare": {0},
    "report": {0},
    "data inspect faces": {0},
    "data check faces": {0, 1},  # 1: the drawn faces are no crops
    "data check data/lfw.bin": {0, 1},
}
SYNOPSIS = {"--workdir", "NAME", "FILE.png", "mine/a"}  # of commands with these, the pages speak in general

ALL = [block for page in PAGES if page not in GENERATED for block in blocks(page)]
SHRUNK = ("count=2_000", "count=20")  # pairs that a page draws
NAMED = re.compile(r"^(yaml|python|toml) (\S+\.\w+)( \(continued\))?$")


def place(page: Path) -> str:
    return str(page.relative_to(ROOT))


def kind(block: Block) -> str:
    """What a block is: file, suite, python, commands, or nothing that is checked."""
    if NAMED.match(block.info):
        return "file"
    if block.language in ("yaml", "python"):
        return "suite" if block.language == "yaml" else "python"
    first = block.text.split(maxsplit=1)[0]
    return "commands" if block.language == "bash" or (not block.language and first in COMMANDS) else ""


def sentences(page: Path) -> str:
    """A page without its blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def is_told(block: Block, page: str, start: str) -> bool:
    return place(block.page) == page and block.text.lstrip().startswith(start)


def of(wanted: str) -> list[Block]:
    return [block for block in ALL if kind(block) == wanted]


def test_every_block_is_checked_or_has_a_reason() -> None:
    others = of("")
    unknown = [str(block) for block in others if not any(is_told(block, page, start) for page, start, _ in TOLD)]
    assert not unknown, "write the language behind the fence, or list the block in TOLD with a reason"
    assert not [(page, start) for page, start, _ in TOLD if not any(is_told(block, page, start) for block in others)]


def test_pages_that_name_files_are_followed() -> None:
    for block in of("file"):
        assert block.page in FOLLOWED, f"{block} names a file"
    for test in FOLLOWED.values():
        assert (ROOT / test).is_file()


# --- commands ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", of("commands"), ids=str)
def test_commands_exist(block: Block) -> None:
    for words in command_lines(block.text):
        if words[0] == "harness":
            check_harness(words[1:])
        elif words[0] == "make":
            assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        elif words[0] == "python":
            assert (ROOT / words[1]).is_file()
        elif words[0] == "pip":
            assert words[1] == "install"
            place = words[3].partition("[")[0] if words[2] == "-e" else "."
            assert place == "." or (ROOT / place).exists()
        else:
            assert words[0] in COMMANDS


@pytest.mark.parametrize("page", sorted(set(PAGES) - RECORDS), ids=place)
def test_commands_within_sentences_exist(page: Path) -> None:
    for found in re.findall(r"`harness ([^`]+)`", sentences(page)):
        for words in command_lines(" ".join(found.split())):
            if words[0] != "COMMAND":
                check_harness(words, whole=False)


@pytest.mark.parametrize(
    "line",
    [
        "leaderbord",
        "leaderboard --sute x",
        "leaderboard --format pdf",
        "run",
        "run suite.yaml other.yaml",
        "data look x",
        "ui --port many",
    ],
)
def test_the_check_of_commands_finds(line: str) -> None:
    with pytest.raises(click.UsageError):
        check_harness(line.split(" "))


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a reader has it: a suite, faces, benchmarks, and results of suites whose rows the pages compare."""
    folder = tmp_path_factory.mktemp("reader")
    write_suite(folder)
    write_stand_ins(folder)
    for seed in range(3):
        for row, accuracy in (("authentic", 0.9), ("idiffface", 0.8), ("negfacediff", 0.81), ("mine", 0.7)):
            put(folder / "runs", row, seed, accuracy, suite="mine")
        for row in "ABC":
            put(folder / "runs", row, seed, 0.8, suite="mine")
        for suite in ("first", "second"):
            put(folder / "runs", "id3", seed, 0.85, suite=suite)
    table = CliRunner().invoke(main, ["results", "--workdir", str(folder / "runs")]).stdout_bytes
    (folder / "results.parquet").write_bytes(table)
    return folder


def quick(words: list[str]) -> set[int] | None:
    """The right exit statuses of a command that is run; None for the others, and for a synopsis."""
    line = " ".join(words[1:])
    found = [statuses for start, statuses in QUICK.items() if f"{line} ".startswith(f"{start} ")]
    return found[0] if words[0] == "harness" and found and not SYNOPSIS & set(re.split(r"[ |]", line)) else None


RUN = [
    pytest.param(words, id=" ".join(words))
    for block in of("commands")
    for words in command_lines(block.text)
    if quick(words) is not None
]


@pytest.mark.parametrize("words", RUN)
def test_quick_commands_do_what_they_say(
    words: list[str], reader: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path if words[1] == "init" else reader)  # which has a suite already
    monkeypatch.delenv("HARNESS_WORKDIR", raising=False)
    done = CliRunner().invoke(main, words[1:])
    assert done.exit_code in (quick(words) or ()), done.output[-2000:]
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info


# --- suites -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", of("suite"), ids=str)
def test_suites_plan(block: Block, reader: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_DATA", str(reader / "data"))
    path = reader / "planned.yaml"
    path.write_text(yaml.safe_dump(whole_suite(block), sort_keys=False), encoding="utf-8")
    suite = load_suite(path)
    assert plan_suite(suite, path).rows


@pytest.mark.parametrize("page", sorted(set(PAGES) - RECORDS), ids=place)
def test_entries_within_sentences_exist(page: Path) -> None:
    """``{use: NAME, ...}`` and ``{fit: NAME, ...}`` name a component, and keys of the suite or settings of its own."""
    for found in re.findall(r"`(\{(?:use|fit): [^`]+\})`", sentences(page)):
        entry = yaml.safe_load(" ".join(found.split()))
        name = entry.get("use") or entry["fit"]
        classes = [registry().load(kind, name) for kind in COMPONENT_KINDS if name in registry().names[kind]]
        assert classes, found
        schemas = [cls.schema(stage) for cls in classes for stage in ("fit", "generate")]
        known = {key for schema in [*Entry.__subclasses__(), *schemas] for key in schema.model_fields}
        assert {*entry, *entry.get("settings", {})} <= known, found


# --- Python -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", sorted({block.page for block in of("python")}), ids=place)
def test_python_runs(page: Path, reader: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page's blocks run one after another, but for calls of the tool, whose arguments are compared."""
    monkeypatch.chdir(reader)
    names: dict[str, object] = {"__name__": "page"}
    for block in of("python"):
        if block.page != page:
            continue
        tree = ast.parse(block.text.replace(*SHRUNK), str(block))
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        calls = [call for call in calls if ast.unparse(call.func).startswith("harness.")]
        for call in calls:
            function = getattr(harness, ast.unparse(call.func).removeprefix("harness."))
            inspect.signature(function).bind(*call.args, **{word.arg: word.value for word in call.keywords if word.arg})
        if not calls:
            exec(compile(tree, str(block), "exec"), names)


# --- pages that are followed ------------------------------------------------------------------------------------------

TUTORIAL = DOCS / "tutorials" / "your-dataset.md"


@pytest.fixture
def followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of somebody who has drawn the faces of the tutorial and written its suite."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HARNESS_WORKDIR", raising=False)
    for block in blocks(TUTORIAL):
        if found := NAMED.match(block.info):
            (tmp_path / found[2]).write_text(block.text, encoding="utf-8")
    exec(compile((tmp_path / "draw.py").read_text(encoding="utf-8"), "draw.py", "exec"), {"__name__": "__main__"})
    return tmp_path


def test_the_tutorial_of_a_dataset_can_be_followed(followed: Path) -> None:
    lines = [words for block in blocks(TUTORIAL) if block.info == "bash" for words in command_lines(block.text)]
    assert [words[1] for words in lines] == ["data", "data", "plan", "run", "leaderboard"]
    said = [CliRunner().invoke(main, words[1:]) for words in lines[:3]]
    assert re.search(r"folder, 112 images\nidentities +14 with 8 to 8 images", said[0].output), said[0].output
    assert "shift" in said[1].output, said[1].output  # drawn pictures are no crops, and the audit says so
    assert said[2].exit_code == 0, said[2].output
    assert "2 rows x 1 seeds" in said[2].output


@pytest.mark.slow
def test_the_tutorial_of_a_dataset_ends_on_a_board(followed: Path) -> None:
    run_suite(followed / "runs", suite=followed / "suite.yaml")
    board = harness.leaderboard(followed / "runs").to_frame()
    assert set(board[board["metric"] == "fw-lfw/accuracy"]["row"]) == {"mine", "other"}
