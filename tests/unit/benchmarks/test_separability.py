"""The benchmark of separability runs, and what it compares is the same report."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest


def test_it_runs_and_both_ways_give_the_same_report(
    load_script: Callable[[str], ModuleType], capsys: pytest.CaptureFixture[str]
) -> None:
    module = load_script("perf/separability.py")
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
