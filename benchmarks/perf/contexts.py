"""Contexts at the size of published datasets: Tammes anchors, tables of negatives, safe cones, with what they cost.

    OMP_NUM_THREADS=1 python benchmarks/perf/contexts.py > benchmarks/perf/records/DATE-contexts.md

CPU time of this process; the peak memory is that of the process so far, the contexts included.
"""

from __future__ import annotations

import argparse
import platform
import resource
import time
from datetime import date
from typing import Any

import numpy as np
import torch
from harness_id3.anchors import Tammes, TammesSettings, max_cosine
from harness_idperturb.generator import half_way_cosines
from harness_negfacediff.negatives import negative_table

from harness.arrays import Floats
from harness.builtin.small_cnn import SmallCNN, SmallCNNSettings
from harness.components import Crop, Given, Run


def peak_gb() -> str:
    """Peak memory of this process."""
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f}"


def tammes(count: int, width: int, iterations: int) -> None:
    """Solve for anchors, and print the largest cosine on the way."""
    seen: list[tuple[int, float]] = []

    def emit(kind: str, data: dict[str, Any]) -> None:
        if kind == "log":
            seen.append((data["step"], data["value"]))

    recognizer = SmallCNN(SmallCNNSettings(width=width), Crop("raw", 32))  # for its width alone
    start = time.process_time()
    anchors = Tammes(TammesSettings(iterations=iterations)).draw(count, Given(recognizer=recognizer), Run(0, emit=emit))
    seconds = time.process_time() - start
    print(f"\n## Tammes: {count:,} anchors of {width} values, {iterations} iterations\n")
    print(f"{seconds / 60:.1f} CPU min, {peak_gb()} GB at most.\n")
    print("| iteration | largest cosine |\n| --- | --- |")
    for step, value in sorted({*seen[:: max(1, len(seen) // 8)], seen[-1]}):
        print(f"| {step} | {value:.4f} |")
    again = max_cosine(torch.from_numpy(anchors))
    assert abs(again - seen[-1][1]) < 1e-5, (again, seen[-1])


def uniform(count: int, width: int) -> Floats:
    """Contexts as the law ``uniform`` draws them, float32 [count, width]."""
    contexts = np.random.default_rng(0).standard_normal((count, width), dtype=np.float32)
    contexts /= np.linalg.norm(contexts, axis=1, keepdims=True)
    return contexts


def cones(count: int, width: int) -> None:
    """The lower bounds of IDperturb's safe cones."""
    contexts = uniform(count, width)
    start = time.process_time()
    bounds = half_way_cosines(contexts)
    seconds = time.process_time() - start
    print(f"\n## Safe cones among {count:,} contexts of {width} values\n")
    print("| CPU min | peak GB | lower bound: mean, least, greatest |\n| --- | --- | --- |")
    shown = f"{bounds.mean():.3f}, {bounds.min():.3f}, {bounds.max():.3f}"
    print(f"| {seconds / 60:.1f} | {peak_gb()} | {shown} |", flush=True)


def negatives(count: int, width: int) -> None:
    """A table of every kind that compares all contexts with all others."""
    contexts = uniform(count, width)
    print(f"\n## Negatives among {count:,} contexts of {width} values\n")
    print("| kind | CPU min | peak GB | cosine to the negative: mean, least, greatest |\n| --- | --- | --- | --- |")
    for kind in ("far", "close", "mid"):
        start = time.process_time()
        table = negative_table(contexts, kind, 0)
        seconds = time.process_time() - start
        cosine = np.einsum("ij,ij->i", contexts, contexts[table])
        shown = f"{cosine.mean():.3f}, {cosine.min():.3f}, {cosine.max():.3f}"
        print(f"| {kind} | {seconds / 60:.1f} | {peak_gb()} | {shown} |", flush=True)


def main(argv: list[str] | None = None) -> None:
    """Measure both and print them as markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--anchors", type=int, default=10_000)
    parser.add_argument("--contexts", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--iterations", type=int, default=200)
    args = parser.parse_args(argv)
    print(f"# Contexts at published size, {date.today().isoformat()}\n")
    print(f"{torch.get_num_threads()} threads, Python {platform.python_version()}, torch {torch.__version__}, seed 0.")
    cones(args.contexts, args.width)
    negatives(args.contexts, args.width)
    tammes(args.anchors, args.width, args.iterations)


if __name__ == "__main__":
    main()
