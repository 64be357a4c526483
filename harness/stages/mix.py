"""Mixtures: faces of several aligned datasets, or of a part of one, as one dataset; no image is copied.

The shards are those of the parts, linked; only the table of items is new. The identities get numbers of their own, one
part after the other, so that two parts never share a class.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from harness import disk
from harness.arrays import Ints
from harness.errors import StageError
from harness.faces.faceset import FaceSet, content_digest
from harness.graph import MixStage
from harness.stages.opening import open_faces
from harness.stages.work import Work


def finish(work: Work[MixStage]) -> dict[str, Any]:
    """Link the shards of the parts and write the items that are taken of each.

    Raises:
        StageError: a part has fewer identities or images than asked for, or the parts are of different crops.
    """
    stage = work.stage
    tables: list[pa.Table] = []
    parts: list[dict[str, int]] = []
    crops = []
    people = shards = 0
    for role, name, size in zip(stage.parents, stage.names, stage.sizes, strict=True):
        artifact = work.artifact(role)
        assert artifact is not None
        faces = open_faces(artifact)
        crops.append(faces.crop)
        if faces.crop != crops[0]:
            raise StageError(f"part {name!r} holds {faces.crop} crops, expected {crops[0]} as in {stage.names[0]!r}")
        which = chosen(faces, size[0], size[1], name)
        items = faces.items.take(pa.array(faces.rows[which]))
        labels = np.unique(faces.identities[which], return_inverse=True)[1]
        used, places = np.unique(items["shard"].to_numpy(), return_inverse=True)
        for place, shard in enumerate(used, start=shards):
            disk.link(faces.folder / "shards" / f"{shard:05d}.parquet", work.folder / "shards" / f"{place:05d}.parquet")
        items = _with(items, identity=people + labels, shard=(shards + places).astype(np.int32))
        tables.append(items)
        count = int(labels.max()) + 1
        parts.append({"identities": count, "images": len(items)})
        people, shards = people + count, shards + len(used)
    union = pa.concat_tables(tables, promote_options="default")
    pq.write_table(union, work.folder / "items.parquet")
    images = np.unique(np.bincount(union["identity"].to_numpy()))
    counts = {"identities": people, "per_identity": int(images[0]) if len(images) == 1 else 0, "images": len(union)}
    crop = {"view": crops[0].view, "size_px": crops[0].size_px}
    return {"content": content_digest(union), "counts": counts, "details": {"crop": crop, "parts": parts}}


def chosen(faces: FaceSet, identities: int | None, per_identity: int | None, name: str) -> Ints:
    """Positions of the first images of the first identities that have so many, int64 [N]; None: all.

    What a smaller number chooses is among what a larger one chooses.

    Raises:
        StageError: there are too few.
    """
    labels = faces.labels
    counts = np.bincount(labels)
    fit = np.flatnonzero(counts >= (per_identity or 1))
    if not len(fit) or len(fit) < (identities or 1):
        text = f"{len(fit)} of {len(counts)} identities with {per_identity or 1} aligned images"
        raise StageError(f"part {name!r} has {text}, {identities or 1} are needed; ask for fewer")
    order = np.lexsort((faces.samples, labels))
    rank = np.arange(len(order)) - (np.cumsum(counts) - counts)[labels[order]]
    taken = np.isin(labels[order], fit[:identities]) & (rank < (per_identity or counts.max()))
    positions: Ints = np.sort(order[taken])
    return positions


def _with(items: pa.Table, **columns: Any) -> pa.Table:
    for name, values in columns.items():
        place = items.column_names.index(name)
        items = items.set_column(place, items.schema.field(place), pa.array(values, items.schema.field(place).type))
    return items
