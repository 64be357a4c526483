"""The benchmark of sampling speed runs, and what it compares is the same sampling."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "perf" / "sampling.py"


def test_it_runs_and_both_ways_give_the_same_images() -> None:
    done = subprocess.run([sys.executable, str(SCRIPT), "--small"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Equal steps: DDIM 4. Equal quality, by benchmarks/studies/sampler-steps: dpm-solver++ 2." in done.stdout
    rows = [line for line in done.stdout.splitlines() if line.startswith("|")]
    lines = [row.split("|") for row in rows if "DDIM 4" in row or "dpm-solver++ 2" in row]
    assert len(lines) == 2 * 5, "guided and unguided, five ways each"
    apart = [tuple(float(value) for value in line[6].split(",")) for line in lines]
    for plain, ours, rough, *fewer in (apart[:5], apart[5:]):
        assert plain == (0, 0)
        assert ours[0] <= 2, "equal steps in float32: rounding alone"
        assert ours[1] < rough[1], "bfloat16 is rougher, and its difference is printed"
        assert all(mean > rough[1] for _, mean in fewer)
