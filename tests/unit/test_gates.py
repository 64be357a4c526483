"""Gates: what a metric beyond its limits says, and what a suite may ask for."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import InputError
from harness.gates import Verdict, judge
from harness.planning.planner import plan_suite
from harness.results import MetricRecord
from harness.suites.read import load_suite
from harness.suites.schema import Gate

TINY = Path(__file__).parents[1] / "suites" / "tiny.yaml"
METRICS = [MetricRecord(name="separability/fdr", value=0.5, n=10, protocol="")]


@pytest.mark.parametrize(
    ("gate", "expected"),
    [
        (Gate(at_least=0.5, at_most=0.5), []),
        (
            Gate(at_least=0.6),
            [Verdict("gate: separability/fdr is 0.5, expected at least 0.6", refused=True)],
        ),
        (
            Gate(at_most=0.4, then="warn"),
            [Verdict("gate: separability/fdr is 0.5, expected at most 0.4", refused=False)],
        ),
    ],
)
def test_verdicts(gate: Gate, expected: list[Verdict]) -> None:
    assert list(judge({"separability/fdr": gate}, METRICS)) == expected


def test_a_metric_that_is_not_there_refuses() -> None:
    (verdict,) = judge({"separability/frd": Gate(at_least=0.0, then="warn")}, METRICS)
    assert verdict.refused
    assert verdict.text.startswith("gate: unknown metric 'separability/frd'")
    assert "did you mean 'separability/fdr'?" in verdict.text


@pytest.mark.parametrize(
    ("override", "fault"),
    [
        ("evaluate.1.gate={separability/fdr: {}}", "a gate needs at_least, at_most or both"),
        ("evaluate.1.gate={separability/fdr: {at_leats: 1}}", "did you mean 'at_least'?"),
        ("evaluate.0.gate={fw-lfw/accuracy: {at_least: 0.6}}", "evaluate.0.gate: verification does not measure"),
    ],
)
def test_gates_are_checked_before_anything_starts(override: str, fault: str) -> None:
    with pytest.raises(InputError) as caught:
        plan_suite(load_suite(TINY, [override]), TINY)
    assert fault in str(caught.value)


def test_a_gate_changes_no_key() -> None:
    def keys(*overrides: str) -> list[tuple[str, str]]:
        return list(plan_suite(load_suite(TINY, overrides), TINY).stages)

    assert keys() == keys("evaluate.1.gate={separability/fdr: {at_least: 1}}")
