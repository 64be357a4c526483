"""How long the stages of a suite will take: as long as stages like them took in this store.

A rate is seconds per image, or per step of a fit. It is taken from the newest artifacts of the same component; those
with the same settings are preferred. A stage without any such artifact has no forecast, and whoever shows one says so.
"""

from __future__ import annotations

import contextlib
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import DataError
from harness.graph import STAGES, Stage, StageId, SuitePlan
from harness.reading.durations import duration
from harness.results import StageRecord
from harness.store.artifacts import MANIFEST, Manifest, Store
from harness.store.keys import digest

RECENT = 40  # artifacts of a kind whose manifests are read, the newest
USED = 5  # of them, those that a rate is the median of
_SIZES = ("identities", "per_identity", "count", "steps", "epochs", "pairs")  # how much a stage does, not how


class Rates:
    """Seconds per unit of work of the stages that were built, by what they did and with which settings."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, ...], list[float]] = defaultdict(list)
        self._like: dict[StageId, tuple[tuple[str, ...], ...]] = {}  # asked for again and again

    @classmethod
    def of(cls, store: Store) -> Rates:
        """The rates of the newest artifacts of a store."""
        rates = cls()
        for kind in STAGES:
            manifests = sorted((store.root / kind).glob(f"*/{MANIFEST}"), key=_changed, reverse=True)
            for path in reversed(manifests[:RECENT]):
                with contextlib.suppress(DataError):  # a run that needs it names it
                    if artifact := store.find(kind, path.parent.name):
                        rates.add(artifact.manifest)
        return rates

    def add(self, made: Manifest) -> None:
        """Take the rate at which an artifact was made."""
        for like in _likenesses(made.kind, made.component, made.settings, made.options):
            self._known[like].append(made.seconds / _size(made.settings, made.options))

    def seconds(self, stage: Stage) -> float | None:
        """How long a stage will take one process; None where nothing like it was built."""
        if stage.id not in self._like:
            self._like[stage.id] = _likenesses(stage.kind, stage.component, stage.told, stage.options)
        for like in self._like[stage.id]:
            if like in self._known:
                return statistics.median(self._known[like][-USED:]) * _size(stage.told, stage.options)
        return None


@dataclass(frozen=True)
class Forecast:
    """What stages will take.

    Attributes:
        seconds: of one process, for the stages whose rates are known.
        longest: seconds of the longest chain of stages that wait for each other.
        unknown: labels of the stages whose rates are not known.
    """

    seconds: float
    longest: float
    unknown: tuple[str, ...]

    def wall(self, workers: int) -> float:
        """Seconds that so many workers need, if they are never without work that could be shared."""
        return max(self.longest, self.seconds / workers)


def forecast(plan: SuitePlan, missing: Iterable[StageId], rates: Rates) -> Forecast:
    """What the missing stages of a plan will take."""
    wanted = set(missing)
    ends: dict[StageId, float] = {}
    total, unknown = 0.0, []
    for stage in (stage for id, stage in plan.stages.items() if id in wanted):  # parents come first
        took = rates.seconds(stage)
        if took is None:
            unknown.append(stage.label)
        total += took or 0.0
        ends[stage.id] = max((ends.get(id, 0.0) for id in stage.parents.values()), default=0.0) + (took or 0.0)
    return Forecast(total, max(ends.values(), default=0.0), tuple(unknown))


def _likenesses(
    kind: str, component: str, settings: Mapping[str, Any], options: Mapping[str, Any]
) -> tuple[tuple[str, ...], ...]:
    """What a stage is like, from the closest likeness to the loosest."""
    how = [
        {name: value for name, value in told.items() if name not in (*_SIZES, "seed")} for told in (settings, options)
    ]
    return (kind, component, digest(how)), (kind, component)


def _size(settings: Mapping[str, Any], options: Mapping[str, Any]) -> float:
    """How many units of work a stage does; 1 where nothing says it."""
    size = 1.0
    for name in _SIZES:
        value = options.get(name) or settings.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            size *= value
    return size


def _changed(path: Path) -> float:
    with contextlib.suppress(OSError):
        return path.stat().st_mtime
    return 0.0


class TimeLeft:
    """What is left of a run, which knows more with every stage that ends.

    Args:
        missing: the stages that have to be built.
        workers: how many are built at a time.
        rates: of the workdir's store, where they were read already.
    """

    def __init__(
        self, plan: SuitePlan, workdir: Path, missing: Iterable[StageId], workers: int, rates: Rates | None = None
    ) -> None:
        self.missing = set(missing)
        self._plan, self._store, self._workers = plan, Store(workdir / "store"), workers
        self._rates = rates or Rates.of(self._store)

    def finished(self, record: StageRecord) -> None:
        """A stage has ended; those like it will take as long."""
        self.missing.discard(StageId(record.kind, record.key))
        if not record.cached and (made := self._store.find(record.kind, record.key)):
            self._rates.add(made.manifest)

    def words(self) -> str:
        """How long it will take, as far as that is known."""
        found = forecast(self._plan, self.missing, self._rates)
        wall = duration(found.wall(self._workers))
        if not found.unknown:
            return f"about {wall}"
        new = f"{len(found.unknown)} of {len(self.missing)} stages are like none that was built here"
        return f"at least {wall} ({new})" if found.seconds else f"not known ({new})"
