"""One tested quantity of two rows: their values, the difference, and whether it lies within the margin."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from harness.arrays import Doubles
from harness.reading.metrics import About
from harness.stats.comparison import Difference, McNemar, cochran_cox, method_difference

EQUALITY = 0.10  # level of the intervals that must lie within the margins: two one-sided tests at 5 percent each

Bounds = tuple[float, float]


@dataclass(frozen=True)
class Tested:
    """One metric, or an average: means of both rows over the common seeds, and the test of their difference.

    Differences are in the metric's unit, or shares of B's value where the metric is ``relative``.

    Attributes:
        pairs: how many decisions were compared pair by pair; 0: one value per seed was.
        people: how many identities were resampled; 0: they are not known, and folds were, or every seed has its own.
        difference: with its 95 percent interval; None below three seeds.
        corrected: its p-value after Holm's correction over the benchmarks with pairs; None for what is tested alone.
        bounds: the 90 percent interval of the difference.
        models: below three seeds: seed, McNemar's test and its corrected p-value.
    """

    about: About
    a: float
    b: float
    pairs: int = 0
    people: int = 0
    difference: Difference | None = None
    corrected: float | None = None
    bounds: Bounds | None = None
    models: tuple[tuple[int, McNemar, float], ...] = ()

    @property
    def title(self) -> str:
        """What the quantity is called."""
        return self.about.title

    @property
    def equal(self) -> bool | None:
        """Whether the 90 percent interval lies within the margin; None without a margin or a test."""
        if self.about.margin is None or self.bounds is None:
            return None
        return max(map(abs, self.bounds)) <= self.about.margin

    @property
    def scaled(self) -> float:
        """What a difference is multiplied with where it is shown: fractions and shares are shown in percent."""
        return 100.0 if self.about.relative or self.about.unit == "fraction" else 1.0

    @property
    def heading(self) -> str:
        """The title with the unit of the difference."""
        unit = ", %" if self.about.relative else ", points" if self.about.unit == "fraction" else ""
        return self.title + unit

    def shown(self, value: float) -> str:
        """A difference, an interval's bound or a margin as tables show it."""
        if self.scaled == 1.0:
            return f"{value:+.4g}"
        return f"{self.scaled * value:+.2f}"

    def interval(self, bounds: Bounds) -> str:
        """An interval as tables show it."""
        return f"[{self.shown(bounds[0])}, {self.shown(bounds[1])}]"

    def plain(self) -> dict[str, Any]:
        """All of it for JSON, with what the metric says of itself in the same table."""
        own = asdict(self)
        about = own.pop("about")
        return {"metric": about.pop("name"), **about, **own, "equal": self.equal}


def tested_difference(per_seed: Doubles, people_variance: float, units: int) -> tuple[Difference, Bounds]:
    """The test of methods, and the 90 percent interval of the same difference.

    Args:
        per_seed: difference in each seed, [S].
        people_variance: variance of the mean when people are resampled; 0 where every seed draws its own.
        units: how many people were resampled.
    """
    found = method_difference(per_seed, people_variance, units)
    components = [(found.people**2, units - 1), (found.seeds**2, len(per_seed) - 1)]
    half = cochran_cox(components, EQUALITY)
    return found, (found.value - half, found.value + half)
