"""Images by plan: every image is listed first, then the plan is drawn shard by shard."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from harness.arrays import Images
from harness.coding import alike, contact_sheet
from harness.components.base import Crop
from harness.components.images import ImageBatch, SamplePlan
from harness.errors import StageError
from harness.faces.faceset import FaceSet, ShardWriter, content_digest, shard_is_whole, write_items
from harness.graph import Stage
from harness.stages.plans import plan_is_whole, plan_length, read_plan, write_plan
from harness.stages.work import Work

# Items per shard: small enough that a kill costs seconds on a CPU, large enough that files stay few.
SHARD_ITEMS = 256
PROBED = 2  # images that are drawn twice
PROBE_LEVELS = 2  # gray levels by which they may differ: sums on a GPU are not always rounded alike
_NO_CROP = Crop("raw", 0)  # while the size is not known yet


Draw = Callable[[SamplePlan], Iterator[ImageBatch]]


def prepare_plan(work: Work[Stage], make: Callable[[], SamplePlan]) -> dict[str, Any]:
    """Write the sample plan, unless it is there, and count the shards that are still missing."""
    if not plan_is_whole(work.folder):
        shutil.rmtree(work.folder / "shards", ignore_errors=True)  # of a plan that is gone
        plan = make()
        _check_plan(plan)
        write_plan(work.folder, plan)
    return count_shards(work, plan_length(work.folder))


def count_shards(work: Work[Stage], items: int) -> dict[str, Any]:
    """How many shards there are, and which are missing."""
    shards = -(-items // SHARD_ITEMS)
    missing = [index for index in range(shards) if not shard_is_whole(work.folder, index)]
    return {"shards": shards, "missing": missing, "items": items, "shard_items": SHARD_ITEMS}


def draw_shard(work: Work[Stage], index: int, draw: Draw, add: Callable[[ShardWriter, ImageBatch], None]) -> None:
    """Draw one slice of the plan and write it.

    Args:
        draw: the component's images for a plan.
        add: writes a batch of them.
    """
    start = index * SHARD_ITEMS
    plan = read_plan(work.folder, start, start + SHARD_ITEMS)
    writer = ShardWriter(work.folder, index)
    progress = work.run.progress(len(plan), "images")
    for batch in planned(work, draw, plan):
        add(writer, batch)
        progress.advance(len(batch))
    writer.close()


def planned(work: Work[Stage], draw: Draw, plan: SamplePlan) -> Iterator[ImageBatch]:
    """The component's images for a plan, checked against it; the component cannot change the plan unseen."""
    identities, samples = plan.identities.copy(), plan.samples.copy()
    work.unchanged.watch("plan", plan)
    try:
        yield from checked(draw(plan), SamplePlan(identities, samples), work.stage.component)
    except StageError:
        work.unchanged.check()  # that would be the cause
        raise


def probe(work: Work[Stage], draw: Draw) -> None:
    """Draw the first images twice: a generator that does not draw from the run's seed gives others.

    Raises:
        StageError: it does.
    """
    first, second = (
        [image for batch in planned(work, draw, read_plan(work.folder, 0, PROBED)) for image in batch.images]
        for _ in range(2)
    )
    if not all(_alike(a, b) for a, b in zip(first, second, strict=True)):
        who = work.stage.component
        raise StageError(
            f"{who} drew the same images twice and they differ; take noise from run.noise or run.generator"
        )


def _alike(a: Images, b: Images) -> bool:
    return a.shape == b.shape and int(np.abs(a.astype(np.int16) - b).max(initial=0)) <= PROBE_LEVELS


def join_shards(work: Work[Stage]) -> pa.Table:
    """The items of all shards of a plan."""
    return write_items(work.folder, -(-plan_length(work.folder) // SHARD_ITEMS))


def finish_raw(work: Work[Stage]) -> dict[str, Any]:
    """Join the shards of raw pictures and draw a sheet of examples."""
    items = join_shards(work)
    return describe_faces(work, items, {"view": "raw", "size_px": _size(work)})


def describe_faces(work: Work[Stage], items: pa.Table, crop: dict[str, Any]) -> dict[str, Any]:
    """What the manifest says of a face set, after its items are written."""
    kept = int(np.count_nonzero(items["kept"].to_numpy(zero_copy_only=False)))
    failed = items["status"].to_pylist().count("failed")
    _write_sheet(work)
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
            name=batch.names[row] if batch.names else "",
            encoded=batch.encoded[row] if batch.encoded else b"",
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


def _check_plan(plan: SamplePlan) -> None:
    pairs = np.stack([plan.identities, plan.samples], axis=1)
    if len(np.unique(pairs, axis=0)) != len(plan):
        raise StageError("the plan names an (identity, sample) twice; each image may be planned once")


def _size(work: Work[Stage]) -> int:
    faces = FaceSet(work.folder, crop=_NO_CROP)
    return int(faces.images([0]).shape[1]) if len(faces) else 0


def _write_sheet(work: Work[Stage], identities: int = 8, samples: int = 10) -> None:
    """figures/samples.png: rows are identities, columns are samples."""
    faces = FaceSet(work.folder, crop=_NO_CROP)
    rows = [np.flatnonzero(faces.identities == identity)[:samples] for identity in np.unique(faces.identities)]
    rows = [row for row in rows if len(row) == min(samples, max(map(len, rows)))][:identities]
    if not rows:
        return
    images = alike([image for batch in faces.batches(1, np.concatenate(rows)) for image in batch.images])
    folder = work.folder / "figures"
    folder.mkdir(exist_ok=True)
    scale = max(1, 64 // images.shape[1])
    (folder / "samples.png").write_bytes(contact_sheet(images, len(rows[0]), scale))
