"""A comparison of two rows as a table, JSON and markdown: recipes first, then the tests, then equality."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from harness.reading.comparison import Comparison
from harness.reading.escape import all_visible, markdown_text
from harness.reading.formats import document_text, pipes
from harness.reading.tables import MISSING
from harness.reading.tested import Tested
from harness.stats.comparison import MIN_SEEDS, SIGNIFICANCE

if TYPE_CHECKING:
    from rich.console import Console

SCHEMA = 2
MODELS_ONLY = "two trained models, not methods"
NOT_SHOWN = "not shown"

Part = tuple[str, list[str], list[list[str]]]  # title, header, lines


def to_json(comparison: Comparison) -> str:
    """The whole comparison; values and differences are fractions, or shares where the metric is relative."""
    document: dict[str, Any] = {"schema": SCHEMA, "of": "methods" if comparison.of_methods else "models"}
    document |= asdict(comparison)
    document["recipe"] = {key: list(values) for key, values in comparison.recipe.items()}
    document["tests"] = [test.plain() for test in comparison.tests]
    document["equal"] = comparison.equal
    document["footers"] = footers(comparison)
    return document_text(document)


def to_markdown(comparison: Comparison) -> str:
    """Pipe tables and the footers as a list."""
    comparison = all_visible(comparison)
    return markdown(parts(comparison), footers(comparison))


def render(comparison: Comparison, console: Console) -> None:
    """Print the comparison."""
    comparison = all_visible(comparison)
    print_parts(parts(comparison), footers(comparison), console)


def markdown(tables: Sequence[Part], lines: Sequence[str]) -> str:
    """Tables with their titles, and lines as a list."""
    blocks = [f"**{markdown_text(title)}**\n\n{pipes(header, rows)}" for title, header, rows in tables]
    return "\n\n".join([*blocks, "\n".join("- " + markdown_text(line) for line in lines)]) + "\n"


def print_parts(tables: Sequence[Part], lines: Sequence[str], console: Console) -> None:
    """Print tables with their titles, and lines."""
    from rich.table import Table
    from rich.text import Text

    for title, header, rows in tables:
        table = Table(title=Text(title, "bold"), title_justify="left")
        for name in header:
            table.add_column(Text(name), overflow="fold")
        for row in rows:
            table.add_row(*map(Text, row))
        console.print(table)
    for line in lines:
        console.print(line, style="dim", markup=False, highlight=False)


def parts(comparison: Comparison) -> list[Part]:
    """The tables that have lines; that of the recipes always."""
    made = [_recipes(comparison)]
    if comparison.of_methods:
        made += [_methods(comparison), _datasets(comparison), _equality(comparison)]
    else:
        made.append(_models(comparison))
    return [made[0], *(part for part in made[1:] if part[2])]


def _recipes(comparison: Comparison) -> Part:
    settings = [[key, text(left), text(right)] for key, (left, right) in comparison.recipe.items()]
    title = "What differs in the recipes" if settings else "No resolved setting differs: two runs of one recipe"
    return title, ["setting", comparison.a, comparison.b], settings or [["-", "-", "-"]]


def _methods(comparison: Comparison) -> Part:
    a, b = comparison.a, comparison.b
    title = f"{a} against {b}: methods, over {len(comparison.seeds)} seeds and over people"
    header = ["benchmark", f"{a} %", f"{b} %", "difference", "95% interval", "p", "p (Holm)", "people ±", "seeds ±"]
    return title, header, [_method_line(test) for test in comparison.tests if test.pairs]


def _method_line(test: Tested) -> list[str]:
    found = test.difference
    assert found is not None
    return [
        test.title,
        f"{100 * test.a:.2f}",
        f"{100 * test.b:.2f}",
        f"{100 * found.value:+.2f}",
        f"[{100 * found.low:+.2f}, {100 * found.high:+.2f}]",
        _p(found.p),
        MISSING if test.corrected is None else _p(test.corrected),
        f"{100 * found.people:.2f}",
        f"{100 * found.seeds:.2f}",
    ]


def _datasets(comparison: Comparison) -> Part:
    a, b = comparison.a, comparison.b
    lines = []
    for test in comparison.tests:
        if test.difference and not test.pairs:
            found, number = test.difference, test.about.number
            values = number(test.a), number(test.b), test.shown(found.value), test.interval((found.low, found.high))
            lines.append([test.heading, *values, _p(found.p)])
    title = f"{a} against {b}: datasets, over {len(comparison.seeds)} seeds"
    return title, ["metric", a, b, "difference", "95% interval", "p"], lines


def _equality(comparison: Comparison) -> Part:
    lines = [
        [test.heading, test.interval(test.bounds), f"within {margin(test)}", "yes" if test.equal else NOT_SHOWN]
        for test in comparison.margins
        if test.bounds is not None
    ]
    title = f"Is {comparison.a} equal to {comparison.b}? {verdict_of_equality(comparison)}"
    return title, ["quantity", "90% interval", "margin", "equal"], lines


def margin(test: Tested) -> str:
    """The margin in the unit of the difference."""
    return f"{test.scaled * (test.about.margin or 0.0):g}"


def verdict_of_equality(comparison: Comparison) -> str:
    """One word on all margins together."""
    return MISSING if comparison.equal is None else "yes" if comparison.equal else NOT_SHOWN


def _models(comparison: Comparison) -> Part:
    a, b = comparison.a, comparison.b
    header = ["benchmark", "seed", "difference", f"only {a} right", f"only {b} right", "p", "p (Holm)"]
    return f"{a} against {b}: {MODELS_ONLY}", header, [line for test in comparison.tests for line in _model_lines(test)]


def _model_lines(test: Tested) -> list[list[str]]:
    out = []
    for seed, found, corrected in test.models:
        points = 100 * (found.only_a - found.only_b) / test.pairs
        counts = [str(found.only_a), str(found.only_b)]
        out.append([test.title, str(seed), f"{points:+.2f}", *counts, _p(found.p), _p(corrected)])
    return out


def _p(value: float) -> str:
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}"


def text(value: Any) -> str:
    """A setting as tables show it."""
    return MISSING if value is None else str(value)


# --- footers ----------------------------------------------------------------------------------------------------------


def footers(comparison: Comparison) -> list[str]:
    """What a reader must know beside the numbers; one line each."""
    lines = [_verdict(comparison)]
    if comparison.of_methods:
        lines += [*_paired_lines(comparison), *_dataset_lines(comparison), *_equality_lines(comparison)]
    else:
        lines += [
            f"{MODELS_ONLY}: with another seed the sign may be another",
            "test: exact McNemar on the decisions of each pair, which takes pairs as independent; Holm over all lines",
        ]
    return [*lines, f"seeds: {', '.join(map(str, comparison.seeds))}", *comparison.notes]


def _paired_lines(comparison: Comparison) -> list[str]:
    tests = [test for test in comparison.tests if test.pairs]
    if not tests:
        return []
    lines = [
        "accuracy over all pairs, mean over the seeds; differences, intervals and ± (standard errors) in points",
        "test: people resampled jointly (bootstrap) plus the spread of the paired seeds, by Cochran and Cox's rule",
    ]
    averages = [test.title for test in tests if test.about.members]
    if averages:
        count = len(tests) - len(averages)
        lines.append(f"Holm's correction is over the {count} benchmarks; the average is tested once, uncorrected")
    unknown = [test.title for test in tests if not test.people and not test.about.members]
    if unknown:
        taken = "identities are not known, so folds were resampled, which are taken to show different people"
        lines.append(f"{taken}: {', '.join(unknown)}")
    return lines


def _dataset_lines(comparison: Comparison) -> list[str]:
    tests = [test for test in comparison.tests if not test.pairs]
    if not tests:
        return []
    taken = "a paired t test over the seeds, every one of which draws the dataset's people anew"
    lines = [f"datasets: {taken}; each metric is tested by itself, uncorrected"]
    relative = [test.title for test in tests if test.about.relative]
    return [*lines, f"in percent of {comparison.b}: {', '.join(relative)}"] if relative else lines


def _equality_lines(comparison: Comparison) -> list[str]:
    if comparison.equal is None:
        return []
    lines = ["equal: the 90% interval of the difference lies within the margin, in every quantity that has one"]
    if comparison.untested:
        lines.append(f"equality is not shown, as there is no test of {', '.join(comparison.untested)}")
    return lines


def _verdict(comparison: Comparison) -> str:
    """One line: where the difference is more than chance."""
    if not comparison.of_methods:
        have = len(comparison.seeds)
        return (
            f"no claim about methods: it needs {MIN_SEEDS} seeds in common, here {'is' if have == 1 else 'are'} {have}"
        )
    if not comparison.tests:
        return "nothing could be tested"
    higher: dict[str, list[str]] = {comparison.a: [], comparison.b: []}
    for test in comparison.tests:
        assert test.difference is not None
        p = test.difference.p if test.corrected is None else test.corrected
        if p < SIGNIFICANCE:
            higher[comparison.a if test.difference.value > 0 else comparison.b].append(test.title)
    shown = [f"{name} is higher on {', '.join(where)}" for name, where in higher.items() if where]
    return "; ".join(shown) or f"no difference shown at the {SIGNIFICANCE:.0%} level; that is not a proof of equality"
