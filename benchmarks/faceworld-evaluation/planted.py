"""Datasets of the face world with planted faults, and how many of the faults the evaluators found.

    python benchmarks/faceworld-evaluation/planted.py make FOLDER      # parquet, one folder per dataset
    python benchmarks/faceworld-evaluation/planted.py found FOLDER RESULTS

Letters: N images, S side of a crop in pixels.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from harness.arrays import Images, Ints
from harness.builtin.faceworld import WORLD_SEED
from harness.coding import encode_png
from harness.faces.crops import reference_landmarks
from harness.faces.warp import similarity, warp
from harness.faceworld.ranges import IDENTITY_RANGES
from harness.faceworld.render import render

SIZE_PX = 32
LEAKED = 50  # identities that show a person of the authentic source
WRONG = 0.05  # share of images whose label belongs to another one
FACES = 8  # that a collapsed generator knows
SHIFT_PX = 8.0  # down, of a crop of 112
AUTHENTIC, OURS = IDENTITY_RANGES["train"].start, IDENTITY_RANGES["spare"].start
NEW = 1_000  # samples from here on are other pictures of a person than those of the source


@dataclass(frozen=True)
class Dataset:
    """What every image is: labelled ``identity`` from 0, and picture ``sample`` of ``person``; int64 [N] each."""

    identity: Ints
    person: Ints
    sample: Ints


def sound(identities: int, per_identity: int) -> Dataset:
    """People whom the source does not show, rightly labelled."""
    identity = np.repeat(np.arange(identities), per_identity)
    return Dataset(identity, OURS + identity, np.tile(np.arange(per_identity), identities))


def faulty(of: Dataset, seed: int = 0) -> tuple[Dataset, dict[str, Any]]:
    """Leaked people, a person under two identities, and wrong labels; and which they are.

    No image has two faults. Wrongly labelled images exchange labels, so every identity keeps its number of images.
    """
    rng = np.random.default_rng(seed)
    chosen = rng.choice(int(of.identity.max()) + 1, LEAKED + 2, replace=False)
    leaked, (first, double) = np.sort(chosen[:LEAKED]), np.sort(chosen[LEAKED:])
    victims = AUTHENTIC + 7 * np.arange(LEAKED)
    person, sample = of.person.copy(), of.sample.copy()
    for identity, shown in [*zip(leaked, victims, strict=True), (double, OURS + first)]:
        person[of.identity == identity] = shown
        sample[of.identity == identity] += NEW
    wrong = rng.choice(np.flatnonzero(~np.isin(of.identity, chosen)), round(WRONG * len(person)), replace=False)
    # in an order by identity, the other half's labels are other identities'
    wrong = wrong[np.argsort(of.identity[wrong], kind="stable")]
    identity = of.identity.copy()
    identity[wrong] = of.identity[np.roll(wrong, len(wrong) // 2)]
    planted = {"leaked": leaked.tolist(), "victims": victims.tolist(), "doubled": [int(first), int(double)]}
    return Dataset(identity, person, sample), planted | {"wrong": np.sort(wrong).tolist()}


def crops(of: Dataset, shift_px: float = 0.0) -> Images:
    """ArcFace crops [N, S, S, 3] by exact landmarks, the faces lower by ``shift_px`` of 112."""
    points = (reference_landmarks(SIZE_PX) + np.array([0, shift_px * SIZE_PX / 112])).astype(np.float32)
    parts = []
    for start in range(0, len(of.person), 512):
        part = slice(start, start + 512)
        drawn = render(WORLD_SEED, of.person[part].tolist(), of.sample[part].tolist(), "train", SIZE_PX)
        assert drawn.landmarks is not None
        parts.append(warp(drawn.images, similarity(drawn.landmarks, points), SIZE_PX))
    return np.concatenate(parts)


def collapsed(of: Dataset, known: Images, seed: int = 0) -> Images:
    """The same few faces for everybody, with hardly any noise."""
    noise = np.random.default_rng(seed).normal(0, 2, (len(of.identity), *known.shape[1:]))
    return np.clip(known[of.identity % len(known)] + noise, 0, 255).astype(np.uint8)


def datasets(identities: int, per_identity: int) -> Iterator[tuple[str, Dataset, Images, dict[str, Any]]]:
    """Name, labels, crops and planted faults of every dataset."""
    whole = sound(identities, per_identity)
    images = crops(whole)
    yield "sound", whole, images, {}
    changed, planted = faulty(whole)
    yield "faulty", changed, crops(changed), planted
    first = np.flatnonzero(whole.sample == 0)[:FACES]
    yield "collapsed", whole, collapsed(whole, images[first]), {}
    yield "bgr", whole, np.ascontiguousarray(images[..., ::-1]), {}
    yield "shifted", whole, crops(whole, SHIFT_PX), {}


def make(folder: Path, identities: int, per_identity: int) -> None:
    """Write every dataset as parquet with the columns identity, sample and image, and its faults as JSON."""
    for name, labels, images, planted in datasets(identities, per_identity):
        order = np.argsort(labels.identity, kind="stable")
        identity = labels.identity[order]
        rows = {"identity": identity, "sample": np.arange(len(identity)) - np.searchsorted(identity, identity)}
        (folder / name).mkdir(parents=True)
        encoded = [{"bytes": encode_png(image), "path": ""} for image in images[order]]
        pq.write_table(pa.table({**rows, "image": encoded}), folder / name / "images.parquet")
        places = {int(row): place for place, row in enumerate(order)}
        planted |= {"wrong": sorted(places[row] for row in planted.get("wrong", []))}
        (folder / name / "planted.json").write_text(json.dumps(planted) + "\n", encoding="utf-8")
        print(f"{folder / name}: {len(identity):,} images of {identities:,} identities")


def found(planted: dict[str, Any], row: Path) -> Iterator[str]:
    """Lines on the faults of a dataset that the tables of a row's results show."""
    table = pq.read_table(row / "tables" / "leakage-identities.parquet").to_pydict()
    hits = dict(zip(table["identity"], table["authentic_identity"], strict=True))
    above = {identity for identity, hit in zip(table["identity"], table["above"], strict=True) if hit}
    right = sum(hits[i] == victim for i, victim in zip(planted["leaked"], planted["victims"], strict=True))
    caught = above & set(planted["leaked"])
    count, others = len(planted["leaked"]), len(table["identity"]) - len(planted["leaked"])
    more = len(above - caught)
    yield f"leaked: {len(caught)} of {count}, {right} with the right person, and {more} of {others} others"
    table = pq.read_table(row / "tables" / "consistency-images.parquet").to_pydict()
    wrong = np.array(table["wrong"])
    own = np.isin(np.arange(len(wrong)), planted["wrong"])
    yield f"wrong labels: {wrong[own].sum()} of {own.sum()}, and {wrong[~own].sum()} of {(~own).sum()} others"
    first, double = planted["doubled"]
    lost = [
        sum(wrong & (np.array(table["identity"]) == a) & (np.array(table["rival"]) == b))
        for a, b in ((first, double), (double, first))
    ]
    yield f"doubled: identities {first} and {double} lose {lost[0]} and {lost[1]} images to one another"


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("make", help="write the datasets")
    making.add_argument("folder", type=Path)
    making.add_argument("--identities", type=int, default=500)
    making.add_argument("--per-identity", type=int, default=10)
    finding = commands.add_parser("found", help="count the planted faults that a run found")
    finding.add_argument("folder", type=Path)
    finding.add_argument("results", type=Path, help="WORKDIR/results/faceworld-evaluation")
    given = parser.parse_args(argv)
    if given.command == "make":
        make(given.folder, given.identities, given.per_identity)
        return
    planted = json.loads((given.folder / "faulty" / "planted.json").read_text(encoding="utf-8"))
    print("\n".join(found(planted, given.results / "faulty" / "seed-0")))


if __name__ == "__main__":
    main()
