"""Sources and generators: plan every image, then draw the plan shard by shard."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from harness.components.base import Crop
from harness.components.data import ImageBatch, Request, SamplePlan
from harness.errors import StageError
from harness.faces.coding import contact_sheet
from harness.faces.faceset import FaceSet, ShardWriter, content_digest, shard_is_whole, write_items
from harness.stages.context import Stage, plan_length, read_plan, write_plan

# Items per shard: small enough that a kill costs seconds on a CPU, large enough that files stay few.
SHARD_ITEMS = 256
_NO_CROP = Crop("raw", 0)  # while the size is not known yet


def prepare(stage: Stage) -> dict[str, Any]:
    """Write the sample plan and count the shards that are still missing."""
    if not (stage.folder / "plan.parquet").exists():
        if stage.spec.kind == "generate":
            plan = stage.component.plan(_request(stage), stage.model(), stage.run)
        else:
            plan = stage.component.plan(stage.run)
        _check_plan(plan)
        write_plan(stage.folder, plan)
    return count_shards(stage, plan_length(stage.folder))


def count_shards(stage: Stage, items: int) -> dict[str, Any]:
    """How many shards there are, and which are missing."""
    shards = -(-items // SHARD_ITEMS)
    missing = [index for index in range(shards) if not shard_is_whole(stage.folder, index)]
    return {"shards": shards, "missing": missing, "items": items, "shard_items": SHARD_ITEMS}


def shard(stage: Stage, index: int) -> None:
    """Draw one slice of the plan and write it."""
    start = index * SHARD_ITEMS
    plan = read_plan(stage.folder, start, start + SHARD_ITEMS)
    writer = ShardWriter(stage.folder, index)
    progress = stage.run.progress(len(plan), "images")
    for batch in checked(sample(stage, plan), plan, stage.spec.component):
        add_batch(writer, batch)
        progress.advance(len(batch))
    writer.close()


def sample(stage: Stage, plan: SamplePlan) -> Iterator[ImageBatch]:
    """The component's images for a plan."""
    batches: Iterator[ImageBatch]
    if stage.spec.kind == "generate":
        batches = stage.component.sample(plan, stage.model(), stage.run)
    else:
        batches = stage.component.sample(plan, stage.run)
    return batches


def finish(stage: Stage) -> dict[str, Any]:
    """Join the shards and draw a sheet of examples."""
    shards = -(-plan_length(stage.folder) // SHARD_ITEMS)
    items = write_items(stage.folder, shards)
    return describe_faces(stage, items, {"view": "raw", "size_px": _size(stage)})


def describe_faces(stage: Stage, items: pa.Table, crop: dict[str, Any]) -> dict[str, Any]:
    """What the manifest says of a face set, after its items are written."""
    kept = int(np.count_nonzero(items["kept"].to_numpy(zero_copy_only=False)))
    failed = items["status"].to_pylist().count("failed")
    _write_sheet(stage)
    return {
        "content": content_digest(items),
        "counts": {"images": kept, "rejected": failed, "planned": len(items)},
        "details": {"crop": crop},
    }


def add_batch(writer: ShardWriter, batch: ImageBatch) -> None:
    """Write a batch of images with what is known of them."""
    for row in range(len(batch)):
        writer.add(
            int(batch.identities[row]),
            int(batch.samples[row]),
            batch.images[row],
            landmarks=None if batch.landmarks is None else batch.landmarks[row],
            attributes={name: float(column[row]) for name, column in batch.attributes.items()},
        )


def checked(batches: Iterator[ImageBatch], plan: SamplePlan, component: str) -> Iterator[ImageBatch]:
    """Pass batches on, as long as they are the planned images in order, uint8 RGB.

    Raises:
        StageError: they are not; the message names the component and what was expected.
    """
    at = 0
    for batch in batches:
        shape = batch.images.shape
        if batch.images.dtype != np.uint8 or len(shape) != 4 or shape[3] != 3 or shape[0] != len(batch):
            got = f"{batch.images.dtype} {list(shape)}"
            raise StageError(f"{component} gave images {got}, expected uint8 [{len(batch)}, H, W, 3]")
        part = slice(at, at + len(batch))
        same = np.array_equal(batch.identities, plan.identities[part]) and np.array_equal(
            batch.samples, plan.samples[part]
        )
        if not same:
            raise StageError(f"{component} gave other images than planned, from row {at} of the shard on")
        at += len(batch)
        yield batch
    if at != len(plan):
        raise StageError(f"{component} gave {at} images of the {len(plan)} planned; sample() must yield every row")


def _request(stage: Stage) -> Request:
    contexts = stage.parent("contexts")
    table = None if contexts is None else read_plan(contexts.folder).pool["context"]
    law = "none" if contexts is None else contexts.manifest.component
    return Request(stage.spec.options["identities"], stage.spec.options["per_identity"], table, law)


def _check_plan(plan: SamplePlan) -> None:
    pairs = np.stack([plan.identities, plan.samples], axis=1)
    if len(np.unique(pairs, axis=0)) != len(plan):
        raise StageError("the plan names an (identity, sample) twice; each image may be planned once")


def _size(stage: Stage) -> int:
    faces = FaceSet(stage.folder, crop=_NO_CROP)
    return int(faces.images([0]).shape[1]) if len(faces) else 0


def _write_sheet(stage: Stage, identities: int = 8, samples: int = 10) -> None:
    """figures/samples.png: rows are identities, columns are samples."""
    faces = FaceSet(stage.folder, crop=_NO_CROP)
    rows = [np.flatnonzero(faces.identities == identity)[:samples] for identity in np.unique(faces.identities)]
    rows = [row for row in rows if len(row) == min(samples, max(map(len, rows)))][:identities]
    if not rows:
        return
    images = faces.images(np.concatenate(rows))
    folder = stage.folder / "figures"
    folder.mkdir(exist_ok=True)
    scale = max(1, 64 // images.shape[1])
    (folder / "samples.png").write_bytes(contact_sheet(images, len(rows[0]), scale))
