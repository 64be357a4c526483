"""IJB-C at full size: time and memory of ours against a plain implementation, in one run, on random numbers.

    python benchmarks/perf/ijb.py > benchmarks/perf/records/DATE-ijb.md
    python benchmarks/perf/ijb.py --small

The sizes are those of IJB-C: 469,375 images, each with an embedding of 512 numbers and one of its mirror image, 23,124
templates of 3,531 subjects, 15,658,489 pairs of which 19,557 are genuine. What a recognizer would give is drawn batch
by batch (a subject's direction and noise); drawing is not timed.

The plain implementation does what the public evaluation script does (methods section 6), step by step and with all in
memory: it splits every row of the list of pairs, keeps the features of all images, averages medium by medium and
template by template in Python, multiplies chunks of 100,000 pairs, and takes its points from the whole curve. Ours runs
first: the peak memory of a process never falls, so what is printed after ours is ours alone.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import platform
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import csv

from harness.data.ijb import IJBFolder
from harness.stats.templates import (
    FARS,
    OperatingPoint,
    PairSubjects,
    TemplateSums,
    image_features,
    image_weights,
    pair_scores,
    points_at_most,
    points_nearest,
    tar_uncertainties,
)
from harness.stats.uncertainty import Uncertainty

BATCH = 512
CHUNK = 100_000  # pairs at once in the plain implementation
LIMIT_GB = 4.0
LISTS, PAIRS, TEMPLATES, SCORES = "read lists of images", "read pairs", "templates", "score pairs"
RATES = "TAR, reference's rule"


@dataclass(frozen=True)
class Size:
    """How much of everything."""

    images: int
    templates: int
    subjects: int
    pairs: int
    genuine: int
    width: int
    replicates: int


FULL = Size(469_375, 23_124, 3_531, 15_658_489, 19_557, 512, 1000)
SMALL = Size(2_000, 200, 60, 20_000, 300, 32, 100)


@dataclass
class World:
    """Who is in which template, and a stand-in for the recognizer."""

    size: Size
    template: Any  # of each image, [N]
    media: Any  # of each image, [N]
    score: Any  # of each image, [N]
    subject: Any  # of each template, [T]
    centers: Any  # of the subjects, [I, D]

    def embeddings(self) -> Iterator[tuple[slice, Any, Any]]:
        """Batches of raw embeddings of images and their mirror images, float32 [B, D]."""
        for start in range(0, self.size.images, BATCH):
            part = slice(start, min(start + BATCH, self.size.images))
            rng = np.random.default_rng([1, start])
            clean = self.centers[self.subject[self.template[part]]]
            noise = rng.standard_normal((3, *clean.shape), dtype=np.float32)
            yield part, clean + 4 * noise[0] + 2 * noise[1], clean + 4 * noise[0] + 2 * noise[2]


def make_world(size: Size) -> World:
    """Draw templates of one to many images, in media of one to five."""
    rng = np.random.default_rng(0)
    template = np.sort(
        np.append(np.arange(size.templates), rng.integers(0, size.templates, size.images - size.templates))
    )
    media = np.arange(size.images) // rng.integers(1, 6, size.images)
    subject = np.append(np.arange(size.subjects), rng.integers(0, size.subjects, size.templates - size.subjects))
    centers = rng.standard_normal((size.subjects, size.width), dtype=np.float32)
    score = rng.uniform(0.3, 1, size.images).astype(np.float32)
    return World(size, template, media, score, rng.permutation(subject), centers)


def write_release(world: World, folder: Path) -> None:
    """Write the text files of a release; the images are not needed."""
    size, rng = world.size, np.random.default_rng(2)
    (folder / "loose_crop").mkdir(parents=True)
    (folder / "meta").mkdir()
    names = pa.array([f"{index + 1}.jpg" for index in range(size.images)])
    points = rng.uniform(0, 200, (10, size.images)).round(3)
    first, second = (rng.integers(0, size.templates, size.pairs + size.pairs // 100) for _ in range(2))
    apart = np.flatnonzero(world.subject[first] != world.subject[second])[: size.pairs - size.genuine]
    order = np.argsort(world.subject, kind="stable")  # neighbors of one subject
    mates = np.flatnonzero(np.diff(world.subject[order]) == 0)
    chosen = np.resize(mates, size.genuine)
    a = np.concatenate([first[apart], order[chosen]])
    b = np.concatenate([second[apart], order[chosen + 1]])
    label = np.repeat([0, 1], [len(apart), size.genuine])
    shuffled = rng.permutation(len(label))
    tables = {
        "face_tid_mid": [names, world.template + 1, world.media],
        "name_5pts_score": [names, *points, world.score],
        "template_pair_label": [a[shuffled] + 1, b[shuffled] + 1, label[shuffled]],
    }
    options = csv.WriteOptions(include_header=False, delimiter=" ", quoting_style="none")
    for name, columns in tables.items():
        table = pa.table({str(index): column for index, column in enumerate(columns)})
        csv.write_csv(table, folder / "meta" / f"ijbc_{name}.txt", options)


class Clock:
    """Seconds of this process's CPU by step, in order."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Add the time of what is done within to a step."""
        start = time.process_time()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.process_time() - start


@dataclass
class Measured:
    """What a way gave: scores of the pairs, rates by the reference's rule; and the rest of ours."""

    scores: Any
    nearest: list[float]
    at_most: list[OperatingPoint] = field(default_factory=list)
    intervals: list[Uncertainty] = field(default_factory=list)


def ours(world: World, folder: Path, clock: Clock) -> Measured:
    """As the harness does it."""
    release = IJBFolder(folder, "ijbc")
    with clock.step(LISTS):
        faces = release.faces
    with clock.step(PAIRS):
        pairs = release.pairs
    with clock.step(TEMPLATES):
        weights = image_weights(faces.template, faces.media, faces.score)
        sums = TemplateSums(len(faces.template_ids), world.size.width)
    for part, straight, mirrored in world.embeddings():
        with clock.step(TEMPLATES):
            sums.add(faces.template[part], weights[part], image_features(straight, mirrored))
    with clock.step(TEMPLATES):
        vectors = sums.vectors()
    with clock.step(SCORES):
        scores = pair_scores(vectors, pairs.a, pairs.b)
    genuine, impostor = scores[pairs.same], scores[~pairs.same]
    with clock.step(RATES):
        nearest = points_nearest(genuine, impostor)
    with clock.step("TAR, at most"):
        at_most = points_at_most(genuine, impostor)
    del genuine, impostor
    with clock.step("intervals"):
        subjects = PairSubjects.known(release.subjects, pairs.a, pairs.b, pairs.same)
        rng = np.random.default_rng(3)
        intervals = tar_uncertainties(at_most, scores, pairs.same, subjects, rng, world.size.replicates)
    return Measured(scores, [point.tar for point in nearest], at_most, intervals)


def plain(world: World, folder: Path, clock: Clock) -> Measured:
    """As a script does it, with plain loops."""
    meta = folder / "meta"
    with clock.step(LISTS):
        rows = [line.split() for line in (meta / "ijbc_face_tid_mid.txt").open()]
        points = [line.split() for line in (meta / "ijbc_name_5pts_score.txt").open()]
        template, media = (np.array([int(row[column]) for row in rows]) for column in (1, 2))
        score = np.array([float(row[11]) for row in points], dtype=np.float32)
        del rows, points
    with clock.step(PAIRS):
        listed = (meta / "ijbc_template_pair_label.txt").open()
        table = np.array([[int(number) for number in line.split()] for line in listed])
    features = np.empty((world.size.images, world.size.width), dtype=np.float32)
    for part, straight, mirrored in world.embeddings():
        with clock.step(TEMPLATES):
            features[part] = straight + mirrored
    with clock.step(TEMPLATES):
        features *= score[:, None]
        ids = np.unique(template)
        vectors = np.zeros((len(ids), world.size.width))
        for row, number in enumerate(ids):
            (where,) = np.where(template == number)
            for medium in np.unique(media[where]):
                vectors[row] += features[where[media[where] == medium]].mean(axis=0)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    with clock.step(SCORES):
        place = np.zeros(ids.max() + 1, dtype=np.int64)
        place[ids] = np.arange(len(ids))
        scores = np.zeros(len(table))
        for start in range(0, len(table), CHUNK):
            first, second = place[table[start : start + CHUNK, :2]].T
            scores[start : start + CHUNK] = np.sum(vectors[first] * vectors[second], axis=-1)
    with clock.step(RATES):
        order = np.argsort(scores, kind="mergesort")[::-1]
        label, ranked = table[order, 2], scores[order]
        ends = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
        tps = np.cumsum(label)[ends]
        fps = 1 + ends - tps
        bends = np.concatenate([[True], (np.diff(fps, 2) != 0) | (np.diff(tps, 2) != 0), [True]])
        far, tar = np.append(0, fps[bends]) / fps[-1], np.append(0, tps[bends]) / tps[-1]
        nearest = [float(tar[np.flatnonzero(abs(far - x) == abs(far - x).min())[-1]]) for x in FARS]
    return Measured(scores, nearest)


def peak_gb() -> float:
    """Highest resident memory of this process so far, in GB (10^9 bytes)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def main(argv: list[str] | None = None) -> None:
    """Measure and print markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="seconds instead of minutes, to see that it runs")
    size = SMALL if parser.parse_args(argv).small else FULL
    world = make_world(size)
    mine, theirs = Clock(), Clock()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "release"
        write_release(world, folder)
        peaks = [peak_gb()]
        found = ours(world, folder, mine)
        peaks.append(peak_gb())
        other = plain(world, folder, theirs)
        peaks.append(peak_gb())
    print(f"# IJB-C at full size, {date.today().isoformat()}\n")
    print(f"{size.images:,} images, {size.templates:,} templates of {size.subjects:,} subjects, {size.pairs:,} pairs")
    print(
        f"({size.genuine:,} genuine), {size.width} numbers an embedding, {size.replicates} replicates; random numbers,"
    )
    print(f"seed 0. One thread of two x86-64 cores, shared; Python {platform.python_version()}, CPU time.\n")
    print("| step | ours, s | plain, s | ratio |\n| --- | --- | --- | --- |")
    common = 0.0
    for step, taken in mine.seconds.items():
        base = theirs.seconds.get(step)
        common += taken if base is not None else 0.0
        print(f"| {step} | {taken:.1f} | {'|' if base is None else f'{base:.1f} | {base / taken:.1f}'} |")
    total = sum(theirs.seconds.values())
    print(f"| the steps of both | {common:.1f} | {total:.1f} | {total / common:.1f} |\n")
    peaks_text = f"{peaks[0]:.2f} GB after writing the files, {peaks[1]:.2f} GB after ours, {peaks[2]:.2f} GB after"
    print(f"Peak memory of the process (`resource.getrusage`): {peaks_text}")
    print(f"the plain one. Ours {'is' if peaks[1] < LIMIT_GB else 'is NOT'} below {LIMIT_GB:.0f} GB.")
    apart = float(np.abs(other.scores - found.scores).max())
    rates = max(abs(a - b) for a, b in zip(found.nearest, other.nearest, strict=True))
    print(f"Scores of both are {apart:.1e} apart at most, rates by the reference's rule {rates:.1e}.\n")
    print("| FAR | TAR at most | interval | TAR nearest |\n| --- | --- | --- | --- |")
    for point, given, near in zip(found.at_most, found.intervals, found.nearest, strict=True):
        shown = given.note if given.interval is None else f"{given.interval[0]:.4f} to {given.interval[1]:.4f}"
        print(f"| {point.far:.0e} | {point.tar:.4f} | {shown} | {near:.4f} |")


if __name__ == "__main__":
    main()
