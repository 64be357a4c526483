"""Sampling speed: ours against the plain loop of the published sampling scripts, in one run on one U-Net.

    python benchmarks/perf/sampling.py > benchmarks/perf/records/DATE-sampling.md
    python benchmarks/perf/sampling.py --network published --device cuda --batch 256

The plain loop is what the published code of IDiff-Face and NegFaceDiff does (methods 1.9, 2.1, 2.4): one identity after
another, all images of an identity as one batch, float32, raw contexts handed to the network at every step, two network
calls per guided step, DDIM with 200 steps, decode. It calls the very U-Net that ours calls, so what is compared is the
way of sampling and not two networks. Its starting noise is drawn before the clock starts; ours draws its own while the
clock runs. Both have a process of their own with one thread: the plain loop's as Python starts it, ours set up as a
worker of the harness is.

On a CPU the clock is the CPU time of that process, so that other work on the machine matters less; on a GPU it is wall
time around a synchronized device. Ways take turns, so one alone computes at any time.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import copy
import multiprocessing
import platform
import resource
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from harness.arrays import Images
from harness.coding import from_unit
from harness.components import Given, Model, Request, Run, SamplePlan
from harness.components.generator import Generator
from harness.diffusion.latent import KIND, UNET, LatentDiffusion
from harness.diffusion.schedule import linear_schedule
from harness.diffusion.unet import PUBLISHED_CONFIG, ConditionalUNet
from harness.diffusion.vq import VQAutoencoder
from harness.plugins import registry
from harness.provenance import processor
from harness.stages.phases import prepare_process
from harness.store.shipped import demo_path
from harness.store.weights import load_tensors, read_info
from harness.testing.latent import tiny_model, wake

WEIGHT = 0.5  # of the guidance. Source: NegFaceDiff repository
# Dense peak in TFLOP/s by name of the device and dtype. Source: NVIDIA data sheets
PEAK = {
    "H200": {"float32": 67, "tf32": 494, "bfloat16": 989},
    "H100": {"float32": 67, "tf32": 494, "bfloat16": 989},
    "A100": {"float32": 19.5, "tf32": 156, "bfloat16": 312},
}


@dataclass(frozen=True)
class Way:
    """One way to sample: the settings of ours, or the plain loop when ``plain``."""

    name: str
    sampler: str = "ddim"
    steps: int = 200
    dtype: str = "float32"
    plain: bool = False


@torch.no_grad()
def plain_loop(parts: LatentDiffusion, plan: SamplePlan, x_T: Tensor, steps: int, device: str) -> Images:
    """The published loop: identity after identity, DDIM with eta 0 and the corrected previous level (methods B3).

    Args:
        x_T: the starting noise of every planned image, on the device.
    """
    unet, T = parts.unet, parts.schedule.T
    alpha_bars = torch.cat([torch.ones(1), parts.schedule.alpha_bars]).to(device)  # index 0 is the clean image
    steps_taken = [i * T // steps for i in range(steps)]
    images = []
    for identity in np.unique(plan.identities):
        rows = np.flatnonzero(plan.identities == identity)
        context = _raw(plan.pool["context"], identity, len(rows), device)
        negative = _raw(plan.pool["negative"], identity, len(rows), device) if "negative" in plan.pool else None
        x = x_T[torch.from_numpy(rows)]
        for i in reversed(range(steps)):
            t = torch.full((len(x),), steps_taken[i], device=device)
            t_prev = torch.full((len(x),), steps_taken[i - 1] if i else -1, device=device)
            eps = unet(x, t, context)
            if negative is not None:
                eps = (1 + WEIGHT) * eps - WEIGHT * unet(x, t, negative)
            level = alpha_bars[t + 1].reshape(-1, 1, 1, 1)
            level_prev = alpha_bars[t_prev + 1].reshape(-1, 1, 1, 1)
            x_0 = (x - (1 - level).sqrt() * eps) / level.sqrt()
            x = level_prev.sqrt() * x_0 + (1 - level_prev).sqrt() * eps
        images.append(from_unit(parts.autoencoder.decode(x)))
    return np.concatenate(images)


def _raw(column: Any, identity: int, count: int, device: str) -> Tensor:
    return torch.from_numpy(column[identity]).to(device).expand(count, -1)


def ours(way: Way, guided: bool, plan: SamplePlan, model: Model, device: str, batch: int) -> Images:
    """The generator as a suite calls it: model to images, noise and decoding included."""
    settings = {"sampler": way.sampler, "steps": way.steps, "dtype": way.dtype, "batch_size": batch}
    return np.concatenate(
        [b.images for b in _generator(guided, settings).sample(plan, Given(model=model), Run(0, device))]
    )


def _generator(guided: bool, settings: dict[str, Any]) -> Generator:
    cls = registry().load("generators", "negfacediff" if guided else "idiffface")
    assert issubclass(cls, Generator)
    return cls(cls.Settings.model_validate({**settings, "w": WEIGHT} if guided else settings))


@lru_cache(maxsize=1)
def build_model(network: str) -> Model:
    """The shipped demo model; or the published size, or a tiny one, with random weights."""
    if network == "demo":
        path = demo_path("ldm")
        info = read_info(path)
        return Model(info.kind, info.settings, load_tensors(path))
    if network == "tiny":
        return tiny_model()
    torch.manual_seed(0)
    unet, autoencoder = ConditionalUNet(PUBLISHED_CONFIG), VQAutoencoder()
    wake(unet)
    with torch.no_grad():
        unet.final.weight.mul_(0.1)  # random weights: keep the estimates of the noise from growing over the steps
    parts = LatentDiffusion(unet.eval(), autoencoder.eval(), linear_schedule(), 128)
    named = {f"{UNET}{name}": tensor for name, tensor in unet.state_dict().items()}
    return Model(KIND, parts.settings(), parts.tensors(named, torch.float32))


class Clock:
    """CPU seconds of this process, or wall seconds of a synchronized GPU, and the peak memory of the latter."""

    def __init__(self, device: str) -> None:
        self.cuda = device == "cuda"

    def seconds(self, work: Callable[[], Any]) -> tuple[float, Any]:
        """How long some work takes, and what it gives."""
        if self.cuda:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        now = time.perf_counter if self.cuda else time.process_time
        start = now()
        result = work()
        if self.cuda:
            torch.cuda.synchronize()
        return now() - start, result

    def memory(self) -> str:
        """Peak memory in MB: of the device in the last measurement, or of this process so far."""
        if self.cuda:
            return f"{torch.cuda.max_memory_allocated() / 2**20:.0f}"
        return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10:.0f}"


def planned(model: Model, guided: bool, people: int, each: int) -> SamplePlan:
    """The images to sample, with uniform contexts."""
    width = model.settings["unet"]["context_input_channels"]
    contexts = np.random.default_rng(0).standard_normal((people, width)).astype(np.float32)
    contexts /= np.linalg.norm(contexts, axis=1, keepdims=True)
    return _generator(guided, {}).plan(Request(people, each), Given(contexts=contexts), Run(0))


def measure(way: Way, guided: bool, people: int, each: int, args: argparse.Namespace) -> tuple[float, str, Images]:
    """Sample once, in the process that measures: seconds, peak memory and images."""
    model, clock = build_model(args.network), Clock(args.device)
    plan = planned(model, guided, people, each)
    if way.plain:
        parts = LatentDiffusion.from_model(model, args.device)
        who, which = plan.identities.tolist(), plan.samples.tolist()
        x_T = Run(0, args.device).noise(who, which, parts.latent_shape, "x_T")
        seconds, images = clock.seconds(lambda: plain_loop(parts, plan, x_T, way.steps, args.device))
    else:
        seconds, images = clock.seconds(lambda: ours(way, guided, plan, model, args.device, args.batch))
    return seconds, clock.memory(), images


Processes = dict[Way, ProcessPoolExecutor]


def compare(ways: Processes, guided: bool, people: int, each: int, args: argparse.Namespace) -> None:
    """Time every way in turn, ``rounds`` times; print images per second, ratio and how far the images are apart."""
    seconds: dict[Way, list[float]] = {way: [] for way in ways}
    images, memory = {}, {}
    for round_ in range(args.rounds + 1):
        for way, process in ways.items():
            warm = round_ > 0
            given = (people, each) if warm else (2, 2)  # the first round, unmeasured, starts everything up
            taken, memory[way], images[way] = process.submit(measure, way, guided, *given, args).result()
            seconds[way] += [taken] if warm else []
    base = next(iter(ways))
    flops = forward_flops(LatentDiffusion.from_model(build_model(args.network)))
    method = "Guided (NegFaceDiff)" if guided else "Unguided (IDiff-Face)"
    print(f"\n## {method}, {people} identities x {each} images\n")
    print("| way | images/s | ratio | network TFLOP/s | peak MB | gray levels apart: max, mean |")
    print("| --- | --- | --- | --- | --- | --- |")
    for way in ways:
        rate = people * each / statistics.median(seconds[way])
        ratios = sorted(a / b for a, b in zip(seconds[base], seconds[way], strict=True))
        ratio = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        done = rate * way.steps * (2 if guided else 1) * flops / 1e12
        share = _share(done, way) if args.device == "cuda" else ""
        apart = np.abs(images[way].astype(np.int16) - images[base])
        off = f"{apart.max()}, {apart.mean():.3f}"
        print(f"| {way.name} | {rate:.2f} | {ratio} | {done:.3f}{share} | {memory[way]} | {off} |", flush=True)


def _share(tflops: float, way: Way) -> str:
    name = torch.cuda.get_device_name()
    kind = way.dtype if way.dtype != "float32" or not torch.backends.cudnn.allow_tf32 else "tf32"
    peak = next((peaks[kind] for key, peaks in PEAK.items() if key in name), None)
    return "" if peak is None else f" ({100 * tflops / peak:.1f}% of {kind} peak)"


def forward_flops(parts: LatentDiffusion) -> float:
    """Floating point operations of the network for one image and one step, the context's share left out."""
    x, t, context = _inputs(parts, 1)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        parts.unet(x, t, parts.unet.contextualize(context[:1]))
        once = counter.get_total_flops()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        parts.unet.contextualize(context[:1])
    return float(once - counter.get_total_flops())


def _inputs(parts: LatentDiffusion, batch: int) -> tuple[Tensor, Tensor, Tensor]:
    device = next(parts.unet.parameters()).device
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, *parts.latent_shape, generator=generator)
    context = torch.randn(batch, parts.unet.config.context_input_channels, generator=generator)
    t = torch.full((batch,), parts.schedule.T // 2, device=device)
    return x.to(device), t, torch.nn.functional.normalize(context).to(device)


@torch.no_grad()
def variants(model: Model, args: argparse.Namespace) -> None:
    """One network call in several forms: what pays and what does not."""
    parts, clock = LatentDiffusion.from_model(model, args.device), Clock(args.device)
    forms: dict[str, Callable[[], Tensor]] = {}
    sizes = dict.fromkeys([12, 50, args.batch, 2 * args.batch])
    inputs = {size: _inputs(parts, size) for size in sizes}
    unet, images = parts.unet, {}

    def add(name: str, size: int, call: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
        forms[name], images[name] = (lambda: call(*inputs[size])), size

    for size in sizes:
        cached = unet.contextualize(inputs[size][2])
        add(f"float32, batch {size}, context each time", size, unet)
        add(f"float32, batch {size}", size, lambda x, t, c, cached=cached: unet(x, t, cached))
    cached = unet.contextualize(inputs[args.batch][2])
    half = LatentDiffusion.from_model(model, args.device, "bfloat16").unet
    cached_half = half.contextualize(inputs[args.batch][2])
    last = copy.deepcopy(unet).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    add(f"bfloat16, batch {args.batch}", args.batch, lambda x, t, c: half(x, t, cached_half))
    add(f"float32, batch {args.batch}, channels-last weights", args.batch, lambda x, t, c: last(x, t, cached))
    if args.compile:
        for dtype, network, given in (("float32", unet, cached), ("bfloat16", half, cached_half)):
            compiled = torch.compile(copy.deepcopy(network))
            start = time.perf_counter()
            compiled(*inputs[args.batch][:2], given)
            name = f"{dtype}, batch {args.batch}, torch.compile after {time.perf_counter() - start:.0f} s of compiling"
            add(name, args.batch, lambda x, t, c, f=compiled, given=given: f(x, t, given))
    seconds: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(args.rounds + 2):
        for name, form in forms.items():
            calls = max(1, args.calls // images[name])
            seconds[name].append(
                clock.seconds(lambda form=form, calls=calls: [form() for _ in range(calls)])[0] / calls
            )
    flops = forward_flops(parts)
    print(f"\n## One network call ({flops / 1e6:.0f} MFLOP per image)\n")
    print("| form | images/s | GFLOP/s |\n| --- | --- | --- |")
    for name, taken in seconds.items():
        rate = images[name] / statistics.median(taken[1:])
        print(f"| {name} | {rate:.0f} | {rate * flops / 1e9:.0f} |")


@torch.no_grad()
def profile(model: Model, args: argparse.Namespace, rows: int = 8) -> None:
    """Where the time of a guided batch goes, by operator."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as torch_profile

    parts = LatentDiffusion.from_model(model, args.device)
    x, t, context = _inputs(parts, 2 * args.batch)
    cached = parts.unet.contextualize(context)
    parts.unet(x, t, cached)
    kinds = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if args.device == "cuda" else [])
    with torch_profile(activities=kinds) as seen:
        for _ in range(5):
            parts.unet(x, t, cached)
    averages = seen.key_averages()
    key = "self_device_time_total" if args.device == "cuda" else "self_cpu_time_total"
    total = sum(getattr(event, key) for event in averages)
    print(
        f"\n## Profile of ours, float32, {2 * args.batch} rows (a guided batch)\n\n| operator | share |\n| --- | --- |"
    )
    for event in sorted(averages, key=lambda event: -getattr(event, key))[:rows]:
        print(f"| {event.key} | {100 * getattr(event, key) / total:.1f} % |")


def peak_gflops(args: argparse.Namespace) -> float:
    """The best rate of a 3 x 3 convolution of the network's kind here, as a measure of what is possible."""
    x, w = torch.randn(64, 160, 8, 8, device=args.device), torch.randn(96, 160, 3, 3, device=args.device)
    with torch.no_grad():
        runs = [
            Clock(args.device).seconds(lambda: [torch.conv2d(x, w, padding=1) for _ in range(10)])[0] for _ in range(5)
        ]
    return 10 * 2 * 64 * 160 * 96 * 9 * 64 / min(runs) / 1e9


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", choices=["demo", "published", "tiny"], default="demo")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--batch", type=int, default=64, help="images per batch of ours")
    parser.add_argument("--steps", type=int, default=200, help="of DDIM in the plain loop and in ours at equal steps")
    parser.add_argument(
        "--equal-quality",
        default="dpm-solver++:50",
        metavar="SAMPLER:STEPS",
        help="the cheapest way that loses nothing against DDIM 200, by the study sampler-steps",
    )
    parser.add_argument("--sets", default="4x12,2x50", metavar="NxM,...", help="identities x images per identity")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--calls", type=int, default=512, help="images per measurement of one network call")
    parser.add_argument("--compile", action="store_true", help="also torch.compile, which takes minutes")
    parser.add_argument("--small", action="store_true", help="seconds instead of minutes, to see that it runs")
    args = parser.parse_args(argv)
    if args.small:
        args.network, args.steps, args.equal_quality, args.sets = "tiny", 4, "dpm-solver++:2", "3x4"
        args.rounds, args.calls, args.batch = 1, 8, 8
    return args


def main(argv: list[str] | None = None) -> None:
    """Measure everything and print it as markdown."""
    args = parse(argv)
    prepare_process()
    model = build_model(args.network)
    sampler, _, steps = args.equal_quality.partition(":")
    ways = [
        Way(f"plain loop, float32, DDIM {args.steps}", steps=args.steps, plain=True),
        Way(f"ours, float32, DDIM {args.steps}", steps=args.steps),
        Way(f"ours, bfloat16, DDIM {args.steps}", steps=args.steps, dtype="bfloat16"),
        Way(f"ours, float32, {sampler} {steps}", sampler, int(steps)),
        Way(f"ours, bfloat16, {sampler} {steps}", sampler, int(steps), "bfloat16"),
    ]
    where = torch.cuda.get_device_name() if args.device == "cuda" else f"one thread of {processor()}"
    clock = "wall time" if args.device == "cuda" else "CPU time"
    print(f"# Sampling speed, {date.today().isoformat()}\n")
    print(f"Network {args.network}, {where}, Python {platform.python_version()}, torch {torch.__version__}; {clock},")
    print(f"ways in turn, median of {args.rounds} rounds (least to greatest ratio), batches of {args.batch}, seed 0.")
    print(f"Equal steps: DDIM {args.steps}. Equal quality, by benchmarks/studies/sampler-steps: {sampler} {steps}.")
    if args.device == "cpu":
        print(f"A large 3 x 3 convolution reaches {peak_gflops(args):.0f} GFLOP/s in float32 here.")
    spawn = multiprocessing.get_context("spawn")
    plain = ProcessPoolExecutor(1, spawn, torch.set_num_threads, (1,))
    worker = ProcessPoolExecutor(1, spawn, prepare_process)
    processes = {way: plain if way.plain else worker for way in ways}
    for guided in (True, False):
        for people, _, each in (part.partition("x") for part in args.sets.split(",")):
            compare(processes, guided, int(people), int(each), args)
    plain.shutdown()
    worker.shutdown()
    variants(model, args)
    profile(model, args)


if __name__ == "__main__":
    main()
