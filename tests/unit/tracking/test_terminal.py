"""The terminal display: few lines, each of them useful, and the leaderboard at the end."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pluggy
import pytest
from rich.console import Console

from harness import hookspecs
from harness.results import Result, StageRecord
from harness.tracking.terminal import MAX_CACHED_LINES, Terminal

Make = Callable[..., Result]
Put = Callable[[Result], Path]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Display:
    """A terminal plugin behind pluggy, with what it printed."""

    def __init__(self, terminal: bool = False) -> None:
        self.clock = Clock()
        self.err = Console(file=io.StringIO(), force_terminal=terminal, width=100, highlight=False)
        self.out = Console(file=io.StringIO(), width=160, highlight=False)
        manager = pluggy.PluginManager(hookspecs.PROJECT)
        manager.add_hookspecs(hookspecs)
        self.plugin = Terminal(self.err, self.out, self.clock)
        manager.register(self.plugin)
        manager.check_pending()
        self.hook = manager.hook

    @property
    def progress(self) -> str:
        return self.err.file.getvalue()  # type: ignore[attr-defined, no-any-return]

    @property
    def printed(self) -> str:
        return self.out.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def plan(stages: int = 2) -> Any:
    suite = SimpleNamespace(name="demo", seeds=[0])
    labels = [f"stage {number}" for number in range(stages)]
    return SimpleNamespace(suite=suite, resolved_yaml="", rows=["toy"], labels=labels)


def record(**more: Any) -> StageRecord:
    return StageRecord(**({"kind": "generate", "key": "k", "content": "c", "seconds": 75.2} | more))


def test_plain_lines_at_start_now_and_then_and_at_the_end(tmp_path: Path) -> None:
    display = Display()
    display.hook.suite_started(plan=plan(), workdir=tmp_path, missing=frozenset(), workers=1)
    for done in range(10_001):
        display.clock.now = done / 100
        display.hook.stage_progress(stage="generate toy", done=done, total=10_000, unit="images")
    display.hook.stage_finished(stage="generate toy", record=record(images=10_000, rejected=3))
    lines = display.progress.splitlines()
    assert lines[0] == f"demo: 1 row, 1 seed, 2 stages; in {tmp_path}"
    assert lines[1] == "generate toy: started"
    assert "generate toy: 2,000 of 10,000 images (20%), 100.0 images/s, 1 min 20 s left" in lines
    assert lines[-1] == "[1/2] generate toy: done in 1 min 15 s, 10,000 images, 3 rejected"
    assert 5 <= len(lines) <= 9


def test_a_fast_stage_gets_two_lines(tmp_path: Path) -> None:
    display = Display()
    display.hook.suite_started(plan=plan(), workdir=tmp_path, missing=frozenset(), workers=1)
    for done in range(101):
        display.clock.now = done / 100
        display.hook.stage_progress(stage="train", done=done, total=100, unit="steps")
    display.hook.stage_finished(stage="train", record=record(seconds=1.0))
    assert display.progress.splitlines()[1:] == ["train: started", "[1/2] train: done in 1.0 s"]


def test_a_thousand_cached_stages_are_counted(tmp_path: Path) -> None:
    display = Display()
    display.hook.suite_started(plan=plan(1000), workdir=tmp_path, missing=frozenset(), workers=1)
    for number in range(1000):
        display.hook.stage_finished(stage=f"stage {number}", record=record(cached=True))
    display.hook.suite_finished(plan=plan(1000), workdir=tmp_path, results=[])
    assert len(display.progress.splitlines()) == MAX_CACHED_LINES + 3
    assert "960 more stages were cached" in display.progress
    assert "cached, made in 1 min 15 s" in display.progress
    assert display.printed == ""


@pytest.mark.parametrize("total", [100, 0])
def test_bars_on_a_terminal(tmp_path: Path, total: int) -> None:
    display = Display(terminal=True)
    display.hook.suite_started(plan=plan(), workdir=tmp_path, missing=frozenset(), workers=1)
    for done in (0, 10, 20):
        display.hook.stage_progress(stage="fit ldm", done=done, total=total, unit="steps")
    assert display.plugin._progress is not None
    display.plugin._progress.refresh()
    assert "fit ldm" in display.progress
    assert ("20/100" in display.progress) == (total == 100)
    display.hook.stage_finished(stage="fit ldm", record=record())
    display.hook.stage_progress(stage="another", done=0, total=total, unit="steps")
    display.hook.suite_finished(plan=plan(), workdir=tmp_path, results=[])
    assert "[1/2] fit ldm: done in 1 min 15 s" in display.progress
    assert display.progress.count("\x1b[?25h") == 1  # the cursor is back


def test_the_end_shows_the_board_and_where_things_are(tmp_path: Path, workdir: Path, make: Make, put: Put) -> None:
    display = Display()
    results = [make(), make("broken", status="failed", error="no faces\nlong story", metrics=[], figures=[])]
    display.hook.suite_started(plan=plan(), workdir=workdir, missing=frozenset(), workers=1)
    for result in results:
        display.hook.row_finished(result=result, folder=put(result))
    display.clock.now = 12.0
    display.hook.suite_finished(plan=plan(), workdir=workdir, results=results)
    assert "row broken, seed 0: FAILED: no faces\n" in display.progress
    assert "demo: 1 of 1 results, 1 failed, 12.0 s" in display.progress
    assert "80.0 ± 1.0 [78.0, 82.0]" in display.printed
    assert f"harness ui --workdir {workdir}" in display.printed
    assert str(workdir / "results/demo/toy/seed-0/scores.png") in display.printed
    assert "mlflow.db" in display.printed


def test_a_damaged_file_does_not_hide_the_end(workdir: Path, make: Make, put: Put) -> None:
    display = Display()
    (put(make()) / "results.json").write_text("{")
    display.hook.suite_started(plan=plan(), workdir=workdir, missing=frozenset(), workers=1)
    display.hook.suite_finished(plan=plan(), workdir=workdir, results=[make()])
    assert "no leaderboard: " in display.progress
    assert "harness ui" in display.printed


def test_the_next_phase_of_a_stage_counts_anew() -> None:
    display = Display()
    display.hook.suite_started(plan=plan(), workdir=Path("runs"), missing=frozenset(), workers=1)
    for done, unit in (
        (0, "autoencoder steps"),
        (90, "autoencoder steps"),
        (0, "denoiser steps"),
        (30, "denoiser steps"),
    ):
        display.hook.stage_progress(stage="model ldm", done=done, total=100, unit=unit)
        display.clock.now += 30.0
    assert "90 of 100 autoencoder steps" in display.progress
    assert "30 of 100 denoiser steps" in display.progress


def test_names_are_text(workdir: Path, make: Make, put: Put) -> None:
    display = Display()
    display.hook.suite_started(plan=plan(), workdir=workdir, missing=frozenset(), workers=1)
    display.hook.stage_progress(stage="fit \x1b[2J\n[red]x", done=0, total=9, unit="steps")
    display.hook.stage_warned(stage="a\u202e", text="b\x9bc\nd")
    result = make("toy", status="failed", error="\x1b]0;owned\x07\nmore", metrics=[], figures=[])
    display.hook.row_finished(result=result, folder=put(result))
    assert r"fit \x1b[2J\n[red]x: started" in display.progress
    assert r"a\u202e: WARNING: b\x9bc\nd" in display.progress
    assert r"FAILED: \x1b]0;owned\x07" in display.progress
    assert display.progress.replace("\n", "").isprintable()


def test_bars_show_names_as_they_are() -> None:
    display = Display(terminal=True)
    display.hook.suite_started(plan=plan(), workdir=Path("runs"), missing=frozenset(), workers=1)
    display.hook.stage_progress(stage="fit \x1b[2J\x07", done=1, total=9, unit="steps")
    display.hook.suite_finished(plan=plan(), workdir=Path("runs"), results=[])
    assert r"fit \x1b[2J\x07" in display.progress
    assert "\x1b[2J" not in display.progress


class Gone(io.StringIO):
    """An output that cannot be written to."""

    def __init__(self, error: OSError) -> None:
        super().__init__()
        self.error = error

    def write(self, text: str) -> int:
        """Fail."""
        raise self.error


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), BrokenPipeError(32, "Broken pipe")])
def test_an_output_that_fails_does_not_end_a_run(error: OSError, workdir: Path, make: Make, put: Put) -> None:
    consoles = [Console(file=Gone(error), width=100) for _ in range(2)]
    consoles[0].on_broken_pipe = consoles[1].on_broken_pipe = lambda: None  # type: ignore[method-assign]
    terminal = Terminal(*consoles)
    result = make()
    put(result)
    terminal.suite_started(plan(), workdir, frozenset(), 1)
    terminal.stage_progress("fit", 1, 2, "steps")
    terminal.row_finished(result, workdir)
    terminal.suite_finished(plan(), workdir, [result])


@pytest.mark.parametrize("shell", ["| head -1", ">&-", "2>&-", "2>&1 | head -1", ">/dev/full"])
def test_a_run_whose_reader_goes_away_ends_as_it_would(shell: str, workdir: Path, make: Make, put: Put) -> None:
    put(make())
    code = f"""
from pathlib import Path
from types import SimpleNamespace
from harness.results import iterate_results
from harness.tracking.terminal import Terminal
workdir = Path({str(workdir)!r})
results = [result for _, result in iterate_results(workdir)]
plan = SimpleNamespace(suite=SimpleNamespace(name="demo", seeds=[0]), rows=["toy"], labels=["stage"])
terminal = Terminal()
terminal.suite_started(plan, workdir, frozenset(), 1)
for _ in range(2000):
    terminal.stage_warned("stage", "much to say, so that a pipe is full" * 10)
terminal.suite_finished(plan, workdir, results)
(workdir / "whole").touch()
"""
    command = ["bash", "-o", "pipefail", "-c", f'"$@" {shell}', "bash", sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (workdir / "whole").exists(), done.stderr
    assert "Traceback" not in done.stderr
