"""The benchmark of IJB-C's size runs, and both ways of it compute the same."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import ModuleType

import pytest


def test_it_runs_and_both_ways_agree(
    load_script: Callable[[str], ModuleType], capsys: pytest.CaptureFixture[str]
) -> None:
    module = load_script("perf/ijb.py")
    module.main(["--small"])
    text = capsys.readouterr().out
    apart = re.search(r"Scores of both are (\S+) apart at most, rates by the reference's rule (\S+)\.", text)
    assert apart is not None, text
    assert float(apart[1]) < 1e-6
    assert float(apart[2]) == 0.0
    for step in ("read pairs", "templates", "score pairs", "intervals"):
        assert f"| {step} |" in text
    assert len(re.findall(r"^\| 1e-0\d \|", text, re.MULTILINE)) == 6
    assert "GB after ours" in text
