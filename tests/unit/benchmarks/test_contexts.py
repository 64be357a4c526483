"""The benchmark of contexts runs: anchors that descend, cones, and negatives that lie where their kind says."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest


def test_it_runs_and_shows_what_it_should(
    load_script: Callable[[str], ModuleType], capsys: pytest.CaptureFixture[str]
) -> None:
    module = load_script("perf/contexts.py")
    module.main(["--anchors", "100", "--contexts", "200", "--width", "32", "--iterations", "20"])
    out = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in out.splitlines()]
    table = {row[0]: row[1:] for row in rows if row}
    assert float(table["20"][0]) < float(table["0"][0])
    means = {kind: float(table[kind][-1].split(",")[0]) for kind in ("far", "mid", "close")}
    assert means["far"] < means["mid"] < means["close"]
    bounds = out.partition("Safe cones")[2].splitlines()[4].split("|")[3].split(",")
    mean, least, greatest = map(float, bounds)
    assert 0.7 < least < mean < greatest < 0.95
