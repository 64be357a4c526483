"""How much of the face world's identity is color? Train a recognizer on color and on grey images and compare.

    python benchmarks/studies/faceworld-color/study.py --seeds 3 --out results.json

Both see the same identities, samples, crops and initial weights per seed; the grey one sees luma (ITU-R BT.601) in all
three channels, in training and in the test.

Letters: B images, S side of the crop, P pairs, D embedding width.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch.nn import functional as F

from harness.builtin.small_cnn_net import SmallNet
from harness.faces.crops import reference_landmarks
from harness.faces.warp import similarity, warp
from harness.faceworld.protocols import PROTOCOLS, pairs
from harness.faceworld.ranges import IDENTITY_RANGES
from harness.faceworld.render import render

SIZE_PX = 32
WIDTH = 64  # D
SCALE, MARGIN = 24.0, 0.3  # CosFace, arXiv 1801.09414; smaller than published, for few identities and small images
BATCH, PEAK_LR, MOMENTUM, DECAY = 128, 0.1, 0.9, 5e-4
LUMA = np.array([0.299, 0.587, 0.114])

Images = NDArray[np.uint8]


def crops(identities: list[int], samples: list[int], mode: str | list[str]) -> Images:
    """Render and align by exact landmarks: uint8 [B, S, S, 3]."""
    faces = render(0, identities, samples, mode, SIZE_PX)
    return warp(faces.images, similarity(faces.landmarks, reference_landmarks(SIZE_PX)), SIZE_PX)


def to_input(images: Images, grey: bool) -> torch.Tensor:
    """Float [B, 3, S, S] in [-1, 1]."""
    values = images @ LUMA if grey else images
    values = np.repeat(values[..., None], 3, -1) if grey else values
    return torch.from_numpy((values / 127.5 - 1).astype(np.float32)).permute(0, 3, 1, 2).contiguous()


def train(x: torch.Tensor, labels: torch.Tensor, epochs: int, seed: int) -> SmallNet:
    """Train with CosFace, random mirroring and a one-cycle learning rate."""
    torch.manual_seed(seed)
    network = SmallNet(WIDTH)
    centers = torch.nn.Parameter(torch.randn(int(labels.max()) + 1, WIDTH) * 0.1)
    optimizer = torch.optim.SGD([*network.parameters(), centers], lr=PEAK_LR, momentum=MOMENTUM, weight_decay=DECAY)
    steps = epochs * (len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_LR, total_steps=steps, pct_start=0.2)
    network.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(x))[: len(x) // BATCH * BATCH].view(-1, BATCH):
            mirrored = (torch.rand(len(rows)) < 0.5).view(-1, 1, 1, 1)
            faces = torch.where(mirrored, x[rows].flip(-1), x[rows])
            cosine = F.normalize(network(faces)) @ F.normalize(centers).T
            margin = F.one_hot(labels[rows], len(centers)) * MARGIN
            loss = F.cross_entropy(SCALE * (cosine - margin), labels[rows])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimizer.step()
            schedule.step()
    return network.eval()


def accuracy(scores: NDArray[np.float64], same: NDArray[np.bool_], fold: NDArray[np.int64]) -> float:
    """Mean over ten folds of the accuracy at the threshold that is best on the other nine, in percent."""
    hits = []
    for f in range(10):
        rest, here = fold != f, fold == f
        order = np.argsort(scores[rest])
        genuine = same[rest][order]
        right = np.cumsum(~genuine) + genuine.sum() - np.cumsum(genuine)  # threshold just above each score
        threshold = scores[rest][order][right.argmax()]
        hits.append(np.mean((scores[here] > threshold) == same[here]))
    return 100 * float(np.mean(hits))


def evaluate(network: SmallNet, grey: bool, tests: dict[str, Images], count: int) -> dict[str, float]:
    """Accuracy on each protocol, in percent."""
    out = {}
    with torch.inference_mode():
        for name, images in tests.items():
            listed = pairs(name, count)
            inputs = to_input(images, grey)
            batches = torch.chunk(inputs, len(inputs) // 256 + 1)
            embeddings = torch.cat([F.normalize(network(part)) for part in batches]).double().numpy()
            scores = (embeddings[listed.a] * embeddings[listed.b]).sum(1)
            out[name] = accuracy(scores, listed.same, listed.fold)
    return out


def main() -> None:
    """Run the study and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--identities", type=int, default=500)
    parser.add_argument("--per-identity", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--pairs", type=int, default=6_000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", default="")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    tests = {}
    for name in PROTOCOLS:
        listed = pairs(name, args.pairs)
        tests[name] = crops(listed.identities.tolist(), listed.samples.tolist(), listed.modes)
    runs = []
    for seed in range(args.seeds):
        first = IDENTITY_RANGES["train"].start + seed * args.identities  # each seed has its own training set
        people = np.repeat(np.arange(first, first + args.identities), args.per_identity)
        images = crops(people.tolist(), np.tile(np.arange(args.per_identity), args.identities).tolist(), "train")
        labels = torch.from_numpy(people - first)
        for grey in (False, True):
            started = time.process_time()
            network = train(to_input(images, grey), labels, args.epochs, seed)
            result = evaluate(network, grey, tests, args.pairs)
            result["mean"] = float(np.mean(list(result.values())))
            runs.append({"seed": seed, "grey": grey, "cpu_s": time.process_time() - started, **result})
            print(json.dumps(runs[-1]), flush=True)
    report(runs, args.out, vars(args))


def report(runs: list[dict[str, float]], out: str, settings: dict[str, object]) -> None:
    """Print mean accuracy, and the difference with a 95 percent t interval over seeds."""
    summary: dict[str, dict[str, float]] = {}
    for name in [*PROTOCOLS, "mean"]:
        color = np.array([r[name] for r in runs if not r["grey"]])
        grey = np.array([r[name] for r in runs if r["grey"]])
        gap = color - grey
        half = float(stats.t.ppf(0.975, len(gap) - 1) * gap.std(ddof=1) / len(gap) ** 0.5) if len(gap) > 1 else np.nan
        summary[name] = {"color": color.mean(), "grey": grey.mean(), "difference": gap.mean(), "half_width": half}
        print(f"{name:9s} color {color.mean():.1f}  grey {grey.mean():.1f}  difference {gap.mean():.1f} +- {half:.1f}")
    if out:
        with open(out, "w", encoding="utf-8") as file:
            json.dump({"settings": settings, "runs": runs, "summary": summary}, file, indent=1)


if __name__ == "__main__":
    main()
