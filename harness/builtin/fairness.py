"""``fairness``: how much worse a recognizer is for some groups of people, at one threshold for all.

Letters: P pairs, G groups.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from harness.arrays import Doubles, Ints
from harness.builtin.verification import listed_pairs, not_found
from harness.components.base import APACHE, Settings
from harness.components.evaluator import Evaluator
from harness.components.metric import Better, Metric, Report, Unit
from harness.errors import StageError
from harness.faces.embedding import pair_distances
from harness.figures import group_dots
from harness.stats.fairness import (
    GroupRates,
    excess,
    excess_interval,
    group_rates,
    own_intervals,
    rate_replicates,
    spread_interval,
    worst_interval,
)
from harness.stats.intervals import PairIdentities, few_beyond, few_events, few_identities, multiplicities
from harness.stats.uncertainty import Interval, Uncertainty
from harness.stats.verification import FARTHEST, rate_name

if TYPE_CHECKING:
    from harness.components.given import Given
    from harness.components.run import Run

_MARGIN = 0.02  # spreads that certainly differ by less count as equal
_LACKING = "no interval: a tenth of the replicates or more lack pairs or false matches"
_TAKEN = ("above the threshold", "below the threshold")
# of each rate, what it counts and the two outcomes
_EVENTS = {
    "accuracy": ("pairs are decided", ("rightly", "wrongly")),
    "tar": ("genuine pairs lie", _TAKEN),
    "fmr": ("impostor pairs lie", _TAKEN),
}


@dataclass(frozen=True)
class _Measure:
    """A number made of one rate ``of`` all groups, [G], and its interval from replicates [R, G]."""

    name: str
    title: str
    of: str
    value: Callable[[Doubles], Any]
    interval: Callable[[Doubles, Doubles], Interval | None]
    better: Better = "lower"
    unit: Unit = "fraction"
    headline: bool = False


_MEASURES = (
    _Measure("accuracy_spread", "group spread", "accuracy", np.ptp, spread_interval, headline=True),
    _Measure("accuracy_worst", "worst group", "accuracy", np.min, worst_interval, better="higher"),
    _Measure("tar_spread", "TAR group spread", "tar", np.ptp, spread_interval),
    _Measure("fmr_excess", "FMR excess", "fmr", excess, excess_interval, unit="plain"),
)


class FairnessSettings(Settings):
    """Settings of ``fairness``."""

    flip_test: bool = Field(True, description="add the embedding of the mirrored image, as verification does")
    far: float = Field(0.01, gt=0, lt=1, description="false accept rate over all groups, which sets the threshold")
    replicates: int = Field(1000, ge=100, le=100_000, description="bootstrap replicates of an interval")


class Fairness(Evaluator):
    """Spread of accuracy and TAR, the worst group, and the excess of FMR over groups, with intervals over identities.

    Pairs of no group, such as those of two people of different groups, have no part in it.
    """

    Settings: ClassVar[type[Settings]] = FairnessSettings
    license = APACHE
    needs = frozenset({"recognizer", "pairs"})

    def evaluate(self, given: Given, run: Run) -> Report:
        """Embed the faces of every protocol and compare its groups."""
        listed = {name: listed_pairs(name, faces, pairs) for name, (faces, pairs) in given.pairs.items()}
        for name, table in listed.items():
            _check(name, table)
        progress = run.progress(sum(len(np.union1d(pairs.a, pairs.b)) for _, pairs in given.pairs.values()), "images")
        metrics: list[Metric] = []
        figures: dict[str, bytes] = {}
        tables: dict[str, dict[str, NDArray[Any]]] = {}
        for name, (faces, pairs) in given.pairs.items():
            distances = np.full(len(listed[name]["a"]), FARTHEST)  # lost pairs are behind the others
            distances[: len(pairs.a)] = pair_distances(
                name, given.recognizer, faces, pairs, self.settings.flip_test, progress.advance
            )
            kept = listed[name]["group"] != ""
            table = {column: values[kept] for column, values in listed[name].items()}
            scores, lost = 1 - distances[kept] / 2, not_found(faces, pairs.lost)
            found, tables[f"{name}-groups"] = self._compare(name, table, scores, lost, run)
            metrics += found
            figures[f"{name}-groups"] = group_dots(tables[f"{name}-groups"], name)
        return Report(metrics, figures, tables)

    def _compare(
        self, name: str, table: dict[str, NDArray[Any]], scores: Doubles, lost: str, run: Run
    ) -> tuple[list[Metric], dict[str, NDArray[Any]]]:
        """Metrics of one protocol, and its table of groups."""
        same, far = table["same"], self.settings.far
        names, group = np.unique(table["group"].astype(str), return_inverse=True)
        at = group_rates(scores, same, group, far)
        identities = PairIdentities.known(table["identity_a"], table["identity_b"], same)
        drawn: GroupRates | None = None
        if identities is not None:
            rng = run.generator(f"fairness/{name}")
            drawn = rate_replicates(
                scores, same, group, far, identities, multiplicities(identities.count, self.settings.replicates, rng)
            )
        sides = _Sides(names, same, group, far, identities)
        metrics = list(_metrics(name, at, drawn, sides, lost))
        return metrics, _group_table(at, drawn, sides)


class _Sides:
    """How many pairs and people of each kind the groups have, and so which intervals there are."""

    def __init__(
        self, names: NDArray[Any], same: NDArray[np.bool_], group: Ints, far: float, identities: PairIdentities | None
    ) -> None:
        self.names, self.far = names, far
        self.genuine, self.impostor = (np.bincount(group[kind], minlength=len(names)) for kind in (same, ~same))
        self.counts = {"accuracy": self.genuine + self.impostor, "tar": self.genuine, "fmr": self.impostor}
        self._why = few_beyond(far, int((~same).sum()))
        if identities is None:
            self._why = "no interval: identities of the pairs are not known"
        else:
            for g, called in enumerate(names):
                people = np.union1d(identities.a[group == g], identities.b[group == g])
                self._why = self._why or _of(called, few_identities(len(people)))

    def why_none(self, rate: str, values: Doubles) -> str:
        """Why an interval over all groups' ``values`` [G] of a rate is withheld; empty if it is not."""
        few = (
            _of(called, few_events(round(value * count), count, *_EVENTS[rate]))
            for called, value, count in zip(self.names, values.tolist(), self.counts[rate].tolist(), strict=True)
        )
        return self._why or next(filter(None, few), "")


def _of(group: str, why: str) -> str:
    return f"{why} (group {group})" if why else ""


def _check(name: str, table: dict[str, NDArray[Any]]) -> None:
    """Refuse a protocol whose groups cannot be compared."""
    if "group" not in table:
        text = "expected a protocol with groups, such as fw-groups, or a list with the column group"
        raise StageError(f"{name}: its pairs have no groups; {text}")
    groups = np.unique(table["group"][table["group"] != ""].astype(str))
    if len(groups) < 2:
        raise StageError(f"{name}: its pairs have {len(groups)} group(s); expected at least 2")
    for group in groups:
        same = table["same"][table["group"] == group]
        if same.all() or not same.any():
            text = f"{int(same.sum())} genuine and {int((~same).sum())} impostor pairs"
            raise StageError(f"{name}: the group {group} has {text}; expected both kinds")


def _metrics(name: str, at: GroupRates, drawn: GroupRates | None, sides: _Sides, lost: str) -> Iterator[Metric]:
    """What boards and files say of one protocol's groups."""
    for measure in _MEASURES:
        rates = getattr(at, measure.of)[0]
        if measure.value is excess and not rates.all():
            continue  # of a group without a false match no ratio can be told; the table has the rates
        why = sides.why_none(measure.of, rates)
        interval = None if why or drawn is None else measure.interval(rates, getattr(drawn, measure.of))
        sure = Uncertainty(interval, "identities", "simultaneous bootstrap")
        low, high = sides.names[rates.argmin()], sides.names[rates.argmax()]
        note = f"one threshold, at FAR {rate_name(sides.far)} over all groups; least for {low}, most for {high}"
        yield Metric(
            f"{name}/group_{measure.name}",
            float(measure.value(rates)),
            int(sides.counts[measure.of].sum()),
            sure if interval else Uncertainty(note=why or _LACKING),
            benchmark=name,
            note="; ".join(filter(None, [note, lost])),
            title=f"{name} {measure.title}",
            unit=measure.unit,
            better=measure.better,
            headline=measure.headline,
            margin=_MARGIN if measure.headline else None,
        )


def _group_table(at: GroupRates, drawn: GroupRates | None, sides: _Sides) -> dict[str, NDArray[Any]]:
    """Rates of each group, with an interval for each where people are known (NaN: none)."""
    out: dict[str, NDArray[Any]] = {"group": sides.names, "genuine": sides.genuine, "impostor": sides.impostor}
    for rate in ("accuracy", "tar", "fmr"):
        out[rate] = getattr(at, rate)[0]
        bounds = [None] * len(sides.names) if drawn is None else own_intervals(getattr(drawn, rate))
        for side, bound in enumerate(("low", "high")):
            out[f"{rate}_{bound}"] = np.array([np.nan if pair is None else pair[side] for pair in bounds])
    return out
