"""A generation that is killed goes on at its last whole shard, and ends with the same images."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.graph import GenerateStage
from harness.stages.images import SHARD_ITEMS
from harness.stages.phases import run_phase
from harness.store.artifacts import Store

PER_IDENTITY = 16
IDENTITIES = 3 * SHARD_ITEMS // PER_IDENTITY - 1  # two whole shards and one that is not full
TOY: dict[str, Any] = {
    "key": "t",
    "label": "generate",
    "component": "toy",
    "target": "harness.testing.toy:Toy",
    "settings": {"size_px": 16},
    "identities": IDENTITIES,
    "per_identity": PER_IDENTITY,
}
# Draws shard after shard until it is killed, half way through the second one.
WORK = """
import os, signal, sys
from pathlib import Path
from harness.stages.phases import run_phase
from harness.graph import GenerateStage

def emit(kind, data):
    if index == 1 and 0 < data.get("done", 0) < data["total"]:
        os.kill(os.getpid(), signal.SIGKILL)

stage, index = GenerateStage(**eval(sys.argv[2])), 0
folder = Path(sys.argv[1])
for index in run_phase(stage, "prepare", 0, folder, "cpu", emit, lambda: False)["value"]["missing"]:
    run_phase(stage, "shard", index, folder, "cpu", emit, lambda: False)
"""


@pytest.fixture(autouse=True)
def _arithmetic() -> Iterator[None]:
    """Give back what a worker sets for its whole process."""
    import torch

    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)


def phase(folder: Path, name: str, index: int = 0) -> Any:
    return run_phase(GenerateStage(**TOY), name, index, folder, "cpu", lambda *event: None, lambda: False)["value"]


def files(folder: Path) -> dict[str, tuple[int, bytes]]:
    """The shards that are there, with the time of their writing."""
    shards = (Store(folder).building("generate", "t") / "shards").glob("*.parquet")
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in shards}


def test_killed_in_a_shard_and_started_again(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", WORK, str(tmp_path / "killed"), repr(TOY)], check=False)
    assert killed.returncode == -signal.SIGKILL
    before = files(tmp_path / "killed")
    assert list(before) == ["00000.parquet"], "the shard that was under way is not whole, so it is not there"
    again = phase(tmp_path / "killed", "prepare")
    assert again["missing"] == [1, 2]
    for index in again["missing"]:
        phase(tmp_path / "killed", "shard", index)
    after = files(tmp_path / "killed")
    assert after["00000.parquet"] == before["00000.parquet"], "a whole shard is not drawn again"
    for index in phase(tmp_path / "whole", "prepare")["missing"]:
        phase(tmp_path / "whole", "shard", index)
    assert {name: data for name, (_, data) in after.items()} == {
        name: data for name, (_, data) in files(tmp_path / "whole").items()
    }
    assert phase(tmp_path / "killed", "finish") == phase(tmp_path / "whole", "finish")
