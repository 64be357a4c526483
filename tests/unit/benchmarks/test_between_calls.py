"""The profile of what lies between network calls runs, and its shares add up."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest


def test_it_runs_and_its_shares_add_up(
    load_script: Callable[[str], ModuleType], capsys: pytest.CaptureFixture[str]
) -> None:
    load_script("perf/between_calls.py").main(["--network", "tiny", "--batch", "4", "--steps", "3"])
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    table = {row[0]: [float(cell) for cell in row[1:]] for row in rows if len(row) == 3 and row[1][:1].isdigit()}
    total = table.pop("all")
    whole = {name: row for name, row in table.items() if not name.startswith("of it")}
    assert {"noise to start from", "network, 3 calls", "decoder", "shard"} < whole.keys()
    assert sum(ms for ms, _ in whole.values()) == pytest.approx(total[0], abs=0.01)
    assert sum(share for _, share in whole.values()) == pytest.approx(100, abs=0.5)
    assert table["of it PNG"][0] < table["shard"][0]
