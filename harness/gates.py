"""Gates: limits on what a dataset measures, checked before FR training on it is paid for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness.errors import unknown
from harness.results import MetricRecord
from harness.suites.schema import Gate


@dataclass(frozen=True)
class Verdict:
    """A gate that was not passed: what to say, and whether the row stops."""

    text: str
    refused: bool


def judge(gates: Mapping[str, Gate], metrics: Sequence[MetricRecord]) -> Iterator[Verdict]:
    """The gates that metrics do not pass; one whose metric is not there is refused."""
    values = {metric.name: metric.value for metric in metrics}
    for name, gate in gates.items():
        if name not in values:
            yield Verdict(f"gate: {unknown('metric', name, values)}", refused=True)
            continue
        fault = _fault(gate, values[name])
        if fault:
            yield Verdict(f"gate: {name} is {values[name]:.4g}, expected {fault}", gate.then == "refuse")


def _fault(gate: Gate, value: float) -> str:
    if gate.at_least is not None and value < gate.at_least:
        return f"at least {gate.at_least:g}"
    if gate.at_most is not None and value > gate.at_most:
        return f"at most {gate.at_most:g}"
    return ""
