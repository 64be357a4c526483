"""Alignment: every raw face to a crop, or a reason why not; then the keep-first-N rule."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from harness.components.base import Crop
from harness.components.images import AlignedBatch, ImageBatch
from harness.errors import StageError
from harness.faces.choice import covers_middle
from harness.faces.faceset import ITEM_TABLES, OK, FaceSet, ShardWriter, write_items
from harness.graph import AlignStage
from harness.stages.images import SHARD_ITEMS, count_shards, describe_faces
from harness.stages.opening import open_faces
from harness.stages.work import Work

BATCH = 64


def prepare(work: Work[AlignStage]) -> dict[str, Any]:
    """Count the shards that are missing."""
    return count_shards(work, len(_parent(work)))


def shard(work: Work[AlignStage], index: int) -> None:
    """Align one slice of the parent's faces."""
    faces, crop = _parent(work), work.stage.crop
    writer = ShardWriter(work.folder, index)
    positions = np.arange(len(faces))[index * SHARD_ITEMS : (index + 1) * SHARD_ITEMS]
    progress = work.run.progress(len(positions), "images")
    for batch in faces.batches(BATCH, positions):
        add_aligned(writer, batch, work.component.align(batch, crop, work.run), crop)
        progress.advance(len(batch))
    writer.close()


def add_aligned(writer: ShardWriter, batch: ImageBatch, aligned: AlignedBatch, crop: Crop) -> None:
    """Write what an aligner made of a batch.

    Raises:
        StageError: it is not what was asked for.
    """
    expected = (len(batch), crop.size_px, crop.size_px, 3)
    if aligned.images.shape != expected or aligned.images.dtype != np.uint8 or len(aligned.reasons) != len(batch):
        got = f"{aligned.images.dtype} {list(aligned.images.shape)}"
        raise StageError(f"the aligner gave {got} with {len(aligned.reasons)} reasons, expected uint8 {list(expected)}")
    height, width = batch.images.shape[1:3]
    for row, reason in enumerate(aligned.reasons):
        box = _known(aligned.boxes[row])
        writer.add(
            int(batch.identities[row]),
            int(batch.samples[row]),
            aligned.images[row] if reason is None else None,
            reason=reason,
            landmarks=_known(aligned.landmarks[row]),
            box=box,
            score=float(aligned.scores[row]) if np.isfinite(aligned.scores[row]) else None,
            faces=None if aligned.faces is None else int(aligned.faces[row]),
            off_center=None if box is None else not covers_middle(box, width, height),
            attributes={name: float(column[row]) for name, column in batch.attributes.items()},
            name=batch.names[row] if batch.names else "",
        )


def finish(work: Work[AlignStage]) -> dict[str, Any]:
    """Mark what is kept and count what was lost."""
    shards = -(-len(_parent(work)) // SHARD_ITEMS)
    keep = None
    per_identity = work.stage.per_identity
    if work.stage.identities and per_identity:
        tables = [pq.read_table(work.folder / ITEM_TABLES / f"{i:05d}.parquet") for i in range(shards)]
        table = pa.concat_tables(tables, promote_options="default")
        keep = keep_first(table, work.stage.identities, per_identity)
    items = write_items(work.folder, shards, keep)
    made = describe_faces(work, items, {"view": work.stage.view, "size_px": work.stage.crop_px})
    made["counts"] |= _complete(items, per_identity) | count_choices(items)
    made["details"]["pose"] = _pose(items)
    return made


def keep_first(items: pa.Table, identities: int, per_identity: int) -> NDArray[np.bool_]:
    """The keep-first-N rule (methods: trap D4).

    Of every identity the first ``per_identity`` aligned samples in numeric order; identities with fewer are dropped;
    of the rest the first ``identities`` in numeric order. Nobody resamples.

    Returns:
        one flag per item.
    """
    identity, sample = items["identity"].to_numpy(), items["sample"].to_numpy()
    fine = np.asarray(items["status"].to_pylist(), dtype=object) == OK
    keep = np.zeros(len(items), dtype=bool)
    complete = 0
    for name in np.unique(identity):
        rows = np.flatnonzero((identity == name) & fine)
        if len(rows) < per_identity or complete == identities:
            continue
        keep[rows[np.argsort(sample[rows])][:per_identity]] = True
        complete += 1
    return keep


def _complete(items: pa.Table, per_identity: int | None) -> dict[str, int]:
    identity = items["identity"].to_numpy()
    fine = np.asarray(items["status"].to_pylist(), dtype=object) == OK
    found = np.array([np.count_nonzero(fine[identity == name]) for name in np.unique(identity)])
    return {
        "detected": int(np.count_nonzero(fine)),
        "complete_identities": int(np.count_nonzero(found >= (per_identity or 1))),
        "fewest_in_identity": int(found.min()),
    }


def count_choices(items: pa.Table) -> dict[str, int]:
    """In how many images a face had to be chosen, and how many of the faces taken are not in the middle."""
    if items["faces"].null_count == len(items):  # the aligner does not count
        return {}
    several, off_center = items["faces"].to_pylist(), items["off_center"].to_pylist()
    return {"several_faces": sum((count or 0) > 1 for count in several), "off_center": off_center.count(True)}


def _pose(items: pa.Table) -> dict[str, float]:
    """Mean absolute yaw in degrees of detected and of failed faces, where the pose is known."""
    if "yaw" not in items.column_names:
        return {}
    yaw = np.abs(items["yaw"].to_numpy(zero_copy_only=False))
    fine = np.asarray(items["status"].to_pylist(), dtype=object) == OK
    groups = {"yaw_detected": yaw[fine & np.isfinite(yaw)], "yaw_failed": yaw[~fine & np.isfinite(yaw)]}
    return {name: float(values.mean()) for name, values in groups.items() if len(values)}


def _parent(work: Work[AlignStage]) -> FaceSet:
    artifact = work.artifact("faces")
    assert artifact is not None
    faces = open_faces(artifact)
    if not len(faces):
        raise StageError("there is no image to align")
    return faces


def _known(values: NDArray[np.float32]) -> NDArray[np.float32] | None:
    return values if np.isfinite(values).all() else None
