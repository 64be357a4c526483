"""What the system refuses is one line; a reader that has seen enough is no error."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner

from harness.cli import main

TINY = Path(__file__).parents[2] / "suites" / "tiny.yaml"


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("in the way")
    done = CliRunner().invoke(main, ["run", str(TINY), "--workdir", str(tmp_path)])
    assert done.exit_code == 1
    last = done.output.splitlines()[-1]
    assert last.startswith("error: ")
    assert "results" in last
    assert last.endswith("; what was finished is kept")


def test_a_closed_pipe_is_quiet() -> None:
    command = [str(Path(sys.executable).parent / "harness"), "components"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert "error" not in process.stderr.read().lower()
    process.wait()
