"""Two rows -> what differs in their recipes, and whether their accuracies differ by more than chance.

With three seeds in common the rows stand for their methods (``harness.stats.comparison.method_difference``); with
fewer, only the trained models are compared (exact McNemar). ``harness.tracking.comparisons`` prints a comparison.

Letters: S seeds, P pairs of a benchmark, R bootstrap replicates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from numpy.typing import NDArray

from harness.errors import DataError, InputError
from harness.leaderboard import Row, load
from harness.results import FILE_NAME, SUITE_FILE, Result, read_result, result_folder
from harness.stats.comparison import MIN_SEEDS, Difference, McNemar, holm, mcnemar, method_difference
from harness.stats.intervals import MIN_IDENTITIES, PairIdentities, mean_replicates, multiplicities
from harness.suite import not_in

Doubles = NDArray[np.float64]

REPLICATES = 1000
ENDING = "/accuracy"
AVERAGE = "average"
# What a pair is, and what a table of pairs must hold; equal in both rows.
_PAIR = ("a", "b", "identity_a", "identity_b", "same", "fold")
# Keys of a resolved suite that name an entry of another section.
_REFERENCES = {"model": "models", "first_stage": "models", "source": "sources", "recognizer": "recognizers"}


@dataclass(frozen=True)
class Tested:
    """One benchmark, or the average: mean accuracies over the common seeds, and the test of their difference.

    ``difference`` and ``corrected`` (its p-value after Holm's correction; None for the average, which is no member of
    the family) are there with three seeds, ``models`` (seed, test, corrected p-value) below that. ``people`` says how
    many identities were resampled; 0: they are not known, and folds were.
    """

    benchmark: str
    a: float
    b: float
    pairs: int
    people: int
    difference: Difference | None = None
    corrected: float | None = None
    models: tuple[tuple[int, McNemar, float], ...] = ()


@dataclass(frozen=True)
class Comparison:
    """Row ``a`` against row ``b``; ``recipe`` maps a setting to its two values where they differ."""

    a: str
    b: str
    seeds: tuple[int, ...]
    recipe: Mapping[str, tuple[Any, Any]]
    tests: tuple[Tested, ...]
    notes: tuple[str, ...] = ()

    @property
    def of_methods(self) -> bool:
        """Whether there are seeds enough for a claim about methods."""
        return len(self.seeds) >= MIN_SEEDS


@dataclass(frozen=True)
class _Side:
    """One row with the results and tables of the common seeds."""

    row: Row
    folders: list[Path]
    results: list[Result]

    @property
    def label(self) -> str:
        return _label(self.row)

    def accuracies(self) -> dict[str, str]:
        """Protocol digest by benchmark."""
        metrics = self.results[0].metrics
        return {m.name.removesuffix(ENDING): m.protocol for m in metrics if m.name.endswith(ENDING)}

    def tables(self, benchmark: str) -> list[pa.Table]:
        return [_read_table(folder / "tables" / f"{benchmark}-pairs.parquet") for folder in self.folders]


def compare(workdir: Path, a: str, b: str) -> Comparison:
    """Compare two rows.

    Args:
        workdir: the folder that ``harness run`` wrote to.
        a, b: ``SUITE/ROW``, or the name of a row that only one suite has.

    Raises:
        InputError: a row is not there, or the two share no benchmark under one protocol, or no seed.
        DataError: a table of pairs is damaged or of an earlier version.
    """
    rows = load(workdir).rows
    first, second = _find(rows, a), _find(rows, b)
    if first is second:
        raise InputError(f"{a} and {b} are one row; give two")
    seeds = tuple(seed for seed in first.seeds if seed in second.seeds)
    if not seeds:
        have = " and ".join(f"{row.name} has {', '.join(map(str, row.seeds)) or 'none'}" for row in (first, second))
        raise InputError(f"{a} and {b} have no seed in common ({have}); run both with the same seeds")
    if _fixed(first) or _fixed(second):
        seeds = seeds[:1]
    sides = [_side(workdir, row, seeds) for row in (first, second)]
    benchmarks, notes = _benchmarks(*sides)
    recipe, tests = _recipe_difference(workdir, *sides), _tests(sides, benchmarks, seeds)
    one_suite = first.suite == second.suite
    label_a, label_b = (row.name if one_suite else _label(row) for row in (first, second))
    return Comparison(label_a, label_b, seeds, recipe, tests, (*notes, *_caveats(sides, seeds), *_few(tests)))


# --- what is compared -------------------------------------------------------------------------------------------------


def _find(rows: tuple[Row, ...], name: str) -> Row:
    names = {_label(row): row for row in rows}
    found = [row for label, row in names.items() if name in (label, row.name)]
    if len(found) > 1:
        raise InputError(f"{name}: several suites have this row; give SUITE/ROW: {', '.join(map(_label, found))}")
    if not found:
        known = names if "/" in name or len({row.suite for row in rows}) > 1 else {row.name for row in rows}
        raise InputError(not_in("the results", name, known))
    return found[0]


def _fixed(row: Row) -> bool:
    """Whether a row is one trained model whatever the seed: a recognizer that is evaluated only."""
    return row.generator == "recognizer"


def _label(row: Row) -> str:
    return f"{row.suite}/{row.name}"


def _side(workdir: Path, row: Row, seeds: tuple[int, ...]) -> _Side:
    folders = [result_folder(workdir, row.suite, row.name, seed) for seed in seeds]
    return _Side(row, folders, [read_result(folder / FILE_NAME) for folder in folders])


def _benchmarks(a: _Side, b: _Side) -> tuple[list[str], list[str]]:
    """The benchmarks that both rows have, and notes on those that only one has."""
    ours, theirs = a.accuracies(), b.accuracies()
    shared = [name for name in ours if name in theirs]
    if not shared:
        raise InputError(
            f"{a.label} and {b.label} share no verification benchmark "
            f"({', '.join(ours) or 'none'} against {', '.join(theirs) or 'none'}); evaluate both on the same protocols"
        )
    for name in shared:
        if ours[name] != theirs[name]:
            raise InputError(
                f"{name}: {a.label} was measured under protocol {_short(ours[name])}, {b.label} under "
                f"{_short(theirs[name])}; accuracies on different pairs are not compared, so evaluate both on the same"
            )
    alone = [name for name in {**ours, **theirs} if name not in shared]
    return shared, [f"not compared, only one row has it: {', '.join(alone)}"] if alone else []


def _few(tests: tuple[Tested, ...]) -> Iterator[str]:
    for test in tests:
        if test.difference and 0 < test.people < MIN_IDENTITIES:
            yield f"{test.benchmark}: {test.people} identities are too few to say how other people would score"


def _short(digest: str) -> str:
    return digest.removeprefix("sha256:")[:12]


def _caveats(sides: list[_Side], seeds: tuple[int, ...]) -> Iterator[str]:
    rows = [side.row for side in sides]
    if rows[0].recipe != rows[1].recipe:
        yield "the recipes of training differ, so a difference is of recipe and method together"
    if rows[0].size != rows[1].size:
        yield f"the datasets differ in size ({rows[0].size} against {rows[1].size})"
    for row in rows:
        if _fixed(row):
            yield f"a recognizer that is evaluated only is one trained model, whatever the seeds: {row.name}"
        left = [seed for seed in row.seeds if seed not in seeds]
        if left:
            yield f"left out: {row.name}, seed {', '.join(map(str, left))}"
        if row.mixed:
            yield f"the seeds of {row.name} differ in {row.mixed}"
        if row.left_out:
            yield f"left out of {row.name}: {row.left_out}"
    if any(row.generator_fits == 1 for row in rows) and len(seeds) >= MIN_SEEDS:
        yield "with one generator fit, nothing here holds the variance of fitting a generator again"


# --- recipes ----------------------------------------------------------------------------------------------------------


def _recipe_difference(workdir: Path, a: _Side, b: _Side) -> dict[str, tuple[Any, Any]]:
    """The resolved settings in which two rows differ: of row, model, sources, dataset, aligner, trainer, versions."""
    ours, theirs = (dict(_flat(_resolved(workdir, side))) for side in (a, b))
    keys = dict.fromkeys([*ours, *theirs])
    return {key: (ours.get(key), theirs.get(key)) for key in keys if ours.get(key) != theirs.get(key)}


def _resolved(workdir: Path, side: _Side) -> dict[str, Any]:
    """What made a row: its entry with every name replaced by what it names, the suite's common keys, versions.

    The row's own settings are those of its result file: the suite file beside it is of the latest run.
    """
    result = side.results[0]
    path = workdir / "results" / side.row.suite / SUITE_FILE
    suite = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
    row = dict(suite.get("rows", {}).get(side.row.name, {}))
    common = (
        {} if "recognizer" in row else {k: suite[k] for k in ("dataset", "aligner", "trainer", "crop_px") if k in suite}
    )
    if "aligner" in row:
        common["aligner"] = row.pop("aligner")
    out: dict[str, Any] = {"generator": result.generator, **_expand(row | common, suite), **result.parameters}
    out.pop("use", None), out.pop("settings", None)
    out["training recipe digest"] = _short(result.recipe)
    made = result.environment
    return out | {"versions": {"harness": made.harness, **made.plugins, "torch": made.torch, "device": made.device}}


def _expand(value: Any, suite: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        out = {}
        for key, item in value.items():
            named = suite.get(_REFERENCES.get(key, ""), {})
            out[key] = _expand(named[item], suite) if isinstance(item, str) and item in named else _expand(item, suite)
        return out
    return value


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flat(item, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value


# --- tests ------------------------------------------------------------------------------------------------------------


def _tests(sides: list[_Side], benchmarks: list[str], seeds: tuple[int, ...]) -> tuple[Tested, ...]:
    pairs = [_paired(name, *sides) for name in benchmarks]
    if len(seeds) < MIN_SEEDS:
        return tuple(compare_models(pairs, seeds))
    return tuple(compare_methods(pairs))


@dataclass(frozen=True)
class Paired:
    """Decisions of both rows on the same pairs.

    Attributes:
        a, b: whether each pair was decided correctly in each seed, bool [P, S].
        same: genuine or not, bool [P].
        units: what is resampled: the identities, or the folds where identities are not known.
        people: the identities' numbers in the protocol, ascending, int64 [I]; None where they are not known.
    """

    benchmark: str
    a: NDArray[np.bool_]
    b: NDArray[np.bool_]
    same: NDArray[np.bool_]
    units: PairIdentities
    people: NDArray[np.int64] | None

    @property
    def differences(self) -> Doubles:
        """1 where only A is right, -1 where only B is, float64 [P, S]."""
        return self.a.astype(np.float64) - self.b


def _read_table(path: Path) -> pa.Table:
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be read as a table of pairs ({error}); run the suite again") from error
    missing = [name for name in (*_PAIR, "correct") if name not in table.column_names]
    if missing:
        raise DataError(
            f"{path}: a table of pairs without {', '.join(missing)}, of an earlier version; run the suite again"
        )
    return table


def _paired(benchmark: str, a: _Side, b: _Side) -> Paired:
    tables = [side.tables(benchmark) for side in (a, b)]
    first = tables[0][0]
    for side, several in zip((a, b), tables, strict=True):
        for folder, table in zip(side.folders, several, strict=True):
            if not table.select(_PAIR).equals(first.select(_PAIR)):
                raise DataError(
                    f"{folder}: its pairs of {benchmark} are not those of {a.folders[0]}; run the suite again"
                )
    people_a, people_b, same, fold = (first[name].to_numpy(zero_copy_only=False) for name in _PAIR[2:])
    right_a, right_b = (
        np.stack([table["correct"].to_numpy(zero_copy_only=False) for table in several], axis=1) for several in tables
    )
    identities = PairIdentities.known(people_a, people_b, same)
    if identities is None:
        return Paired(benchmark, right_a, right_b, same, PairIdentities.of(fold, fold), None)
    return Paired(benchmark, right_a, right_b, same, identities, np.unique(np.concatenate([people_a, people_b])))


def compare_models(benchmarks: list[Paired], seeds: tuple[int, ...]) -> Iterator[Tested]:
    """Exact McNemar in every seed; Holm over all of them."""
    found = [[mcnemar(x.a[:, s], x.b[:, s]) for s in range(len(seeds))] for x in benchmarks]
    corrected = np.reshape(holm([test.p for row in found for test in row]), (len(benchmarks), len(seeds)))
    for x, row, p_values in zip(benchmarks, found, corrected.tolist(), strict=True):
        models = tuple(zip(seeds, row, p_values, strict=True))
        yield Tested(x.benchmark, float(x.a.mean()), float(x.b.mean()), len(x.same), 0, models=models)


def compare_methods(benchmarks: list[Paired], replicates: int = REPLICATES) -> Iterator[Tested]:
    """The test of methods on every benchmark, with Holm over them, and on the average."""
    drawn = _replicates(benchmarks, replicates)
    found = [_difference(x.differences.mean(axis=0), r, x.units.count) for x, r in zip(benchmarks, drawn, strict=True)]
    corrected = holm([difference.p for difference in found])
    for x, difference, p in zip(benchmarks, found, corrected, strict=True):
        yield Tested(x.benchmark, float(x.a.mean()), float(x.b.mean()), len(x.same), _people(x), difference, p)
    if len(benchmarks) > 1:
        per_seed = np.mean([x.differences.mean(axis=0) for x in benchmarks], axis=0)
        a, b = (float(np.mean([getattr(x, side).mean() for x in benchmarks])) for side in ("a", "b"))
        difference = _difference(per_seed, np.mean(drawn, axis=0), min(x.units.count for x in benchmarks))
        yield Tested(AVERAGE, a, b, sum(len(x.same) for x in benchmarks), min(map(_people, benchmarks)), difference)


def _difference(per_seed: Doubles, replicates: Doubles, units: int) -> Difference:
    # of few units, such as ten folds, a bootstrap's variance is too small by (n - 1) / n
    return method_difference(per_seed, float(np.nanvar(replicates)) * units / (units - 1), units)


def _people(x: Paired) -> int:
    """How many people were resampled; 0 where folds were."""
    return 0 if x.people is None else len(x.people)


def _replicates(benchmarks: list[Paired], count: int) -> list[Doubles]:
    """Mean difference over the seeds in bootstrap replicates, [R] per benchmark.

    A person who occurs in several benchmarks is drawn equally often in all of them. Should two benchmarks give one
    number to two people, that adds noise to the variance of the average, and no bias.
    """
    rng = np.random.default_rng(0)
    known = [x.people for x in benchmarks if x.people is not None]
    people = np.unique(np.concatenate(known)) if known else np.zeros(0, dtype=np.int64)
    drawn = multiplicities(len(people), count, rng) if known else np.zeros((count, 0), dtype=np.int64)
    out = []
    for x in benchmarks:
        mean = x.differences.mean(axis=1, keepdims=True)
        own = (
            multiplicities(x.units.count, count, rng)
            if x.people is None
            else drawn[:, np.searchsorted(people, x.people)]
        )
        out.append(mean_replicates(mean, x.same, x.units, own)[:, 0])
    return out
