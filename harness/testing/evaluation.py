"""Checks of what measures: evaluators, and the protocols that list their pairs.

Letters: N faces, P pairs, T templates.
"""

from __future__ import annotations

import dataclasses
import math
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from harness.arrays import AnyInts, Bools
from harness.components import (
    Crop,
    Evaluator,
    FaceProtocol,
    Given,
    Metric,
    PairSet,
    Protocol,
    Report,
    Run,
    TemplateSet,
)
from harness.errors import StageError
from harness.testing.component import asked_for, check_component, check_own_code, left_alone
from harness.testing.images import check_plan, check_sampling
from harness.testing.rules import calling, fail, name_of, repeated, require
from harness.testing.world import stored

if TYPE_CHECKING:
    from harness.faces.faceset import FaceSet

NAME = re.compile(r"[\w.-]+(/[\w.-]+)+")  # of a metric
DECISIONS = ("a", "b", "identity_a", "identity_b", "same", "fold", "correct")  # columns of a table of pairs
PNG = b"\x89PNG\r\n\x1a\n"


def check_evaluator(evaluator: Evaluator, given: Given) -> None:
    """Check an evaluator: it measures the same twice, finite numbers that say what they are.

    Args:
        evaluator: the evaluator.
        given: what it needs, such as ``Given(dataset=faces(folder))`` with :func:`harness.testing.faces`.

    Raises:
        AssertionError: with the rule that is broken.
    """
    who = name_of(evaluator)
    check_component(evaluator)
    check_own_code(evaluator)
    given = asked_for(evaluator, given)

    def measured() -> Report:
        with calling(who, "evaluate"):
            return evaluator.evaluate(given, Run(7))

    with left_alone(who, given):
        report = repeated(measured, _reports_differ, who)
    require(bool(report.metrics), "metrics", f"{who} gave no metric")
    names = [metric.name for metric in report.metrics]
    twice = sorted({name for name in names if names.count(name) > 1})
    require(not twice, "metrics", f"{who} gave {', '.join(twice)} twice")
    known = {"", *(name for role in evaluator.needs & {"pairs", "templates"} for name in getattr(given, role))}
    for metric in report.metrics:
        _check_metric(metric, report, known, who)
    _check_files(report, who)


def _check_metric(metric: Metric, report: Report, benchmarks: set[str], who: str) -> None:
    where = f"{who}: {metric.name}"
    text = f"{who} gave a metric {metric.name!r}, expected benchmark/quantity of letters, digits and '_', '.', '-'"
    require(NAME.fullmatch(metric.name) is not None, "metrics", text)
    interval = metric.uncertainty.interval or ()
    require(math.isfinite(metric.value), "finite", f"{where} is {metric.value}")
    require(all(map(math.isfinite, interval)), "finite", f"{where}: its interval is {metric.uncertainty.interval}")
    if metric.unit == "fraction":
        text = f"{where} is {metric.value:g} and a fraction, expected 0 to 1; boards show percent of it"
        require(0 <= metric.value <= 1, "range", text)
    if interval:
        text = f"{where}: its interval runs from {interval[0]:g} down to {interval[1]:g}"
        require(interval[0] <= interval[1], "range", text)
    require(metric.n >= 0, "range", f"{where} rests on {metric.n} items")
    text = f"{where} belongs to protocol {metric.benchmark!r}, given are {sorted(benchmarks - {''})}"
    require(metric.benchmark in benchmarks, "metrics", text)
    if metric.ranked:
        text = f"{where} is ranked, but better is {metric.better!r}; say 'higher' or 'lower'"
        require(metric.better != "neither", "metrics", text)
    if metric.pairs:
        require(metric.pairs in report.tables, "metrics", f"{where}: there is no table {metric.pairs!r} of its pairs")
        lacks = [name for name in DECISIONS if name not in report.tables[metric.pairs]]
        require(not lacks, "metrics", f"{where}: the table {metric.pairs!r} lacks {', '.join(lacks)}")


def _check_files(report: Report, who: str) -> None:
    from harness.stages.work import file_name
    from harness.store.keys import digest

    for name in (*report.figures, *report.tables, *report.texts):
        try:
            file_name(name)
        except StageError as error:
            raise AssertionError(f"[metrics] {who}: {error}") from error
    for name, png in report.figures.items():
        require(png.startswith(PNG), "metrics", f"{who}: the figure {name!r} is no PNG")
    for name, columns in report.tables.items():
        lengths = {column: len(values) for column, values in columns.items()}
        text = f"{who}: the table {name!r} has columns of unequal length {lengths}"
        require(len(set(lengths.values())) <= 1, "metrics", text)
    with calling(who, "rule: plain JSON values"):
        digest(dict(report.rule))


def _reports_differ(first: Report, second: Report) -> str:
    """By metric, ignoring how NaN compares."""
    a, b = ({metric.name: repr(dataclasses.astuple(metric)) for metric in each.metrics} for each in (first, second))
    return ", ".join(f"another {name}" for name in sorted(a.keys() | b.keys()) if a.get(name) != b.get(name))


def check_protocol(protocol: Protocol, faces: FaceSet | None = None, size_px: int = 32) -> None:
    """Check a protocol: its faces, if it has its own, and its pairs.

    Args:
        protocol: with few pairs.
        faces: aligned faces of a source, for a protocol that needs one (:func:`harness.testing.faces`).
        size_px: side of the crop of its own faces, in pixels.

    Raises:
        AssertionError: with the rule that is broken.
    """
    who = name_of(protocol)
    check_component(protocol)
    check_own_code(protocol)
    if faces is not None:
        _check_pairs(protocol, faces, who)
    elif isinstance(protocol, FaceProtocol):
        plan = check_plan(lambda: protocol.plan(Run(0)), who)
        check_sampling(plan, lambda part: protocol.sample(part, Run(0)), who, levels=0)
        with tempfile.TemporaryDirectory() as folder:
            own = stored(Path(folder), protocol.sample(plan, Run(0)), Crop("arcface", size_px))
            _check_pairs(protocol, own, who)
    else:
        fail("needs", f"{who} needs source; give the check some faces")


def _check_pairs(protocol: Protocol, faces: FaceSet, who: str) -> None:
    expected = PairSet if protocol.gives == "pairs" else TemplateSet

    def listed() -> PairSet | TemplateSet:
        with calling(who, f"pairs over {len(faces)} faces"):
            made = protocol.pairs(faces, Run(0))
        text = f"{who} gives {protocol.gives}, but made a {type(made).__name__}, expected a {expected.__name__}"
        require(isinstance(made, expected), "kind", text)
        return made

    with left_alone(who, source=faces):
        pairs = repeated(listed, _pairs_differ, who)
    people: AnyInts = faces.identities
    count = len(faces)
    if isinstance(pairs, TemplateSet):
        people, count = _check_templates(pairs, faces, who), len(pairs)
    columns = {"a": pairs.a, "b": pairs.b, "same": pairs.same}
    if isinstance(pairs, PairSet):
        columns["fold"] = pairs.fold
    lengths = {name: len(column) for name, column in columns.items()}
    require(len(set(lengths.values())) == 1, "shapes", f"{who}: columns of unequal length {lengths}")
    require(pairs.same.dtype == np.bool_, "shapes", f"{who}: same is {pairs.same.dtype}, expected bool")
    for name in columns.keys() - {"same"}:
        kind = columns[name].dtype
        require(kind.kind in "iu", "shapes", f"{who}: {name} is {kind}, expected whole numbers")
    both = bool(pairs.same.any()) and not pairs.same.all()
    require(both, "pairs", f"{who} lists pairs of one kind only; both genuine and impostor pairs are needed")
    _check_places(pairs.a, pairs.b, pairs.same, people, count, who)
    size = protocol.size()
    total = len(pairs.a) + (0 if pairs.lost is None else len(pairs.lost))
    require(size is None or size[0] == total, "count", f"{who} says {size} (pairs, identities) and lists {total} pairs")


def _check_places(a: AnyInts, b: AnyInts, same: Bools, people: AnyInts, count: int, who: str) -> None:
    lowest, highest = int(min(a.min(), b.min())), int(max(a.max(), b.max()))
    text = f"{who} names rows {lowest} to {highest}, there are 0 to {count - 1}"
    require(lowest >= 0 and highest < count, "pairs", text)
    require(not (a == b).any(), "pairs", f"{who} pairs a face with itself")
    keys = np.sort(np.stack([a, b], axis=1), axis=1)
    require(len(np.unique(keys, axis=0)) == len(a), "pairs", f"{who} lists a pair twice")
    wrong = np.flatnonzero((people[a] == people[b]) != same)
    text = f"{who}: pair {wrong[:1]} is called {'same' if len(wrong) and same[wrong[0]] else 'different'}"
    require(
        not len(wrong), "pairs", f"{text}, its faces are of identities that say otherwise ({len(wrong)} such pairs)"
    )


def _check_templates(pairs: TemplateSet, faces: FaceSet, who: str) -> AnyInts:
    """Whose face each template shows, int [T]."""
    per_face: Mapping[str, int] = {name: len(getattr(pairs, name)) for name in ("template", "media", "score")}
    text = f"{who}: {per_face} rows, expected one for each of {len(faces)} faces"
    require(set(per_face.values()) == {len(faces)}, "shapes", text)
    filled = np.unique(pairs.template)
    text = f"{who}: templates are numbered {filled.min()} to {filled.max()} with gaps, expected 0 to {len(filled) - 1}"
    require(np.array_equal(filled, np.arange(len(filled))), "shapes", text)
    people = np.zeros(len(pairs), np.int64)
    people[pairs.template] = faces.identities
    mixed = np.flatnonzero(people[pairs.template] != faces.identities)
    require(not len(mixed), "pairs", f"{who}: a template holds faces of several people")
    return people


def _pairs_differ(first: PairSet | TemplateSet, second: PairSet | TemplateSet) -> str:
    names = [field.name for field in dataclasses.fields(first) if field.name != "lost"]
    return ", ".join(
        f"other {name}" for name in names if not np.array_equal(getattr(first, name), getattr(second, name))
    )
