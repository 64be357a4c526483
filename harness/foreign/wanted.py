"""How weights want their pictures, found by trying: color order, pixel values, crop and direction.

A recognizer that is given pictures in another way than it was trained on still tells people apart, only worse. Of every
way that is tried, the cosines of the same pairs are compared by their separation: the distance of the means of genuine
and impostor cosines in units of their root mean square deviation (d', of signal detection). It tells ways apart long
before an accuracy of a few hundred pairs does.

Letters: N faces, P pairs, S side of the crop in pixels, D embedding width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from harness.arrays import Bools, Doubles, Floats, Images, Ints
from harness.builtin.onnx import ONNXRecognizer, ONNXSettings
from harness.coding import from_unit, to_unit
from harness.components import Aligner, Crop, FaceProtocol, PairSet, Recognizer, Run, SamplePlan
from harness.components.base import RAW
from harness.errors import DataError, InputError
from harness.faces.crops import REFERENCE_SIZE_PX, reference_landmarks
from harness.faces.warp import similarity, warp
from harness.plugins import registry
from harness.stats.verification import unit

if TYPE_CHECKING:
    from harness.faces.faceset import FaceSet

SHIFT_PX = 8.0  # of a crop of 112: what separates the two common versions of the ArcFace template
SHIFTS = {"left": (-1.0, 0.0), "right": (1.0, 0.0), "up": (0.0, -1.0), "down": (0.0, 1.0)}
LEAST = 0.8  # separation below which nothing tells people apart (an AUC of about 0.7)
LEAST_PAIRS = 20  # genuine, and as many impostor ones
_REPLICATES = 500
_SURE = 0.99  # share of bootstrap replicates in which another way has to be better
_BATCH = 64
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's colors, 0 to 1; red, green, blue


def _same(x: torch.Tensor, color: str) -> torch.Tensor:
    return x


def _to_one(x: torch.Tensor, color: str) -> torch.Tensor:
    return (x + 1) / 2


def _to_255(x: torch.Tensor, color: str) -> torch.Tensor:
    return (x + 1) * 127.5


def _by_imagenet(x: torch.Tensor, color: str) -> torch.Tensor:
    step = 1 if color == "rgb" else -1
    mean, std = (torch.tensor(values[::step])[:, None, None] for values in (_MEAN, _STD))
    return (_to_one(x, color) - mean) / std


def _by_picture(x: torch.Tensor, color: str) -> torch.Tensor:
    dims = (1, 2, 3)
    return (x - x.mean(dims, keepdim=True)) / x.std(dims, keepdim=True).clamp(min=1e-3)


# Pixel values, made of x [B, 3, S, S] in [-1, 1] with its colors in an order.
VALUES: dict[str, Callable[[torch.Tensor, str], torch.Tensor]] = {
    "-1 to 1": _same,
    "0 to 1": _to_one,
    "0 to 255": _to_255,
    "normalized by ImageNet's mean and deviation": _by_imagenet,
    "normalized picture by picture": _by_picture,
}


@dataclass(frozen=True)
class Way:
    """One way of giving pictures to a recognizer; ``shift`` names one of ``SHIFTS`` or is empty."""

    color: Any
    values: str
    view: str
    shift: str = ""
    mirrored: bool = False

    def differences(self, other: Way) -> str:
        """What of it is not as in another way, in words."""
        told = [
            f"{mine} instead of {theirs}"
            for mine, theirs in zip(self._words(), other._words(), strict=True)
            if mine != theirs
        ]
        return ", ".join(told)

    def __str__(self) -> str:
        return ", ".join(self._words())

    def _words(self) -> tuple[str, ...]:
        crop = "the whole picture, plainly resized" if self.view == RAW else f"{self.view} crops"
        shifted = f" shifted by {SHIFT_PX:.0f} px {self.shift}" if self.shift else ""
        return self.color, f"values {self.values}", crop + shifted, "mirrored" if self.mirrored else "not mirrored"


@dataclass(frozen=True)
class PairSample:
    """Pictures [N, H, W, 3] of some pairs, their landmarks [N, 5, 2], and the pairs as rows of them, [P] each."""

    images: Images
    landmarks: Floats
    a: Ints
    b: Ints
    same: Bools


@dataclass(frozen=True)
class Wanted:
    """What was found: the way that the file describes, the best one, and how well each separates the pairs."""

    described: Way
    best: Way
    separation_described: float
    separation_best: float
    pairs: int

    def line(self, what: str, protocol: str) -> str:
        """All of it in one line."""
        shown = f"separation {self.separation_best:.2f}"
        on = f"{self.pairs} pairs of {protocol}"
        if self.separation_best < LEAST:
            return f"{what}: no way of giving it pictures tells people apart (at most {shown}, {on}); wrong weights?"
        if self.best == self.described:
            return f"{what} wants what it says: {self.best} ({shown}, {on})"
        before = f"{self.separation_described:.2f} as described"
        return f"{what} wants {self.best.differences(self.described)} ({shown}, {before}, {on})"


class _Rows:
    """What a protocol with faces of its own may ask of them when it lists its pairs."""

    def __init__(self, plan: SamplePlan) -> None:
        self.identities, self.samples = plan.identities, plan.samples

    def __len__(self) -> int:
        return len(self.identities)


def sample_pairs(protocol: FaceProtocol, count: int, run: Run, aligner: Aligner | None = None) -> PairSample:
    """Evenly spaced pairs of a protocol, half of them genuine, with their pictures.

    Args:
        protocol: one with pairs of faces.
        count: pairs wanted.
        aligner: finds the landmarks of photographs; by default they are those that the protocol gives.

    Raises:
        InputError: it has too few pairs.
        DataError: its pictures differ in size, or too few have landmarks.
    """
    plan = protocol.plan(run)
    pairs = protocol.pairs(cast("FaceSet", _Rows(plan)), run)
    assert isinstance(pairs, PairSet)
    chosen = np.concatenate([_spread(np.flatnonzero(pairs.same == kind), count // 2) for kind in (True, False)])
    rows = np.unique([pairs.a[chosen], pairs.b[chosen]])
    images, landmarks = _pictures(protocol, plan, rows, run, aligner)
    a, b = (np.searchsorted(rows, side[chosen]) for side in (pairs.a, pairs.b))
    known: Bools = np.asarray(np.isfinite(landmarks).all(axis=(1, 2)))
    usable = known[a] & known[b]
    same: Bools = np.asarray(pairs.same[chosen][usable], dtype=bool)
    genuine = int(np.count_nonzero(same))
    if min(genuine, len(same) - genuine) < LEAST_PAIRS:
        got = f"{genuine} genuine and {len(same) - genuine} impostor pairs with landmarks"
        raise InputError(f"{got}; expected at least {LEAST_PAIRS} of each")
    return PairSample(images, landmarks, a[usable], b[usable], same)


def _spread(among: Ints, count: int) -> Ints:
    return among[np.unique(np.linspace(0, len(among) - 1, min(count, len(among))).round().astype(np.int64))]


def _pictures(
    protocol: FaceProtocol, plan: SamplePlan, rows: Ints, run: Run, aligner: Aligner | None
) -> tuple[Images, Floats]:
    items = {name: column[rows] for name, column in plan.items.items()}
    wanted = SamplePlan(plan.identities[rows], plan.samples[rows], items, plan.pool)
    images, landmarks = [], []
    for batch in protocol.sample(wanted, run):
        images += list(batch.images)
        found = batch.landmarks
        if aligner is not None:
            found = aligner.align(batch, Crop("arcface", REFERENCE_SIZE_PX), run).landmarks
        nothing = np.full((len(batch), 5, 2), np.nan, np.float32)
        landmarks.append(nothing if found is None else np.asarray(found, np.float32))
    sizes = {image.shape for image in images}
    if len(sizes) > 1:
        raise DataError(f"pictures of different sizes {sorted(sizes)[:3]}; check with a protocol of one size")
    return np.stack(images), np.concatenate(landmarks)


def find_wanted(recognizer: Recognizer, sample: PairSample, run: Run) -> Wanted:
    """Go from the way that is described to the best of those that differ in one thing, while that is surely better.

    Args:
        recognizer: with its weights; its crop is what it says it takes.
        sample: the pairs to tell apart.
        run: seeds the bootstrap over pairs, and shows progress.
    """
    recognizer, values = _plain(recognizer)
    start = Way(recognizer.takes.color, values, recognizer.takes.view)
    trials = _Trials(recognizer, sample, run)
    best, visited = start, {start}
    while True:
        near = [way for way in _neighbors(best) if way not in visited]
        trials.run_all([best, *near])
        rival = max(near, key=trials.separation)
        if not trials.surely_better(rival, best):
            return Wanted(start, best, trials.separation(start), trials.separation(best), len(sample.same))
        visited |= {best, *near}
        best = rival


def _plain(recognizer: Recognizer) -> tuple[Recognizer, str]:
    """The recognizer as one that takes values from -1 to 1, and the values that it is described to take."""
    if not isinstance(recognizer, ONNXRecognizer):
        return recognizer, "-1 to 1"
    settings = recognizer.settings
    known = {((127.5,) * 3, 127.5): "-1 to 1", ((0.0,) * 3, 255.0): "0 to 1", ((0.0,) * 3, 1.0): "0 to 255"}
    described = known.get((settings.mean, round(1 / settings.scale, 6)))
    if described is None:
        return recognizer, "-1 to 1"  # what its settings make of them is part of it
    plain = type(recognizer)(ONNXSettings(), recognizer.takes)
    plain.load(recognizer.state(), recognizer.device)
    return plain, described


def _neighbors(way: Way) -> Iterator[Way]:
    """The ways that differ in one thing."""
    yield replace(way, color="bgr" if way.color == "rgb" else "rgb")
    yield replace(way, mirrored=not way.mirrored)
    yield from (replace(way, values=values) for values in VALUES if values != way.values)
    yield from (replace(way, view=view, shift="") for view in (RAW, *registry().names["crops"]) if view != way.view)
    if way.view != RAW:
        yield from (replace(way, shift=shift) for shift in ("", *SHIFTS) if shift != way.shift)


class _Trials:
    """Cosines of the pairs by way, and their comparison."""

    def __init__(self, recognizer: Recognizer, sample: PairSample, run: Run) -> None:
        self.recognizer, self.sample, self.run = recognizer, sample, run
        self.cosines: dict[Way, Doubles] = {}
        self.crops: dict[tuple[str, str], Images] = {}
        rng = run.generator("weights check")
        genuine, impostor = np.flatnonzero(sample.same), np.flatnonzero(~sample.same)
        self.replicates = [
            (rng.choice(genuine, len(genuine)), rng.choice(impostor, len(impostor))) for _ in range(_REPLICATES)
        ]

    def run_all(self, ways: list[Way]) -> None:
        """Have the cosines of some ways."""
        todo = [way for way in ways if way not in self.cosines]
        progress = self.run.progress(len(todo), "ways")
        for way in todo:
            self.cosines[way] = self._measure(way)
            progress.advance()

    def separation(self, way: Way) -> float:
        """d' of all pairs."""
        same = self.sample.same
        return _separation(self.cosines[way][same], self.cosines[way][~same])

    def surely_better(self, way: Way, other: Way) -> bool:
        """Whether a way separates better in nearly all bootstrap replicates over pairs."""
        first, second = self.cosines[way], self.cosines[other]
        wins = [_separation(first[g], first[i]) > _separation(second[g], second[i]) for g, i in self.replicates]
        return float(np.mean(wins)) >= _SURE

    def _measure(self, way: Way) -> Doubles:
        sample, size = self.sample, self.recognizer.takes.size_px
        if (way.view, way.shift) not in self.crops:
            self.crops[way.view, way.shift] = _crops(sample, way, size)
        crops = self.crops[way.view, way.shift]
        out = []
        with torch.no_grad():
            for start in range(0, len(crops), _BATCH):
                x = to_unit(crops[start : start + _BATCH], size)
                x = x.flip(1) if way.color == "bgr" else x
                x = VALUES[way.values](x.flip(3) if way.mirrored else x, way.color)
                out.append(self.recognizer.features(x.to(self.recognizer.device)).float().cpu().numpy())
        embeddings = unit(np.concatenate(out).astype(np.float64))
        cosines: Doubles = np.einsum("pd,pd->p", embeddings[sample.a], embeddings[sample.b])
        return np.nan_to_num(cosines)


def _crops(sample: PairSample, way: Way, size_px: int) -> Images:
    """Uint8 [N, S, S, 3]."""
    if way.view == RAW:
        return from_unit(to_unit(sample.images, size_px))
    points = reference_landmarks(size_px, way.view)
    if way.shift:
        points = points + np.array(SHIFTS[way.shift]) * SHIFT_PX * size_px / REFERENCE_SIZE_PX
    return warp(sample.images, similarity(sample.landmarks, points), size_px)


def _separation(genuine: Doubles, impostor: Doubles) -> float:
    spread = float(np.sqrt((genuine.var() + impostor.var()) / 2))
    return float(genuine.mean() - impostor.mean()) / max(spread, 1e-9)
