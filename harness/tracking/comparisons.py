"""A comparison of two rows as a table, JSON and markdown: recipes first, then the tests."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from harness.compare import AVERAGE, Comparison, Tested
from harness.stats.comparison import MIN_SEEDS, SIGNIFICANCE
from harness.tracking.formats import pipes, plain
from harness.tracking.tables import MISSING

if TYPE_CHECKING:
    from rich.console import Console

SCHEMA = 1
MODELS_ONLY = "two trained models, not methods"


def to_json(comparison: Comparison) -> str:
    """The whole comparison; accuracies and differences are fractions."""
    document: dict[str, Any] = {"schema": SCHEMA, "of": "methods" if comparison.of_methods else "models"}
    document |= asdict(comparison)
    document["recipe"] = {key: list(values) for key, values in comparison.recipe.items()}
    document["footers"] = footers(comparison)
    return json.dumps(plain(document), indent=1, ensure_ascii=False) + "\n"


def to_markdown(comparison: Comparison) -> str:
    """Two pipe tables and the footers as a list."""
    blocks = [f"**{title}**\n\n{pipes(header, lines)}" for title, header, lines in parts(comparison)]
    blocks.append("\n".join("- " + line for line in footers(comparison)))
    return "\n\n".join(blocks) + "\n"


def render(comparison: Comparison, console: Console) -> None:
    """Print the comparison."""
    from rich.table import Table
    from rich.text import Text

    for title, header, rows in parts(comparison):
        table = Table(title=title, title_justify="left", title_style="bold")
        for name in header:
            table.add_column(Text(name), overflow="fold")
        for line in rows:
            table.add_row(*map(Text, line))
        console.print(table)
    for footer in footers(comparison):
        console.print(footer, style="dim", markup=False, highlight=False)


def parts(comparison: Comparison) -> list[tuple[str, list[str], list[list[str]]]]:
    """Title, header and lines of the two tables."""
    a, b = comparison.a, comparison.b
    settings = [[key, _text(left), _text(right)] for key, (left, right) in comparison.recipe.items()]
    recipe = (
        "What differs in the recipes" if settings else "No resolved setting differs: two runs of one recipe",
        ["setting", a, b],
        settings or [["-", "-", "-"]],
    )
    if comparison.of_methods:
        title = f"{a} against {b}: methods, over {len(comparison.seeds)} seeds and over people"
        header = ["benchmark", f"{a} %", f"{b} %", "difference", "95% interval", "p", "p (Holm)", "people ±", "seeds ±"]
        return [recipe, (title, header, [_method_line(test) for test in comparison.tests])]
    title = f"{a} against {b}: {MODELS_ONLY}"
    header = ["benchmark", "seed", "difference", f"only {a} right", f"only {b} right", "p", "p (Holm)"]
    return [recipe, (title, header, [line for test in comparison.tests for line in _model_lines(test)])]


def _method_line(test: Tested) -> list[str]:
    found = test.difference
    assert found is not None
    return [
        test.benchmark,
        f"{100 * test.a:.2f}",
        f"{100 * test.b:.2f}",
        f"{100 * found.value:+.2f}",
        f"[{100 * found.low:+.2f}, {100 * found.high:+.2f}]",
        _p(found.p),
        MISSING if test.corrected is None else _p(test.corrected),
        f"{100 * found.people:.2f}",
        f"{100 * found.seeds:.2f}",
    ]


def _model_lines(test: Tested) -> list[list[str]]:
    out = []
    for seed, found, corrected in test.models:
        points = 100 * (found.only_a - found.only_b) / test.pairs
        counts = [str(found.only_a), str(found.only_b)]
        out.append([test.benchmark, str(seed), f"{points:+.2f}", *counts, _p(found.p), _p(corrected)])
    return out


def _p(value: float) -> str:
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}"


def _text(value: Any) -> str:
    return MISSING if value is None else str(value)


def footers(comparison: Comparison) -> list[str]:
    """What a reader must know beside the numbers; one line each."""
    lines = [_verdict(comparison)]
    if comparison.of_methods:
        lines += [
            "accuracy over all pairs, mean over the seeds; differences, intervals and ± (standard errors) in points",
            "test: people resampled jointly (bootstrap) plus the spread of the paired seeds, by Cochran and Cox's rule",
        ]
        if any(test.benchmark == AVERAGE for test in comparison.tests):
            count = len(comparison.tests) - 1
            lines.append(f"Holm's correction is over the {count} benchmarks; the average is tested once, uncorrected")
        unknown = [test.benchmark for test in comparison.tests if not test.people and test.benchmark != AVERAGE]
        if unknown:
            taken = "identities are not known, so folds were resampled, which are taken to show different people"
            lines.append(f"{taken}: {', '.join(unknown)}")
    else:
        lines += [
            f"{MODELS_ONLY}: with another seed the sign may be another",
            "test: exact McNemar on the decisions of each pair, which takes pairs as independent; Holm over all lines",
        ]
    return [*lines, f"seeds: {', '.join(map(str, comparison.seeds))}", *comparison.notes]


def _verdict(comparison: Comparison) -> str:
    """One line: where the difference is more than chance."""
    if not comparison.of_methods:
        have = len(comparison.seeds)
        return (
            f"no claim about methods: it needs {MIN_SEEDS} seeds in common, here {'is' if have == 1 else 'are'} {have}"
        )
    higher: dict[str, list[str]] = {comparison.a: [], comparison.b: []}
    for test in comparison.tests:
        assert test.difference is not None
        p = test.difference.p if test.corrected is None else test.corrected
        if p < SIGNIFICANCE:
            higher[comparison.a if test.difference.value > 0 else comparison.b].append(test.benchmark)
    shown = [f"{name} is higher on {', '.join(where)}" for name, where in higher.items() if where]
    return "; ".join(shown) or f"no difference shown at the {SIGNIFICANCE:.0%} level; that is not a proof of equality"
