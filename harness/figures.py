"""Figures as PNG bytes. matplotlib is imported when a figure is drawn, without pyplot and its global state."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.arrays import AnyFloats, Doubles, Images, Ints

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GENUINE_COLOR, IMPOSTOR_COLOR = "#0072B2", "#D55E00"  # told apart by color-blind readers (Okabe and Ito)
KIND_COLORS = (GENUINE_COLOR, "#009E73", IMPOSTOR_COLOR)
BINS = 80
ROC_POINTS = 500
_LOWEST_FAR = 1e-4
_DET_TICKS = (1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.05, 0.2, 0.5, 0.8, 0.95, 0.99)


def new_figure(width_in: float = 5.0, height_in: float = 3.4) -> tuple[Figure, Axes]:
    """A figure with one axes object; sizes in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    return figure, figure.add_subplot()


def to_png(figure: Figure, dpi: int = 120) -> bytes:
    """Render a figure; the bytes hold no time and no version."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


def pair_figures(name: str, genuine: Doubles, impostor: Doubles, lowest_far: float = _LOWEST_FAR) -> dict[str, bytes]:
    """What is drawn of a protocol's similarities, genuine [G] and impostor [N]: densities, ROC and DET curve."""
    return {
        f"{name}-scores": score_histogram(genuine, impostor, name),
        f"{name}-roc": roc_curve(genuine, impostor, name, lowest_far),
        f"{name}-det": det_curve(genuine, impostor, name, lowest_far),
    }


def score_histogram(
    genuine: AnyFloats,
    impostor: AnyFloats,
    title: str,
    genuine_name: str = "genuine",
    impostor_name: str = "impostor",
) -> bytes:
    """Densities of genuine [G] and impostor [N] similarities on common bins."""
    figure, axes = new_figure()
    low = min(float(genuine.min()), float(impostor.min()))
    high = max(float(genuine.max()), float(impostor.max()))
    edges = np.linspace(low, max(high, low + 1e-6), BINS + 1)
    named = (genuine, GENUINE_COLOR, genuine_name), (impostor, IMPOSTOR_COLOR, impostor_name)
    for scores, color, label in named:
        axes.hist(scores, bins=edges.tolist(), density=True, color=color, alpha=0.6, label=f"{label} ({len(scores):,})")
    axes.set(xlabel="cosine similarity", ylabel="density", title=title)
    axes.legend(frameon=False)
    return to_png(figure)


def binned_histogram(genuine: Ints, impostor: Ints, edges: Doubles, title: str) -> bytes:
    """:func:`score_histogram` from counts [K] of similarities between ``edges`` [K + 1]."""
    figure, axes = new_figure()
    held = np.flatnonzero(genuine + impostor)
    group = max(1, -(-(int(held[-1]) - int(held[0]) + 1) // BINS))  # fine bins per drawn bin
    cuts = np.arange(held[0], held[-1] + 1, group)
    drawn = edges[np.append(cuts, min(cuts[-1] + group, len(genuine)))]
    for counts, color, label in ((genuine, GENUINE_COLOR, "genuine"), (impostor, IMPOSTOR_COLOR, "impostor")):
        density = np.add.reduceat(counts, cuts) / counts.sum() / np.diff(drawn)
        axes.stairs(density, drawn, fill=True, color=color, alpha=0.6, label=f"{label} ({counts.sum():,})")
    axes.set(xlabel="cosine similarity", ylabel="density", title=title)
    axes.legend(frameon=False)
    return to_png(figure)


def picture_pairs(left: Images, right: Images, captions: Sequence[str], title: str, *sides: str) -> bytes:
    """Pairs of pictures, uint8 [P, H, W, 3] each, one above the other with a caption; ``sides`` name the two rows."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(3.0, 1.1 * len(captions)), 3.0), layout="constrained")
    grid = figure.subplots(2, len(captions), squeeze=False)
    for row, images in enumerate((left, right)):
        for column, image in enumerate(images):
            axes = grid[row][column]
            axes.imshow(image)
            axes.set(xticks=[], yticks=[], title=captions[column] if row == 0 else "")
            if column == 0 and sides:
                axes.set_ylabel(sides[row])
    figure.suptitle(title)
    return to_png(figure)


def picture_rows(rows: Sequence[Images], captions: Sequence[Sequence[str]], title: str) -> bytes:
    """Rows of pictures, uint8 [P, S, S, 3] each, every picture over its caption; rows may differ in length."""
    side, columns = rows[0].shape[1], max(len(images) for images in rows)
    gap, line = side // 8, side // 2
    mosaic = np.full((len(rows) * (side + line), columns * (side + gap), 3), 255, np.uint8)
    figure, axes = new_figure(max(4.0, 0.9 * columns), 1.2 * len(rows) + 0.4)
    for y, (images, texts) in enumerate(zip(rows, captions, strict=True)):
        top = y * (side + line)
        for x, (image, text) in enumerate(zip(images, texts, strict=True)):
            left = x * (side + gap)
            mosaic[top : top + side, left : left + side] = image
            axes.text(left + side / 2, top + side + line / 6, text, ha="center", va="top", fontsize=8)
    axes.imshow(mosaic)
    axes.axis("off")
    axes.set_title(title, fontsize=9)
    return to_png(figure)


def score_outlines(scores: Mapping[str, tuple[Doubles, Doubles]], title: str) -> bytes:
    """Outlines of the densities of several kinds of pairs: genuine [G] drawn through, impostor [N] dashed."""
    figure, axes = new_figure(6.5, 4.0)
    everything = np.concatenate([part for pair in scores.values() for part in pair])
    edges = np.linspace(float(everything.min()), float(everything.max()) + 1e-6, BINS + 1)
    for (name, pair), color in zip(scores.items(), KIND_COLORS, strict=False):
        for part, kind, line in zip(pair, ("genuine", "impostor"), ("-", "--"), strict=True):
            style: dict[str, Any] = {"histtype": "step", "color": color, "linestyle": line, "linewidth": 1.4}
            axes.hist(part, bins=edges.tolist(), density=True, label=f"{name}, {kind} ({len(part):,})", **style)
    axes.set(xlabel="cosine similarity", ylabel="density", title=title)
    axes.legend(frameon=False, fontsize=7, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.16))
    return to_png(figure)


def roc_curve(genuine: Doubles, impostor: Doubles, title: str, lowest_far: float = _LOWEST_FAR) -> bytes:
    """True accept rate over false accept rate (logarithmic), from genuine [G] and impostor [N] similarities."""
    figure, axes = new_figure()
    far, tar = roc_points(genuine, impostor)
    axes.semilogx(far, tar, color=GENUINE_COLOR)
    axes.set(xlabel="false accept rate", ylabel="true accept rate", title=title, ylim=(0, 1.01))
    axes.set_xlim(max(lowest_far, 0.5 / len(impostor)), 1)
    axes.grid(alpha=0.3)
    return to_png(figure)


def det_curve(genuine: Doubles, impostor: Doubles, title: str, lowest_far: float = _LOWEST_FAR) -> bytes:
    """Detection error trade-off: miss rate over false accept rate, both axes scaled by normal deviates.

    Source: Martin, Doddington, Kamm, Ordowski and Przybocki, Eurospeech 1997.
    """
    from scipy.special import ndtri

    figure, axes = new_figure()
    x, y = det_points(genuine, impostor)
    axes.plot(x, y, color=GENUINE_COLOR)
    ticks, labels = ndtri(_DET_TICKS), [f"{tick:g}" for tick in _DET_TICKS]
    axes.set_xticks(ticks, labels, rotation=45)
    axes.set_yticks(ticks, labels)
    axes.set(xlabel="false accept rate", ylabel="miss rate", title=title)
    axes.set(xlim=(ndtri(max(lowest_far, 0.5 / len(impostor))), ndtri(0.99)), ylim=(y.min() - 0.2, y.max() + 0.2))
    axes.grid(alpha=0.3)
    return to_png(figure)


def det_points(genuine: Doubles, impostor: Doubles) -> tuple[Doubles, Doubles]:
    """Normal deviates of false accept and miss rates, each [<= ROC_POINTS]: a line where both scores are normal.

    A rate of 0 (or 1) is drawn at half an error, where it would lie infinitely far out.
    """
    from scipy.special import ndtri

    far, tar = roc_points(genuine, impostor)
    rates = ((far, 0.5 / len(impostor)), (1 - tar, 0.5 / len(genuine)))
    x, y = (np.asarray(ndtri(rate.clip(least, 1 - least))) for rate, least in rates)
    return x, y


def roc_points(genuine: Doubles, impostor: Doubles) -> tuple[Doubles, Doubles]:
    """Points of the receiver operating characteristic: false and true accept rates, each [<= ROC_POINTS]."""
    ranked = np.sort(impostor)[::-1]
    accepted = np.unique(np.geomspace(1, len(ranked), min(ROC_POINTS, len(ranked))).round().astype(np.int64))
    thresholds = ranked[accepted - 1]
    above = len(genuine) - np.searchsorted(np.sort(genuine), thresholds, side="left")
    return accepted / len(ranked), above / len(genuine)


def group_dots(table: Mapping[str, NDArray[Any]], title: str) -> bytes:
    """Accuracy, TAR and FMR of groups beside each other, with their intervals where there are such.

    Args:
        table: columns ``group`` [G], and of each rate its value and ``_low`` and ``_high``, NaN for none.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 1.2 + 0.3 * len(table["group"])), layout="constrained")
    places = np.arange(len(table["group"]))[::-1]
    for axes, rate in zip(figure.subplots(1, 3, sharey=True), ("accuracy", "tar", "fmr"), strict=True):
        axes.hlines(places, table[f"{rate}_low"], table[f"{rate}_high"], color=GENUINE_COLOR)
        axes.plot(table[rate], places, "o", color=GENUINE_COLOR)
        axes.set(yticks=places, yticklabels=table["group"], xlabel=rate if rate == "accuracy" else rate.upper())
        axes.grid(axis="x", alpha=0.3)
    figure.suptitle(title)
    return to_png(figure)
