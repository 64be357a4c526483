"""What a suite can detect: the smallest difference between two rows, told before anything is run."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator
from pathlib import Path

from harness.components.protocol import Protocol
from harness.plugins import registry
from harness.reading.leaderboard import build
from harness.results import Result, iterate_results
from harness.stats.comparison import CORRELATION, DISAGREEMENT, MIN_SEEDS, SEED_NOISE, planned_difference
from harness.suites.schema import Suite


def describe(suite: Suite, workdir: Path) -> Iterator[str]:
    """Lines on the smallest difference per benchmark, and on what they assume; none without a benchmark.

    Args:
        suite: resolved.
        workdir: where earlier results of the suite may lie; they tell the seed noise.
    """
    wanted = dict.fromkeys(name for entry in suite.evaluate for name in entry.protocols)
    sizes = {name: _size(suite, name) for name in wanted}
    if not any(sizes.values()):
        return
    noise = seed_noise(result for _, result in iterate_results(workdir, suite.name))
    seeds = max(MIN_SEEDS, len(suite.seeds))
    missing = len(suite.seeds) < MIN_SEEDS
    given = f"{len(suite.seeds)} seed{'s' if len(suite.seeds) > 1 else ''}"
    yield (
        f"smallest difference in accuracy between two rows that {seeds} seeds detect (80% power, 5% level)"
        + (f"; with {given} none can be claimed" if missing else "")
    )
    for name, size in sizes.items():
        if size is None:
            yield f"  {name}: not known before its faces are made"
            continue
        pairs, people = size
        points = 100 * planned_difference(pairs, people, seeds, noise.get(name, SEED_NOISE))
        who = f"{people:,} identities" if people else "unknown identities"
        how = f"{100 * noise[name]:.2f} measured" if name in noise else f"{100 * SEED_NOISE:.0f} assumed"
        yield f"  {name}: {points:.1f} points ({pairs:,} pairs, {who}, seed noise {how})"
    yield (
        f"  assumed: seeds of two rows independent, {DISAGREEMENT:.0%} of pairs decided correctly by one of two models "
        f"only, correlation {CORRELATION} of these where pairs share a person; not corrected for several benchmarks"
    )


def _size(suite: Suite, name: str) -> tuple[int, int] | None:
    entry = suite.protocols[name]
    cls = registry().load("protocols", entry.use)
    assert issubclass(cls, Protocol)
    return cls(cls.Settings.model_validate(entry.settings)).size()


def seed_noise(results: Iterable[Result]) -> dict[str, float]:
    """Standard deviation of accuracy over seeds by benchmark, pooled over the rows with two seeds or more."""
    spreads: dict[str, list[tuple[int, float]]] = {}
    for row in build(results).rows:
        for cell in row.cells.values():
            if cell.about.paired and len(cell.values) > 1:
                variance = statistics.variance(cell.values.values())
                spreads.setdefault(cell.about.family, []).append((len(cell.values) - 1, variance))
    return {
        name: math.sqrt(sum(n * variance for n, variance in found) / sum(n for n, _ in found))
        for name, found in spreads.items()
    }
