"""How metrics are to be read: one description per metric, taken from the records themselves, never from a name."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from statistics import fmean

from harness.components.metric import Better, Unit
from harness.results import SCHEMA, MetricRecord, Result


@dataclass(frozen=True)
class About:
    """How one metric is to be read; the fields are those of :class:`harness.components.Metric`.

    Attributes:
        title: what heads its column; no two shown metrics of one board have the same.
        members: names of the metrics that it is the mean of; empty for all metrics that were measured.
    """

    name: str
    title: str
    unit: Unit = "plain"
    better: Better = "neither"
    headline: bool = False
    ranked: bool = False
    average: str = ""
    relative: bool = False
    margin: float | None = None
    pairs: str = ""
    members: tuple[str, ...] = ()

    @classmethod
    def of(cls, record: MetricRecord) -> About:
        """What a record says of itself."""
        said = record.model_dump(include=set(cls.__dataclass_fields__) - {"name", "title", "members"})
        return cls(record.name, record.title or record.name, **said)

    @property
    def family(self) -> str:
        """What stands before the last slash of the name: the benchmark, or the evaluator."""
        return self.name.rpartition("/")[0]

    @property
    def ranks(self) -> bool:
        """Whether rows are ordered by it: that takes a direction."""
        return self.ranked and self.better != "neither"

    @property
    def tested(self) -> bool:
        """Whether rows are tested by it and share ranks: that takes a direction, and what ``harness compare`` tests."""
        return self.better != "neither" and (self.headline or self.paired)

    @property
    def paired(self) -> bool:
        """Whether its decisions are there pair by pair."""
        return bool(self.pairs)

    def number(self, value: float) -> str:
        """A value as boards show it: fractions in percent, counts whole."""
        if not math.isfinite(value):
            return str(value)
        if self.unit == "fraction":
            return f"{100 * value:.1f}"
        if self.unit == "count":
            return f"{value:,.0f}"
        return f"{value:.3f}" if abs(value) < 1 else f"{value:.2f}" if abs(value) < 100 else f"{value:,.0f}"

    def quantity(self, value: float) -> str:
        """:meth:`number`, with the sign of percent."""
        return f"{self.number(value)} %" if self.unit == "fraction" else self.number(value)

    def of_result(self, result: Result) -> float:
        """What a result says of it: its value, or the mean of its members, which the result has to hold."""
        values = {metric.name: metric.value for metric in result.metrics}
        return fmean(values[name] for name in self.members or (self.name,))


def describe(results: Iterable[Result]) -> dict[str, About]:
    """The description of every metric in the results, by name, in order of appearance; averages last.

    A record of the present schema is believed rather than one of an earlier, which describes nothing. A metric that
    no record describes is shown as a plain number.
    """
    found: dict[str, About] = {}
    described: set[str] = set()
    for result in results:
        for record in result.metrics:
            if result.schema_ == SCHEMA and record.name not in described:
                found[record.name] = About.of(record)
                described.add(record.name)
            found.setdefault(record.name, About(record.name, record.name, headline=True))
    return _told_apart(found | _averages(found))


def _averages(found: dict[str, About]) -> dict[str, About]:
    """The means that metrics name, each read as its members are."""
    members: dict[str, list[About]] = {}
    for about in found.values():
        if about.average and about.average not in found:
            members.setdefault(about.average, []).append(about)
    return {
        name: replace(
            several[0],
            name=name,
            title=name.partition("/")[0],
            headline=True,
            average="",
            pairs="",
            members=tuple(about.name for about in several),
        )
        for name, several in members.items()
        if len(several) > 1
    }


def _told_apart(found: dict[str, About]) -> dict[str, About]:
    """Titles that several shown metrics share get what stands before the quantity; if that is not enough, the name."""
    for longer in (lambda about: f"{about.family} {about.title}", lambda about: about.name):
        count = Counter(about.title for about in found.values() if about.headline)
        found = {
            name: replace(about, title=longer(about)) if about.headline and count[about.title] > 1 else about
            for name, about in found.items()
        }
    return found
