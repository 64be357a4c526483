"""Sampling many images takes no more memory than sampling few: shards are written and forgotten."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# A whole generate stage in one process, as a worker does it. Prints its peak resident memory in bytes.
STAGE = """
import resource, sys
from pathlib import Path

import pytest
from harness.builtin.unconditional import Unconditional
from harness.stages.phases import run_phase
from harness.components import Given
from harness.graph import GenerateStage
from harness.testing.latent import tiny_model

class Tiny(Unconditional):
    needs = frozenset()

    def sample(self, plan, given, run):
        return super().sample(plan, Given(model=tiny_model()), run)

sys.modules["tiny_plugin"] = sys.modules["__main__"]
folder, images = Path(sys.argv[1]), int(sys.argv[2])
size = {"identities": images // 20, "per_identity": 20}
stage = GenerateStage(key="k", component="tiny", target="tiny_plugin:Tiny", settings={"steps": 2}, **size)

def phase(name, index=0):
    return run_phase(stage, name, index, folder, "cpu", lambda *event: None, lambda: False)["value"]

for index in phase("prepare")["missing"]:
    phase("shard", index)
assert phase("finish")["counts"]["images"] == images
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""
FEW, MANY = 500, 5_000
IMAGE_BYTES = 32 * 32 * 3


def peak(folder: Path, images: int) -> int:
    """Peak resident memory of a process that samples so many images, in bytes."""
    command = [sys.executable, "-c", STAGE, str(folder), str(images)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return int(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_ten_times_the_images_take_no_more_memory(tmp_path: Path) -> None:
    few, many = peak(tmp_path / "few", FEW), peak(tmp_path / "many", MANY)
    assert many <= 1.1 * few
    # Most of a process is torch, so ten percent of it would hide a lot. Keeping all images adds 20 MB, this allows 11.
    assert many - few < 0.8 * (MANY - FEW) * IMAGE_BYTES
