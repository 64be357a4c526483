"""Training speed: ours against the floor and against the plain loop of the literature, in one run and in turn.

    python benchmarks/perf/training.py > benchmarks/perf/records/DATE-training.md
    python benchmarks/perf/training.py --network iresnet-50 --device cuda --batch 256

The floor is the network alone: forward, CosFace, backward and update on batches that lie in memory as floats. The plain
loop is what published training scripts do (methods 5.3): PNG decoding and Pillow's augmentation image by image in the
main process, float32. Ours reads the decoded array and augments whole batches. All three take the very same steps of
the very same network, so what is compared is the way that pictures take to it.

With one thread on a CPU, as a worker of the harness has, the clock is CPU time, so that other work on the machine
matters less; with more threads, and on a GPU, it is wall time. Ways take turns, a few steps each, after a round that is
not measured; ratios are those of one round, their median with the least and the greatest.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import argparse
import io
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn
from torch.nn import functional as F

from harness.builtin.small_cnn_net import SmallNet
from harness.components import Crop, Run
from harness.faces.faceset import FaceSet, ShardWriter, content_digest, write_items
from harness.faceworld.render import render
from harness.provenance import processor
from harness.stages.phases import prepare_process
from harness.store.artifacts import Manifest, Store, now
from harness.training.arrays import FaceArray, decoded
from harness.training.augment import image_keys, named, pil
from harness.training.augment.randaugment import COUNT, OPERATIONS, STRONGEST, magnitudes
from harness.training.backbones.iresnet import IResNetwork

AUGMENTATIONS = ("flip", "flip+randaugment-4-16")
SCALE, MARGIN, CLIP = 64.0, 0.35, 5.0  # of CosFace and of the gradients' norm. Source: methods 5.1, 5.2
PER_PERSON = 8
Batches = Iterator[tuple[Tensor, Tensor]]  # pictures float32 [B, 3, S, S] in [-1, 1] and classes [B], on the device


@dataclass(frozen=True)
class Setting:
    """How the network computes."""

    dtype: str = "float32"
    channels_last: bool = False
    compile: bool = False
    threads: int = 1

    def __str__(self) -> str:
        words = [self.dtype, *["channels-last"] * self.channels_last, *["compiled"] * self.compile]
        return ", ".join([*words, f"{self.threads} thread{'s' * (self.threads > 1)}"])


class Training:
    """A network in training; every one starts from the same weights.

    Args:
        network: ``small-cnn`` or ``iresnet-DEPTH``.
        classes: people in the dataset.
    """

    def __init__(self, network: str, classes: int, setting: Setting, device: str) -> None:
        torch.manual_seed(0)
        name, _, depth = network.partition("-")
        net: nn.Module = IResNetwork(int(depth)) if name == "iresnet" else SmallNet(64)
        width = 512 if name == "iresnet" else 64
        self.head = nn.Parameter((torch.randn(classes, width) * 0.01).to(device))
        net.to(device).train()
        if setting.channels_last:
            net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.weights = list(net.parameters())
        self.optimizer = torch.optim.SGD([*self.weights, self.head], lr=0.01, momentum=0.9, weight_decay=5e-4)
        self.network: Callable[[Tensor], Tensor] = torch.compile(net) if setting.compile else net
        self.setting, self.kind = setting, torch.device(device).type
        self.loss = float("nan")

    def step(self, x: Tensor, labels: Tensor) -> None:
        """One step on pictures [B, 3, S, S] in [-1, 1]."""
        if self.setting.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.kind, torch.bfloat16, enabled=self.setting.dtype == "bfloat16"):
            features = self.network(x)
        cosines = F.linear(F.normalize(features.float()), F.normalize(self.head))
        loss = F.cross_entropy(SCALE * (cosines - MARGIN * F.one_hot(labels, len(self.head))), labels)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.weights, CLIP)
        nn.utils.clip_grad_norm_([self.head], CLIP)
        self.optimizer.step()
        self.loss = loss.item()


class Data:
    """One dataset in the three forms: PNG files in memory, the decoded array, and floats on the device."""

    def __init__(self, faces: FaceSet, batch: int, device: str) -> None:
        self.array: FaceArray = decoded(faces, Run(0))
        self.files = [data for data, _ in faces.encoded(np.arange(len(faces)))]
        self.size_px, self.batch, self.device = faces.crop.size_px, batch, device

    def order(self, turn: int, steps: int) -> list[Tensor]:
        """Positions of the batches of a turn, the same for every way."""
        generator = torch.Generator().manual_seed(turn)
        return [torch.randperm(len(self.array), generator=generator)[: self.batch] for _ in range(steps)]

    def ours(self, turn: int, steps: int, augmentation: str) -> Batches:
        """From the array, augmented in batches on the device."""
        augment, order = named(augmentation), self.order(turn, steps)
        for indices, images in zip(order, self.array.batches(order, self.device), strict=True):
            x = augment(images, image_keys(0, turn, indices))
            yield x.float().mul_(2 / 255).sub_(1), self.array.labels[indices].to(self.device)

    def plain(self, turn: int, steps: int, augmentation: str) -> Batches:
        """From the files, decoded and augmented by Pillow one by one."""
        for indices in self.order(turn, steps):
            images = [self._picture(self.files[index], augmentation) for index in indices.tolist()]
            yield torch.stack(images).to(self.device), self.array.labels[indices].to(self.device)

    def _picture(self, data: bytes, augmentation: str) -> Tensor:
        with Image.open(io.BytesIO(data)) as file:
            image = file.convert("RGB")
        if random.random() < 0.5:
            image = ImageOps.mirror(image)
        for _ in range(COUNT if "randaugment" in augmentation else 0):
            name, bin_, sign = random.choice(OPERATIONS), random.randint(1, STRONGEST), random.choice((1, -1))
            image = pil.operate(name, image, float(magnitudes(name, np.array(bin_), np.array(sign), self.size_px)))
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float()  # as ToTensor and Normalize
        return (pixels / 255 - 0.5) / 0.5

    def floor(self, turn: int, steps: int) -> Batches:
        """Floats that lie on the device already, made before the clock starts."""
        return iter(list(self.ours(turn, steps, "none")))


def dataset(folder: Path, size_px: int, count: int) -> FaceSet:
    """Drawn faces as an artifact of a store, as a run would have made them."""
    store, people = Store(folder / f"store{size_px}"), np.arange(count) // PER_PERSON
    building = store.building("align", "faces")
    for shard, begin in enumerate(range(0, count, 256)):
        writer, rows = ShardWriter(building, shard), slice(begin, min(count, begin + 256))
        samples = np.arange(count)[rows] % PER_PERSON
        drawn = render(0, people[rows].tolist(), samples.tolist(), "train", size_px)
        for person, sample, image in zip(people[rows], samples, drawn.images, strict=True):
            writer.add(person, sample, image)
        writer.close()
    items = write_items(building, -(-count // 256))
    named_ = {"kind": "align", "key": "faces", "content": content_digest(items), "files": store.seal("align", "faces")}
    nothing = {"component": "", "settings": {}, "seed": 0, "parents": {}, "options": {}, "license": {}, "device": "cpu"}
    made = Manifest.model_validate({**named_, **nothing, "seconds": 0.0, "created": now(), "finished": now()})
    return FaceSet(store.commit(made).folder, Crop("arcface", size_px))


class Clock:
    """CPU seconds of this process with one thread; else wall seconds, of a synchronized device."""

    def __init__(self, device: str, threads: int) -> None:
        self.cuda = torch.device(device).type == "cuda"
        self.name = "wall time" if self.cuda or threads > 1 else "CPU time"
        self._now = time.process_time if self.name == "CPU time" else time.perf_counter

    def now(self) -> float:
        """Seconds since some start."""
        if self.cuda:
            torch.cuda.synchronize()
        return self._now()


@dataclass
class Way:
    """A way to train: where its batches come from, and what is trained on them."""

    name: str
    batches: Callable[[int, int], Batches]  # of a turn, so many
    training: Training | None  # none: the batches alone

    def seconds(self, turn: int, steps: int, clock: Clock) -> tuple[float, float]:
        """How long some steps take, and how much of it the wait for batches."""
        if self.training is not None:
            torch.set_num_threads(self.training.setting.threads)
        batches, waited = self.batches(turn, steps), 0.0
        start = time.perf_counter(), clock.now()
        while True:
            asked = time.perf_counter()
            batch = next(batches, None)
            waited += time.perf_counter() - asked
            if batch is None:
                break
            if self.training is not None:
                self.training.step(*batch)
        taken = clock.now() - start[1]
        return taken, waited / (time.perf_counter() - start[0])


def in_turn(ways: list[Way], steps: int, rounds: int, clock: Clock) -> dict[str, list[tuple[float, float]]]:
    """Seconds and share of waiting of every way in every round but the first."""
    found: dict[str, list[tuple[float, float]]] = {way.name: [] for way in ways}
    for round_ in range(rounds + 1):
        for way in ways:
            measured = way.seconds(round_, steps, clock)
            found[way.name] += [measured] if round_ else []
    return found


def ratio(base: list[tuple[float, float]], other: list[tuple[float, float]]) -> str:
    """How many times as fast the other is: median, least and greatest over rounds."""
    ratios = sorted(a / b for (a, _), (b, _) in zip(base, other, strict=True))
    return f"{statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})"


def against_floor(data: Data, classes: int, args: argparse.Namespace) -> None:
    """Ours and the plain loop against the floor, without and with RandAugment."""
    setting, clock = Setting(threads=args.threads), Clock(args.device, args.threads)
    trained = [Training(args.network, classes, setting, args.device) for _ in range(5)]
    ways = [Way("floor", data.floor, trained[0])]
    for index, name in enumerate(AUGMENTATIONS):
        ways += [
            Way(f"ours, {name}", partial(data.ours, augmentation=name), trained[1 + 2 * index]),
            Way(f"plain loop, {name}", partial(data.plain, augmentation=name), trained[2 + 2 * index]),
        ]
    ways += [Way(f"pictures alone, {w.name}", w.batches, None) for w in ways[1:]]
    found = in_turn(ways, args.steps, args.rounds, clock)
    print(f"\n## {args.network}, {data.size_px} px, float32, {args.threads} thread(s), {clock.name}\n")
    print("| way | images/s | times the floor | waiting for pictures |\n| --- | --- | --- | --- |")
    for name, measured in found.items():
        rate = args.steps * data.batch / statistics.median(seconds for seconds, _ in measured)
        waited = f"{100 * statistics.median(share for _, share in measured):.1f} %" if "alone" not in name else ""
        print(f"| {name} | {rate:.0f} | {ratio(found['floor'], measured)} | {waited} |", flush=True)
    for name in AUGMENTATIONS:
        alone = [found[f"pictures alone, {way}, {name}"] for way in ("plain loop", "ours")]
        print(f"\nOurs, {name}: {ratio(found[f'plain loop, {name}'], found[f'ours, {name}'])} times the plain loop; ")
        print(f"the pictures alone {ratio(*alone)} times as fast.")


def fastest(data: Data, classes: int, args: argparse.Namespace) -> None:
    """Ours in several settings against the plain loop in float32, with RandAugment."""
    name = AUGMENTATIONS[-1]
    settings = [
        Setting(dtype, last, compiled, args.threads)
        for compiled in ((False, True) if args.compile else (False,))
        for last in (False, True)
        for dtype in ("float32", "bfloat16")
    ]
    plain = Training(args.network, classes, Setting(threads=args.threads), args.device)
    ways = [Way("plain loop, float32", partial(data.plain, augmentation=name), plain)]
    for setting in settings:
        training = Training(args.network, classes, setting, args.device)
        ways.append(Way(f"ours, {setting}", partial(data.ours, augmentation=name), training))
    clock = Clock(args.device, args.threads)
    found = in_turn(ways, args.steps, args.rounds, clock)
    print(f"\n## Settings: {args.network}, {data.size_px} px, {name}, {clock.name}\n")
    print("| way | images/s | times the plain loop | loss at the end |\n| --- | --- | --- | --- |")
    for way in ways:
        measured = found[way.name]
        rate = args.steps * data.batch / statistics.median(seconds for seconds, _ in measured)
        assert way.training is not None
        times = ratio(found["plain loop, float32"], measured)
        print(f"| {way.name} | {rate:.0f} | {times} | {way.training.loss:.2f} |", flush=True)


def decoding(data: Data, rounds: int) -> None:
    """The one decoding of the dataset: pyspng, as in `harness.training.arrays`, against Pillow."""
    import pyspng

    from harness.coding import decode_image

    some = data.files[:128]
    seconds: dict[str, list[tuple[float, float]]] = {"Pillow": [], "pyspng": []}
    for _ in range(rounds + 1):
        for name, decode in (("Pillow", lambda file: decode_image(file, "")), ("pyspng", pyspng.load)):
            start = time.process_time()
            for file in some:
                decode(file)
            seconds[name].append((time.process_time() - start, 0.0))
    same = all(np.array_equal(pyspng.load(file), decode_image(file, "")) for file in data.files)
    rate = len(some) / statistics.median(taken for taken, _ in seconds["pyspng"][1:])
    times = ratio(seconds["Pillow"][1:], seconds["pyspng"][1:])
    print(f"\nDecoding at {data.size_px} px, CPU time: pyspng {rate:.0f} images/s, {times} times Pillow; ", end="")
    print(f"{'the same pixels' if same else 'OTHER PIXELS'} in {len(data.files)} of {len(data.files)} images compared.")


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="small-cnn", help="small-cnn, or iresnet-18, -50, -100 (112 px)")
    parser.add_argument("--sizes", default="64,112", help="of the crops in pixels")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--images", type=int, default=512, help="in the dataset")
    parser.add_argument("--steps", type=int, default=3, help="of one way before the next one's turn")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--compile", action="store_true", help="also torch.compile, which takes minutes")
    parser.add_argument("--settings", action="store_true", help="also the settings, the fastest of which counts")
    parser.add_argument("--small", action="store_true", help="seconds instead of minutes, to see that it runs")
    args = parser.parse_args(argv)
    if args.small:
        args.sizes, args.batch, args.images, args.steps, args.rounds, args.settings = "32", 16, 32, 1, 1, True
    return args


def main(argv: list[str] | None = None) -> None:
    """Measure everything and print it as markdown."""
    args = parse(argv)
    prepare_process()
    where = torch.cuda.get_device_name() if args.device == "cuda" else f"{os.cpu_count()} cores of {processor()}"
    print(f"# Training speed, {date.today().isoformat()}\n")
    print(f"{where}, Python {platform.python_version()}, torch {torch.__version__}; ways in turn, {args.steps} steps")
    print(f"of {args.batch} images each, {args.rounds} rounds: median ratio (least to greatest).")
    with tempfile.TemporaryDirectory() as folder:
        for size in (int(size) for size in args.sizes.split(",")):
            faces = dataset(Path(folder), size, args.images)
            data: Any = Data(faces, args.batch, args.device)
            classes = int(data.array.labels.max()) + 1
            decoding(data, args.rounds)
            against_floor(data, classes, args)
            if args.settings:
                fastest(data, classes, args)


if __name__ == "__main__":
    main()
