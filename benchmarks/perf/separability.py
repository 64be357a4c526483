"""Separability of all pairs: counted in histograms, against score lists for pyeer, in one run.

    OMP_NUM_THREADS=2 python benchmarks/perf/separability.py > benchmarks/perf/records/DATE-separability.md
    python benchmarks/perf/separability.py --images 500000 --device cuda

The embeddings are drawn: identities on a sphere with images around them, of a spread that varies by identity. The way
with lists is what it takes to hand all pairs to pyeer: their cosines in two lists, then its report. Both ways are
measured on the same few images; the counted way then also on all of them, histograms, moments and intervals included.
Wall time, and CPU time of all threads, which other work on the machine disturbs less; the peak memory is that of the
whole process, the embeddings included.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

import numpy as np
import torch

from harness.arrays import Floats, Ints
from harness.provenance import processor
from harness.stats.allpairs import count_pairs, pair_moments
from harness.stats.allpairs_intervals import all_pairs_uncertainties
from harness.stats.separability import ScoreStatistics, histogram_statistics, pyeer_statistics

REPLICATES = 1000
SHOWN = ("fdr", "eer", "fmr100", "fmr1000", "genuine_mean", "genuine_std", "impostor_mean", "impostor_std")


def drawn_faces(images: int, per_identity: int, width: int) -> tuple[Floats, Ints]:
    """Unit vectors, float32 [N, D], and the identity of each, [N]; seed 0, a slice at a time to save memory."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(-(-images // per_identity)), per_identity)[:images]
    out = np.empty((images, width), np.float32)
    step = 200 * per_identity
    for start in range(0, images, step):
        who = labels[start : start + step] - labels[start]
        centers = rng.standard_normal((who[-1] + 1, width), dtype=np.float32)
        spread = rng.uniform(0.8, 2.2, who[-1] + 1).astype(np.float32)
        x = centers[who] + spread[who, None] * rng.standard_normal((len(who), width), dtype=np.float32)
        out[start : start + step] = x / np.linalg.norm(x, axis=1, keepdims=True)
    return out, labels


def listed(x: Floats, labels: Ints) -> ScoreStatistics:
    """All pairs as lists, and pyeer's report on them."""
    a, b = np.triu_indices(len(x), 1)
    scores = np.concatenate([x[i] @ x[i + 1 :].T for i in range(len(x) - 1)]).astype(np.float64)
    same = labels[a] == labels[b]
    return pyeer_statistics(scores[same], scores[~same])


@dataclass(frozen=True)
class Spent:
    """Wall seconds, and CPU seconds of all threads."""

    wall: float
    cpu: float


def counted(x: Floats, labels: Ints, device: str) -> tuple[ScoreStatistics, dict[str, Spent], Any]:
    """All pairs as histograms and moments, the time of each part, and the intervals."""
    histogram, counting = timed(lambda: count_pairs(x, labels, device))
    moments, summing = timed(lambda: pair_moments(x, labels))
    statistics = histogram_statistics(histogram, moments.moments())
    rng = np.random.default_rng(1)
    intervals, resampling = timed(
        lambda: all_pairs_uncertainties(x, labels, histogram, moments, rng, REPLICATES, device)
    )
    return statistics, {"histograms": counting, "moments": summing, "intervals": resampling}, intervals


def total(parts: dict[str, Spent]) -> Spent:
    """The sum of parts."""
    return Spent(sum(part.wall for part in parts.values()), sum(part.cpu for part in parts.values()))


def timed(work: Callable[[], Any]) -> tuple[Any, Spent]:
    """What some work gives, and how long it took."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, Spent(time.perf_counter() - wall, time.process_time() - cpu)


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--per-identity", type=int, default=20)
    parser.add_argument("--width", type=int, default=512, help="of an embedding")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--lists", type=int, default=2000, help="images whose pairs are listed for pyeer as well")
    parser.add_argument("--small", action="store_true", help="seconds instead of minutes, to see that it runs")
    args = parser.parse_args(argv)
    if args.small:
        args.images, args.lists, args.width = 3000, 600, 64
    return args


def main(argv: list[str] | None = None) -> None:
    """Measure, and print it as markdown."""
    args = parse(argv)
    where = torch.cuda.get_device_name() if args.device == "cuda" else f"{torch.get_num_threads()} threads"
    print(f"# Separability of all pairs, {date.today().isoformat()}\n")
    print(f"{processor()}, {where}, Python {platform.python_version()}, torch {torch.__version__}; seed 0,")
    print(f"load average {os.getloadavg()[0]:.1f} at the start.")
    x, labels = drawn_faces(args.images, args.per_identity, args.width)
    few, few_labels = x[: args.lists], labels[: args.lists]
    count_pairs(few, few_labels, args.device)  # threads and kernels are started at the first call
    some, some_seconds, _ = counted(few, few_labels, args.device)
    small_pairs, pairs = (n * (n - 1) // 2 for n in (len(few), len(x)))
    whole, seconds, intervals = counted(x, labels, args.device)
    peak = peak_mb()  # before the lists, which need more
    exact, lists = timed(lambda: listed(few, few_labels))
    print("\n| way | images | pairs | seconds | CPU seconds | million pairs/s | ratio | ratio by CPU time |")
    print("| --- " * 8 + "|")
    ways = [("lists and pyeer", len(few), small_pairs, lists)]
    for n, number, parts in ((len(few), small_pairs, some_seconds), (len(x), pairs, seconds)):
        ways += [
            ("counted: histograms", n, number, parts["histograms"]),
            ("counted, all told", n, number, total(parts)),
        ]
    for name, n, number, spent in ways:
        rate, cpu_rate = number / spent.wall, number / spent.cpu
        ratios = rate / small_pairs * lists.wall, cpu_rate / small_pairs * lists.cpu
        print(
            f"| {name} | {n:,} | {number:,} | {spent.wall:.2f} | {spent.cpu:.2f} | {rate / 1e6:.2f} | "
            f"{ratios[0]:.0f} | {ratios[1]:.0f} |"
        )
    shares = ", ".join(f"{name} {spent.wall:.1f} s" for name, spent in seconds.items())
    print(f"\nOf {len(x):,} images: {shares}.")
    size = x.nbytes / 2**20
    print(f"Peak memory of the process: {peak:.0f} MB with all images counted, their embeddings ({size:.0f} MB)")
    print(f"and Python with torch included; {peak_mb():.0f} MB after pyeer's lists of {small_pairs:,} scores.")
    if args.device == "cuda":
        print(f"Peak memory of the device: {torch.cuda.max_memory_allocated() / 2**20:.0f} MB.")
    print(f"\n| statistic | pyeer, {len(few):,} images | counted | counted, {len(x):,} images | 95 percent interval |")
    print("| --- | --- | --- | --- | --- |")
    for name in SHOWN:
        values = " | ".join(f"{asdict(found)[name]:.6f}" for found in (exact, some, whole))
        interval = intervals[name].interval
        print(f"| {name} | {values} | {'withheld' if interval is None else '{:.6f} to {:.6f}'.format(*interval)} |")


def peak_mb() -> float:
    """The most memory that this process has held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


if __name__ == "__main__":
    main()
