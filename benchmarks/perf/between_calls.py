"""What sampling costs beside the network: noise, solver, decoding, PNG and shards, in CPU time per image.

    python benchmarks/perf/between_calls.py > benchmarks/perf/records/DATE-between-calls.md
    python benchmarks/perf/between_calls.py --network published --batch 4

Each part is what a worker does for one batch, called by itself: the contexts of the batch, the noise it starts from,
the network calls of a sampler, the sampler's own arithmetic, the decoder, and the writer of shards, which encodes PNG.
Samplers with fresh noise (DDPM, SDE) draw as much again at every step as they start from. One thread, as a worker has;
CPU time of this process, so that other work on the machine matters less.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import platform
import tempfile
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import torch
from rates import cpu_rate

from harness.coding import encode_png, from_unit, pixel_digest
from harness.components import Model, Run, SamplePlan
from harness.diffusion.latent import LatentDiffusion
from harness.diffusion.samplers import SAMPLERS, bind
from harness.diffusion.sampling import contextualize
from harness.diffusion.schedule import linear_schedule
from harness.diffusion.unet import PUBLISHED_CONFIG, ConditionalUNet
from harness.diffusion.vq import VQAutoencoder
from harness.faces.faceset import ShardWriter
from harness.provenance import processor
from harness.store.shipped import demo_path
from harness.store.weights import load_tensors, read_info
from harness.testing.latent import tiny_model


def build(network: str) -> LatentDiffusion:
    """The shipped demo model, a tiny one, or the published size with random weights."""
    if network == "published":
        torch.manual_seed(0)
        return LatentDiffusion(ConditionalUNet(PUBLISHED_CONFIG).eval(), VQAutoencoder().eval(), linear_schedule(), 128)
    if network == "tiny":
        return LatentDiffusion.from_model(tiny_model())
    path = demo_path("ldm")
    info = read_info(path)
    return LatentDiffusion.from_model(Model(info.kind, info.settings, load_tensors(path)))


def cpu_ms(work: Callable[[], object], images: int) -> float:
    """CPU milliseconds per image, median over five repetitions after a warm-up."""
    return 1000 / cpu_rate(work, images, repeats=5)


@torch.no_grad()
def parts_of_a_batch(parts: LatentDiffusion, plan: SamplePlan, steps: int, folder: Path) -> dict[str, float]:
    """CPU milliseconds per image of everything that a worker does for one batch of unguided images."""
    run, count, shape = Run(0), len(plan), parts.latent_shape
    who, which = plan.identities.tolist(), plan.samples.tolist()
    x_T = run.noise(who, which, shape, "x_T")
    contexts = contextualize(parts, plan, plan.pool["context"], run)
    t = torch.full((count,), parts.schedule.T // 2)
    denoise, decoded = bind(parts.unet, contexts), parts.autoencoder.decode(0.5 * x_T)
    images = from_unit(decoded)

    def solver() -> None:
        SAMPLERS["dpm-solver++"](lambda x, t: x, x_T, parts.schedule, steps=steps, noise=lambda t: x_T)

    def shard() -> None:
        writer = ShardWriter(folder, 0)
        for row in range(count):
            writer.add(who[row], which[row], images[row])
        writer.close()

    return {
        "contexts, once": cpu_ms(lambda: contextualize(parts, plan, plan.pool["context"], run), count),
        "noise to start from": cpu_ms(lambda: run.noise(who, which, shape, "x_T"), count),
        f"network, {steps} calls": steps * cpu_ms(lambda: denoise(x_T, t), count),
        f"solver, {steps} steps": cpu_ms(solver, count),
        "decoder": cpu_ms(lambda: parts.autoencoder.decode(0.5 * x_T), count),
        "to bytes": cpu_ms(lambda: from_unit(decoded), count),
        "shard": cpu_ms(shard, count),
        "of it PNG": cpu_ms(lambda: [encode_png(image) for image in images], count),
        "of it digests": cpu_ms(lambda: [pixel_digest(image) for image in images], count),
    }


def print_table(found: dict[str, float]) -> None:
    """Each part with its share of all, and what is left beside the network."""
    whole = {name: ms for name, ms in found.items() if not name.startswith("of it")}
    total = sum(whole.values())
    beside = total - sum(ms for name, ms in whole.items() if name.startswith("network"))
    print("| part | CPU ms per image | share, % |\n| --- | --- | --- |")
    for name, ms in found.items():
        print(f"| {name} | {ms:.3f} | {100 * ms / total:.1f} |")
    print(f"| all | {total:.3f} | 100 |")
    print(f"\nBeside the network: {beside:.3f} ms, {100 * beside / total:.1f} percent.")


def main(argv: list[str] | None = None) -> None:
    """Measure and print as markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", choices=["demo", "published", "tiny"], default="demo")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, nargs="+", default=[20, 50])
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    parts = build(args.network)
    width = parts.unet.config.context_input_channels
    contexts = np.random.default_rng(0).standard_normal((max(1, args.batch // 12 + 1), width)).astype(np.float32)
    plan = SamplePlan.grid(len(contexts), 12, pool={"context": contexts}).rows(0, args.batch)
    print(f"# What sampling costs beside the network, {date.today().isoformat()}\n")
    print(f"Network {args.network}, {parts.size_px} px, {processor()}, one thread, Python {platform.python_version()},")
    print(f"torch {torch.__version__}; CPU time, median of 5, batches of {args.batch}, seed 0, unguided.")
    for steps in args.steps:
        print(f"\n## DPM-Solver++, {steps} steps\n")
        with tempfile.TemporaryDirectory() as folder:
            print_table(parts_of_a_batch(parts, plan, steps, Path(folder)))


if __name__ == "__main__":
    main()
