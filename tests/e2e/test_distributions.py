"""Images of authentic contexts meet the people whose contexts they are, through the whole run."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from suites import run_suite

Tiny = tuple[Path, subprocess.CompletedProcess[str]]


def test_images_are_compared_with_the_person_of_their_context(tiny: Tiny, tmp_path: Path) -> None:
    workdir = Path(shutil.copytree(tiny[0], tmp_path / "copy"))  # other tests count what lies in the shared one
    law = "dataset.contexts={use: authentic, source: world, recognizer: cond}"
    judging = "evaluate=[{use: distributions, judge: judge, source: world}]"
    changes = [part for each in ("name=people", law, judging) for part in ("--set", each)]
    run_suite(workdir, "--only", "idiffface", *changes)
    people = [pool for path in (workdir / "store/contexts").glob("*/pool.parquet") if "person" in (pool := read(path))]
    assert len(people) == 1
    person = people[0]["person"]
    assert len(set(person)) == len(person) == 12
    folder = workdir / "results/people/idiffface/seed-0"
    pairs = read(folder / "tables/distributions-cross-pairs.parquet")
    assert ((person[pairs["identity_a"]] == pairs["identity_b"]) == pairs["same"]).all()
    scores = np.loadtxt(folder / "tables/distributions-cross-genuine.txt")
    assert (scores == pairs["score"][pairs["same"]]).all()
    assert (folder / "figures/distributions-variation.png").exists()


def read(path: Path) -> dict[str, np.ndarray]:
    table = pq.read_table(path)
    return {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names if name != "context"}
