"""Numbers as a report shows them: as many decimals as the intervals of a column support."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from harness.reading.leaderboard import Cell, Interval
from harness.reading.metrics import About

MOST_DECIMALS = 5


@dataclass(frozen=True)
class Style:
    """How one metric's numbers are printed: multiplied with ``scale``, with so many decimals; None: as boards do."""

    about: About
    decimals: int | None

    @classmethod
    def of(cls, about: About, cells: Sequence[Cell]) -> Style:
        """Decimals by the median half width of the intervals, of which two digits are told at the most.

        Half a point of accuracy gives 0.1 points; a twentieth of a point, as on LFW, gives 0.01.
        """
        found = [interval for cell in cells if (interval := cell.interval or cell.over_seeds)]
        halves = [half for each in found if (half := _scale(about) * (each.high - each.low) / 2) > 0]
        halves = [half for half in halves if math.isfinite(half)]
        if not halves or about.unit == "count":
            return cls(about, None)
        return cls(about, min(max(1 - math.floor(math.log10(statistics.median(halves))), 0), MOST_DECIMALS))

    def number(self, value: float) -> str:
        """A value, in percent where the metric is a fraction."""
        if self.decimals is None or not math.isfinite(value):
            return self.about.number(value)
        return f"{_scale(self.about) * value:,.{self.decimals}f}"

    def interval(self, found: Interval) -> str:
        """``78.9 to 83.9``."""
        return f"{self.number(found.low)} to {self.number(found.high)}"


def _scale(about: About) -> float:
    return 100.0 if about.unit == "fraction" else 1.0


def unit(about: About) -> str:
    """The unit as a heading shows it."""
    return "%" if about.unit == "fraction" else ""
