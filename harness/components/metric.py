"""Metrics that describe themselves: a number, how sure it is, and how it is to be read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from numpy.typing import NDArray

from harness.stats.uncertainty import UNKNOWN, Uncertainty

Unit = Literal["fraction", "count", "plain"]
Better = Literal["higher", "lower", "neither"]


@dataclass(frozen=True)
class Metric:
    """One number of a row with its uncertainty. What is left out has a default that is safe to show.

    Attributes:
        name: ``benchmark/quantity``, such as ``fw-lfw/accuracy``; letters, digits, ``_ . - /`` only.
        value: the number; accuracies and rates are fractions.
        n: how many pairs, scores or images it rests on.
        uncertainty: its interval, or why there is none.
        std_folds: standard deviation over the folds, where there are folds.
        benchmark: the protocol's name in the suite, when it belongs to one; the harness adds the digest.
        note: what a reader must know of it beside the uncertainty's own note.
        title: what heads its column; default: its name.
        unit: ``fraction`` is shown in percent, ``count`` without decimals, ``plain`` as it is.
        better: whether a ``higher`` or a ``lower`` value is better, or ``neither`` by itself.
        headline: whether boards show it as a column; all metrics are in the files.
        ranked: whether rows rank by it.
        average: name of the mean over metrics that it enters, such as ``average/accuracy``.
        relative: whether two rows differ by a share of the value (FDR by 10 percent) or by a distance.
        margin: two rows whose difference certainly lies within it count as equal: a share where ``relative``, else in
            the metric's own unit.
        pairs: name of the report's table that holds its decisions pair by pair, for paired tests: columns ``a``, ``b``,
            ``identity_a``, ``identity_b``, ``same``, ``fold`` and ``correct``.
    """

    name: str
    value: float
    n: int
    uncertainty: Uncertainty = UNKNOWN
    std_folds: float | None = None
    benchmark: str = ""
    note: str = ""
    title: str = ""
    unit: Unit = "plain"
    better: Better = "neither"
    headline: bool = False
    ranked: bool = False
    average: str = ""
    relative: bool = False
    margin: float | None = None
    pairs: str = ""


@dataclass(frozen=True)
class Report:
    """What an evaluator returns.

    ``figures``: PNG bytes by name; ``tables``: columns by name by table name, such as per-pair scores.
    ``texts``: files that other programs read, by file name with its suffix; they lie beside the tables.
    ``rule``: plain JSON values that define how datasets were judged (subset rule, crop); they enter the protocol
    digest of metrics that belong to no benchmark.
    """

    metrics: list[Metric]
    figures: Mapping[str, bytes] = field(default_factory=dict)
    tables: Mapping[str, Mapping[str, NDArray[Any]]] = field(default_factory=dict)
    rule: Mapping[str, Any] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
