"""How sure a number is: an interval with its method, or the reason why there is none."""

from __future__ import annotations

from dataclasses import dataclass

LEVEL = 0.95  # of every interval

Interval = tuple[float, float]


@dataclass(frozen=True)
class Uncertainty:
    """A 95 percent interval, what it ranges over and how it was made; or, in ``note``, why it is withheld.

    Attributes:
        interval: lower and upper bound in the unit of the number, or None.
        interval_over: what was resampled: ``identities``, ``pairs``, ``folds``.
        method: how: ``bootstrap``, ``jackknife``, ``wilson``, ...
        note: why there is no interval, or what it takes for granted.
    """

    interval: Interval | None = None
    interval_over: str = ""
    method: str = ""
    note: str = ""


UNKNOWN = Uncertainty()
