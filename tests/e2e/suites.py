"""Runs of the tiny suite through the real command line, with real worker processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "tests" / "suites" / "tiny.yaml"


def command(*args: str) -> list[str]:
    """The command line as a user calls it."""
    return [str(Path(sys.executable).parent / "harness"), *args]


def environment(workdir: Path) -> dict[str, str]:
    """This process's environment with its own workdir and no tracking server."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    return {**kept, "HARNESS_WORKDIR": str(workdir)}


def run_suite(workdir: Path, *args: str, suite: Path = TINY) -> subprocess.CompletedProcess[str]:
    """Run a suite to its end."""
    done = subprocess.run(
        command("run", str(suite), *args),
        env=environment(workdir),
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def contents(workdir: Path) -> dict[tuple[str, str], str]:
    """The content digest of every artifact in a store."""
    manifests = [json.loads(path.read_text()) for path in (workdir / "store").glob("*/*/manifest.json")]
    return {(made["kind"], made["key"]): made["content"] for made in manifests}
