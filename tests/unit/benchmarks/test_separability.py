"""The benchmark of separability runs, and what it compares is the same report."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "perf" / "separability.py"


def test_it_runs_and_both_ways_give_the_same_report(capsys: pytest.CaptureFixture[str]) -> None:
    spec = importlib.util.spec_from_file_location("perf_separability", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    module.main(["--small"])
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    table = {row[0]: row[1:] for row in rows if row}
    assert table["lists and pyeer"][1] == f"{600 * 599 // 2:,}"
    assert table["counted, all told"][1] == f"{3000 * 2999 // 2:,}"
    for name in module.SHOWN:
        exact, counted, _, interval = table[name]
        assert float(counted) == pytest.approx(float(exact), abs=1e-3 if name in ("eer", "fmr100", "fmr1000") else 2e-6)
        low, high = (float(value) for value in interval.split(" to "))
        assert low <= high
    assert float(table["eer"][0]) > 0
