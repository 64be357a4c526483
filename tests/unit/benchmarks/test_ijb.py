"""The benchmark of IJB-C's size runs, and both ways of it compute the same."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "perf" / "ijb.py"


def test_it_runs_and_both_ways_agree(capsys: pytest.CaptureFixture[str]) -> None:
    spec = importlib.util.spec_from_file_location("perf_ijb", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
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
