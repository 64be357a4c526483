"""Small drawings as inline SVG: intervals, score densities, curves; with rounded coordinates, so that many fit."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from markupsafe import Markup

from harness.arrays import AnyFloats, Doubles
from harness.figures import roc_points
from harness.reading.escape import visible

WIDTH, HEIGHT = 120, 48  # of a chart, in its own units
BAR = 100  # width of an interval's scale, in its own units
BINS = 26
_POINTS = 22  # of a curve


@dataclass(frozen=True)
class Scale:
    """The common scale of one column."""

    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Scale:
        """The scale that holds all values, and a little more; of nothing finite, 0 to 1."""
        found = [value for value in values if math.isfinite(value)]
        if not found:
            return cls(0.0, 1.0)
        low, high = min(found), max(found)
        room = 0.04 * (high - low) or 0.04 * abs(high) or 0.5
        return cls(low - room, high + room)

    def at(self, value: float) -> str:
        """Where a value lies, in units of ``BAR``."""
        return f"{BAR * min(max((value - self.low) / (self.high - self.low), 0.0), 1.0):.1f}"


def interval_bar(scale: Scale, value: float, bands: Sequence[tuple[str, float, float]], words: str) -> Markup:
    """A value as a dot, with its intervals behind it: one element that the style sheet paints, since boards have many.

    Args:
        scale: of the column.
        value: the number.
        bands: name of the interval, ``p`` or ``s``, its lower and its upper bound.
        words: what is drawn, for those who do not see it.
    """
    found = [("d", value)] if math.isfinite(value) else []
    for name, low, high in bands:
        if math.isfinite(low) and math.isfinite(high):
            found += [(f"{name}0", low), (f"{name}1", high)]
    places = ";".join(f"--{name}:{scale.at(bound)}%" for name, bound in found)
    return Markup('<i class=iv role=img title="{}" style="{}"></i>').format(visible(words), places)


def difference_bar(scale: Scale, value: float, bounds: tuple[float, float], margin: float | None, words: str) -> Markup:
    """A difference as a dot with its interval, the line of no difference, and the margin of equality behind them."""
    band = Markup('<path class=m d="M{} 5H{}"/>').format(scale.at(-margin), scale.at(margin)) if margin else ""
    line = Markup('<path class=z d="M{0} 0V10"/><path class=p d="M{1} 5H{2}"/>')
    drawn = line.format(scale.at(0.0), *map(scale.at, bounds))
    dot = Markup('<path class=d d="M{} 5h0"/>').format(scale.at(value))
    head = Markup("<svg class=df viewBox='0 0 100 10' preserveAspectRatio=none role=img><title>{}</title>")
    return head.format(visible(words)) + band + drawn + dot + Markup("</svg>")


def densities(genuine: AnyFloats, impostor: AnyFloats, words: str) -> Markup:
    """Densities of genuine [G] and impostor [N] similarities on common bins, as two areas."""
    low, high = (float(side(np.concatenate([genuine, impostor]))) for side in (np.min, np.max))
    edges = np.linspace(low, max(high, low + 1e-6), BINS + 1)
    heights = [np.histogram(scores, edges, density=True)[0] for scores in (impostor, genuine)]
    top = max(float(each.max()) for each in heights) or 1.0
    areas = [_area(each / top) for each in heights]
    return _chart(words, Markup('<path class=im d="{}"/><path class=ge d="{}"/>').format(*areas))


def roc(genuine: Doubles, impostor: Doubles, words: str) -> Markup:
    """True accept rate over the logarithm of the false accept rate, from one impostor pair to all."""
    far, tar = roc_points(genuine, impostor)
    kept = np.unique(np.linspace(0, len(far) - 1, _POINTS).round().astype(np.int64))
    decades = max(math.log10(len(impostor)), 1e-9)
    x = WIDTH * (1 + np.log10(far[kept]) / decades)
    grid = "".join(f"M{WIDTH * (1 - k / decades):.0f} 0V{HEIGHT}" for k in range(1, math.ceil(decades)))
    line = _line(x, HEIGHT * (1 - tar[kept]))
    return _chart(words, Markup('<path class=gr d="{}"/><path class=li d="{}"/>').format(grid, line))


def curves(several: Sequence[Sequence[tuple[float, float]]], words: str) -> Markup:
    """Lines of (step, value) points on common axes, such as the training loss of every seed."""
    whole = [np.array([p for p in points if math.isfinite(p[1])]) for points in several]
    whole = [points for points in whole if len(points) > 1]
    if not whole:
        return Markup("")
    every = np.concatenate(whole)
    (left, low), (right, high) = every.min(axis=0), every.max(axis=0)
    lines = []
    for points in whole:
        kept = points[np.unique(np.linspace(0, len(points) - 1, 2 * _POINTS).round().astype(np.int64))]
        x = WIDTH * (kept[:, 0] - left) / max(right - left, 1e-9)
        lines.append(_line(x, HEIGHT * (high - kept[:, 1]) / max(high - low, 1e-9)))
    return _chart(words, Markup("").join(Markup('<path class=li d="{}"/>').format(line) for line in lines))


def _chart(words: str, body: Markup) -> Markup:
    drawing = Markup("<svg class=ch viewBox='-1 -1 122 50' role=img><title>{}</title>{}</svg>")
    return drawing.format(visible(words), body)


def _area(heights: Doubles) -> str:
    """Steps of heights from 0 to 1, by relative moves, of which those along one height are one."""
    x = np.linspace(0, WIDTH, len(heights) + 1).round().astype(int).tolist()
    y = [0, *(HEIGHT * heights).round().astype(int).tolist(), 0]
    steps, run = [], 0
    for index, width in enumerate(np.diff(x).tolist()):
        if y[index + 1] != y[index]:
            steps.append(f"{f'h{run}' if run else ''}v{y[index] - y[index + 1]}")
            run = 0
        run += width
    return f"M0 {HEIGHT}{''.join(steps)}h{run}V{HEIGHT}Z"


def _line(x: Doubles, y: Doubles) -> str:
    points = [(round(a), round(b)) for a, b in zip(x.tolist(), y.tolist(), strict=True)]
    moves = [(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(points)]
    return f"M{points[0][0]} {points[0][1]}" + "".join(f"l{dx}{' ' * (dy >= 0)}{dy}" for dx, dy in moves)
