"""The rates that size the quickstart: images per second of one CPU thread, and the budget they add up to.

    python benchmarks/perf/rates.py > benchmarks/perf/records/DATE-rates.md

CPU time, not wall time, so that other work on the machine matters less; a rate is the median of a few repetitions.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import platform
import statistics
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import torch

from harness.builtin.mtcnn import MTCNNAligner, MTCNNSettings
from harness.components import Crop, Given, ImageBatch, Model, Recognizer, Request, Run, SamplePlan, TrainableRecognizer
from harness.components.generator import Generator
from harness.faceworld.render import render
from harness.plugins import registry
from harness.provenance import processor
from harness.stages.opening import load_recognizer
from harness.store.shipped import demo_path
from harness.store.weights import load_tensors, read_info
from harness.suites.read import load_suite
from harness.suites.schema import Suite

SUITE = Path(__file__).parents[1] / "quickstart" / "suite.yaml"
IMAGES = 256
WORKERS = 2
LIMIT_S = 12 * 60


def cpu_rate(work: Callable[[], object], images: int, repeats: int = 3) -> float:
    """Images per CPU second, median over repetitions after a warm-up."""
    work()
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return images / statistics.median(seconds)


def sampling_rate(suite: Suite, row: str, cond: Recognizer) -> float:
    """Images per CPU second of one row's generator, as the suite sets it."""
    entry = suite.rows[row]
    cls = registry().load("generators", entry.use)
    assert issubclass(cls, Generator)
    generator = cls(cls.Settings.model_validate(entry.settings))
    path = demo_path(entry.model)
    info = read_info(path)
    contexts = np.random.default_rng(0).standard_normal((8, cond.width)).astype(np.float32)
    contexts /= np.linalg.norm(contexts, axis=1, keepdims=True)
    given = Given(model=Model(info.kind, info.settings, load_tensors(path)), recognizer=cond, contexts=contexts)
    plan: SamplePlan = generator.plan(Request(8, 16), given, Run(0))
    return cpu_rate(lambda: sum(len(batch) for batch in generator.sample(plan, given, Run(0))) and None, len(plan))


def main() -> None:
    """Measure, and print a table and the budget."""
    torch.set_num_threads(1)
    suite = load_suite(SUITE)
    people, samples = list(range(IMAGES)), [0] * IMAGES
    drawn = render(0, people, samples, "train", 32)
    batch = ImageBatch(np.arange(IMAGES), np.zeros(IMAGES, np.int64), drawn.images)
    aligner = MTCNNAligner(MTCNNSettings.model_validate(suite.aligner.settings))
    cond = load_recognizer(demo_path("cond"))
    rates = {
        "render, 32 px": cpu_rate(lambda: render(0, people, samples, "train", 32) and None, IMAGES),
        "MTCNN, 32 px": cpu_rate(lambda: aligner.align(batch, Crop("arcface", 32), Run(0)) and None, IMAGES),
        "embed, small-cnn 32 px": cpu_rate(lambda: cond.embed(drawn.images).sum() and None, IMAGES),
    }
    for row in ("idiffface", "negfacediff", "id3"):
        rates[f"sample, {row}"] = sampling_rate(suite, row, cond)
    rates["train, small-clean 32 px"] = training_rate(cond, drawn.images)
    print_tables(rates, suite)


def training_rate(recognizer: Recognizer, images: np.ndarray) -> float:
    """Images per CPU second of forward, backward and update."""
    from harness.coding import to_unit

    cls = type(recognizer)
    fresh = cls(recognizer.settings, recognizer.takes)
    assert isinstance(fresh, TrainableRecognizer)
    network = fresh.network
    network.train().requires_grad_(True)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    x = to_unit(images[:64])

    def work() -> None:
        for _ in range(4):
            optimizer.zero_grad()
            network(x).square().mean().backward()
            optimizer.step()

    return cpu_rate(work, 4 * len(x))


def print_tables(rates: dict[str, float], suite: Suite) -> None:
    """The rates and what they mean for the quickstart."""
    dataset = suite.dataset
    assert dataset is not None
    pool = (dataset.identities + dataset.spare.identities) * (dataset.per_identity + dataset.spare.images)
    kept = dataset.identities * dataset.per_identity
    assert suite.trainer is not None
    epochs, world = suite.trainer.settings["epochs"], suite.sources["world"].settings
    protocol_images = sum(2 * entry.settings["pairs"] for entry in suite.protocols.values())
    rows = len(suite.rows)
    budget = {
        "render source and protocols": (world["identities"] * world["per_identity"] + protocol_images)
        / rates["render, 32 px"],
        "sample": sum(pool / rates[f"sample, {row}"] for row in ("idiffface", "negfacediff", "id3")),
        "align": rows * pool / rates["MTCNN, 32 px"],
        "train": rows * kept * epochs / rates["train, small-clean 32 px"],
        "embed": rows * (2 * protocol_images + kept) / rates["embed, small-cnn 32 px"],
    }
    print(f"# Rates of one CPU thread, {date.today().isoformat()}\n")
    print(f"{processor()}, Python {platform.python_version()}, torch {torch.__version__}; CPU time, median of 3.\n")
    print("| work | images per CPU second |\n| --- | --- |")
    for name, rate in rates.items():
        print(f"| {name} | {rate:.0f} |")
    total = sum(budget.values())
    print("\n| quickstart | CPU seconds |\n| --- | --- |")
    for name, seconds in budget.items():
        print(f"| {name} | {seconds:.0f} |")
    print(f"| total | {total:.0f} |")
    print(f"\n{WORKERS} workers: about {total / WORKERS:.0f} s of {LIMIT_S} s, before start-up and statistics.")


if __name__ == "__main__":
    main()
