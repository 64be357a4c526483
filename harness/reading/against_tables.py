"""Rows compared with one, as tables, JSON, markdown and a picture."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any

from harness.figures import GENUINE_COLOR, to_png
from harness.reading.against import Against, Quantity
from harness.reading.comparison_tables import (
    SCHEMA,
    Part,
    margin,
    markdown,
    print_parts,
    text,
    verdict_of_equality,
)
from harness.reading.escape import all_visible, picture_text
from harness.reading.formats import document_text
from harness.reading.tables import MISSING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from rich.console import Console

PANELS = 3  # side by side


def to_json(against: Against) -> str:
    """Every test; values and differences are fractions, or shares where the metric is relative."""
    quantities = [
        {
            "metric": q.about.name,
            "title": q.about.title,
            "rows": {row: test.plain() | {"corrected_over_rows": q.corrected[row]} for row, test in q.tests.items()},
        }
        for q in against.quantities
    ]
    equal = {comparison.a: comparison.equal for comparison in against.comparisons}
    recipes = {c.a: {key: list(values) for key, values in c.recipe.items()} for c in against.comparisons}
    document: dict[str, Any] = {"schema": SCHEMA, "reference": against.reference, "rows": list(against.rows)}
    document |= {"recipes": recipes, "quantities": quantities, "equal": equal, "footers": footers(against)}
    return document_text(document)


def to_markdown(against: Against) -> str:
    """Pipe tables and the footers as a list."""
    against = all_visible(against)
    return markdown(parts(against), footers(against))


def render(against: Against, console: Console) -> None:
    """Print the tables, with intervals on lines of their own."""
    against = all_visible(against)
    stacked = [
        (title, header, [[_stacked(c) for c in line] for line in rows]) for title, header, rows in parts(against)
    ]
    print_parts(stacked, footers(against), console)


def _stacked(cell: str) -> str:
    return cell.replace(" [", "\n[").replace("] p ", "]\np ")


def parts(against: Against) -> list[Part]:
    """Recipes, differences of decisions and of datasets, and equality; what has no column is left out."""
    to = f"Differences to {against.reference}"
    paired = [q for q in against.quantities if _pairs(q)]
    datasets = [q for q in against.quantities if not _pairs(q)]
    made = [_recipes(against), _differences(f"{to}: accuracy", paired, against)]
    made += [_differences(f"{to}: datasets", datasets, against), _equality(against)]
    return [part for part in made if len(part[1]) > 1]


def _pairs(quantity: Quantity) -> bool:
    return any(test.pairs for test in quantity.tests.values())


def _recipes(against: Against) -> Part:
    lines = []
    for comparison in against.comparisons:
        settings = [f"{key}: {text(ours)}, not {text(theirs)}" for key, (ours, theirs) in comparison.recipe.items()]
        lines.append([comparison.a, "; ".join(settings) or MISSING])
    return "What differs in the recipes", ["row", f"where it is not as {against.reference}"], lines


def _differences(title: str, quantities: list[Quantity], against: Against) -> Part:
    lines = [[row, *(_difference(q, row) for q in quantities)] for row in against.rows]
    return title, ["row", *(q.heading for q in quantities)], lines


def _difference(quantity: Quantity, row: str) -> str:
    test = quantity.tests.get(row)
    if test is None or test.difference is None:
        return MISSING
    found = test.difference
    return f"{test.shown(found.value)} {test.interval((found.low, found.high))} p {quantity.corrected[row]:.2g}"


def _equality(against: Against) -> Part:
    shown = _with_margin(against)
    lines = []
    for comparison in against.comparisons:
        tests = {test.about.name: test for test in comparison.margins}
        found = [tests.get(q.about.name) for q in shown]
        bounds = [test.interval(test.bounds) if test and test.bounds else MISSING for test in found]
        lines.append([comparison.a, *bounds, verdict_of_equality(comparison)])
    if not shown:
        return "", [], []
    titles = [f"{q.heading} (within {margin(next(iter(q.tests.values())))})" for q in shown]
    return f"Equal to {against.reference}? (90% intervals)", ["row", *titles, "equal"], lines


def _with_margin(against: Against) -> list[Quantity]:
    """The quantities that equality rests on in some row."""
    names = {test.about.name for comparison in against.comparisons for test in comparison.margins}
    return [q for q in against.quantities if q.about.name in names]


def footers(against: Against) -> list[str]:
    """What a reader must know beside the numbers; one line each."""
    rows = f"{len(against.rows)} rows" if len(against.rows) > 1 else "one row"
    lines = [f"mean over the seeds [95% interval], and p of no difference after Holm's correction over {rows}"]
    if any(_pairs(q) for q in against.quantities):
        lines.append("accuracy: people and seeds together, as in `harness compare A B`")
    if not all(_pairs(q) for q in against.quantities):
        lines.append("datasets: paired t tests over the seeds, every one of which draws the dataset's people anew")
    if relative := [q.about.title for q in against.quantities if q.about.relative]:
        lines.append(f"in percent of {against.reference}: {', '.join(relative)}")
    if _with_margin(against):
        lines.append("equal: every 90% interval of the same differences lies within its margin")
    untested = dict.fromkeys(title for comparison in against.comparisons for title in comparison.untested)
    if untested:
        lines.append(f"equality is not shown where there is no test of {', '.join(untested)}")
    return [*lines, *against.notes]


# --- picture ----------------------------------------------------------------------------------------------------------


def picture(against: Against) -> bytes:
    """One panel per quantity, an average in place of its members: 95 and 90 percent intervals, and the margins; PNG."""
    from matplotlib.figure import Figure

    covered = {name for q in against.quantities for name in q.about.members}
    drawn = [q for q in against.quantities if q.about.name not in covered]
    columns = min(PANELS, len(drawn))
    lines = ceil(len(drawn) / columns)
    figure = Figure(figsize=(3.2 * columns, lines * (1.1 + 0.3 * len(against.rows))), layout="constrained")
    grid = figure.subplots(lines, columns, sharey=True, squeeze=False).ravel()
    for axes, quantity in zip(grid, drawn, strict=False):
        _panel(axes, quantity, against.rows)
    grid[0].invert_yaxis()  # of all panels, which share it
    for axes in grid[len(drawn) :]:
        axes.remove()
    figure.supxlabel(picture_text(f"difference to {against.reference}"))
    return to_png(figure)


def _panel(axes: Axes, quantity: Quantity, rows: tuple[str, ...]) -> None:
    """Differences with 95 (thin) and 90 percent intervals (thick), and the margin as a band."""
    scale = next(iter(quantity.tests.values())).scaled
    if quantity.about.margin is not None:
        axes.axvspan(-scale * quantity.about.margin, scale * quantity.about.margin, color="0.9")
    axes.axvline(0, color="0.5", linewidth=0.8)
    for y, row in enumerate(rows):
        test = quantity.tests.get(row)
        if test and test.difference and test.bounds:
            axes.hlines(y, scale * test.difference.low, scale * test.difference.high, color=GENUINE_COLOR, linewidth=1)
            low, high = (scale * bound for bound in test.bounds)
            axes.hlines(y, low, high, color=GENUINE_COLOR, linewidth=4, alpha=0.6)
            axes.plot(scale * test.difference.value, y, "o", color=GENUINE_COLOR)
    axes.set(title=picture_text(quantity.heading), yticks=range(len(rows)), yticklabels=list(map(picture_text, rows)))
