"""Help and lists answer at once: they import nothing heavy."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

# Imported by some stage or command, and slow.
HEAVY = {"torch", "torchvision", "mlflow", "facenet_pytorch", "pandas", "scipy", "sklearn", "matplotlib"}
CODE = """
import sys
from harness.cli import main
try:
    main(sys.argv[1:], standalone_mode=False)
finally:
    print(*sys.modules, file=sys.stderr)
"""
# The aim is half a second on an idle machine; this is processor time, on machines that differ by 1.6.
LIMIT_S = 1.0


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", CODE, *arguments], capture_output=True, text=True, timeout=120, check=True
    )


@pytest.mark.parametrize(
    "command",
    [
        "--help",
        "plugins",
        "plugins --json",
        "components",
        "run --help",
        "plan --help",
        "leaderboard --help",
        "compare --help",
        "ui --help",
    ],
)
def test_nothing_heavy_is_imported(command: str) -> None:
    done = run(*command.split())
    assert done.stdout
    assert not HEAVY & set(done.stderr.split())


@pytest.mark.parametrize("command", ["--help", "plugins"])
def test_it_answers_at_once(command: str) -> None:
    def seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        run(command)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(3)) < LIMIT_S
