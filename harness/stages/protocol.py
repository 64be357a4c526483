"""Protocols: evaluation faces, warped to the suite's crop by their known landmarks, and their pairs."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from harness.builtin.landmarks import LandmarksAligner
from harness.components.base import Crop
from harness.components.data import PairSet, TemplateSet
from harness.errors import StageError
from harness.faces.faceset import FaceSet, ShardWriter, write_items
from harness.stages import images
from harness.stages.align import add_aligned
from harness.stages.context import Stage, open_faces, plan_length, read_plan
from harness.store.artifacts import Artifact, Store
from harness.store.keys import digest

PAIRS, TEMPLATES = "pairs.parquet", "templates.parquet"


def prepare(stage: Stage) -> dict[str, Any]:
    """Plan the protocol's own faces; with a source of the suite there is nothing to draw."""
    return {"shards": 0} if "source" in stage.spec.parents else images.prepare(stage)


def shard(stage: Stage, index: int) -> None:
    """Draw one slice and warp it by its landmarks: protocol images never go through detection."""
    start = index * images.SHARD_ITEMS
    plan = read_plan(stage.folder, start, start + images.SHARD_ITEMS)
    crop = Crop("arcface", stage.spec.options["crop_px"])
    aligner, writer = LandmarksAligner(), ShardWriter(stage.folder, index)
    progress = stage.run.progress(len(plan), "images")
    for batch in images.checked(images.sample(stage, plan), plan, stage.spec.component):
        add_aligned(writer, batch, aligner.align(batch, crop, stage.run), crop)
        progress.advance(len(batch))
    writer.close()


def finish(stage: Stage) -> dict[str, Any]:
    """Make the pairs over the faces."""
    parent = stage.faces("source")
    if parent is None:
        items = write_items(stage.folder, -(-plan_length(stage.folder) // images.SHARD_ITEMS))
        crop = {"view": "arcface", "size_px": stage.spec.options["crop_px"]}
        made = images.describe_faces(stage, items, crop)
        faces = FaceSet(stage.folder, Crop(**crop))
        if made["counts"]["rejected"]:
            raise StageError(f"{made['counts']['rejected']} protocol faces have no landmarks; a protocol may lose none")
    else:
        faces = parent
        artifact = stage.parent("source")
        assert artifact is not None
        made = {"content": artifact.manifest.content, "counts": {"images": len(faces)}, "details": {}}
    pairs: PairSet | TemplateSet = stage.component.pairs(faces, stage.run)
    definition = stage.component.definition()
    named = definition or {"faces": made["content"]}
    listed = _write_pairs(stage, pairs, drawn=definition is not None)
    made["content"] = digest([made["content"], listed])
    made["counts"]["pairs"] = len(pairs.a)
    made["details"]["digest"] = digest([named, stage.spec.options, listed])
    return made


def _write_pairs(stage: Stage, pairs: PairSet | TemplateSet, drawn: bool) -> str:
    """Write the pairs, and the templates where they are pairs of such; the digest of both.

    The scores of drawn faces are rounded differently by different machines, as their pixels are, so they have no part
    in it.
    """
    columns = {"a": pairs.a, "b": pairs.b, "same": pairs.same}
    if isinstance(pairs, PairSet):
        columns["fold"] = pairs.fold
        pq.write_table(pa.table(columns), stage.folder / PAIRS)
        return digest({name: column.tolist() for name, column in columns.items()})
    pq.write_table(pa.table(columns), stage.folder / PAIRS)
    items = {"template": pairs.template, "media": pairs.media, "score": pairs.score}
    pq.write_table(pa.table(items), stage.folder / TEMPLATES)
    if drawn:
        del items["score"]
    return digest({name: _array_digest(column) for name, column in {**columns, **items}.items()})


def _array_digest(column: NDArray[Any]) -> str:
    """Digest of numbers, equal for every integer type that holds them; millions of pairs are too many for JSON."""
    kind = "<f4" if column.dtype.kind == "f" else "<i8"
    return hashlib.sha256(column.astype(kind).tobytes()).hexdigest()


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    table = pq.read_table(path)
    return {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}


def open_protocol(artifact: Artifact, store: Store) -> tuple[FaceSet, PairSet | TemplateSet]:
    """A protocol's faces and pairs."""
    pairs: PairSet | TemplateSet
    if (artifact.folder / TEMPLATES).exists():
        columns = {**_arrays(artifact.folder / TEMPLATES), **_arrays(artifact.folder / PAIRS)}
        pairs = TemplateSet(**columns)
    else:
        pairs = PairSet(**_arrays(artifact.folder / PAIRS))
    if (artifact.folder / "items.parquet").exists():
        return open_faces(artifact), pairs
    kind, key = artifact.manifest.parents["source"].split("/")
    return open_faces(store.get(kind, key)), pairs
