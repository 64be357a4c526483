"""Two rows in metrics of a dataset, such as separability: a paired t test over the common seeds.

A seed draws the dataset's people anew, so the spread over seeds holds the people's; resampling people as well would
count them twice.

Letters: S seeds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from harness.arrays import Doubles
from harness.reading.metrics import About
from harness.reading.tested import Tested, tested_difference

Values = tuple[Doubles, Doubles]  # of both rows, [S] each


def compare_over_seeds(found: Mapping[str, tuple[About, Values]], averages: Sequence[About] = ()) -> Iterator[Tested]:
    """Each metric tested by itself, and the averages; S is at least 3.

    Args:
        found: per metric how it is read, and the values of both rows in the common seeds; none of B's is 0 where the
            metric is relative.
        averages: means over metrics in ``found``.
    """
    for about, (a, b) in found.values():
        yield _tested(about, a, b, _per_seed(about, a, b))
    for about in averages:
        a, b = (np.mean([found[name][1][side] for name in about.members], axis=0) for side in (0, 1))
        yield _tested(about, a, b, _per_seed(about, a, b))


def untestable(about: About, values: Values) -> str:
    """Why a metric's difference is not a number; empty if it is."""
    if not all(np.isfinite(side).all() for side in values):
        return "not a number in every seed"
    return "a share of zero" if about.relative and not values[1].all() else ""


def _per_seed(about: About, a: Doubles, b: Doubles) -> Doubles:
    return (a - b) / b if about.relative else a - b


def _tested(about: About, a: Doubles, b: Doubles, per_seed: Doubles) -> Tested:
    difference, bounds = tested_difference(per_seed, 0.0, len(per_seed))
    return Tested(about, float(a.mean()), float(b.mean()), difference=difference, bounds=bounds)
