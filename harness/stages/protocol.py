"""Protocols: evaluation faces, warped to a crop by their known landmarks, and their pairs."""

from __future__ import annotations

import hashlib
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from harness.components.images import ImageBatch
from harness.components.pairs import PairSet, TemplateSet
from harness.errors import StageError
from harness.faces.crops import ARCFACE
from harness.faces.faceset import FaceSet, ShardWriter
from harness.faces.landmarks import align_by_landmarks
from harness.graph import ProtocolStage
from harness.stages.align import add_aligned
from harness.stages.images import describe_faces, draw_shard, join_shards, prepare_plan
from harness.stages.opening import PAIRS, TEMPLATES, open_faces
from harness.stages.work import Work
from harness.store.keys import digest


def prepare(work: Work[ProtocolStage]) -> dict[str, Any]:
    """Plan the protocol's own faces; with a source of the suite there is nothing to draw."""
    if work.stage.source is not None:
        return {"shards": 0}
    return prepare_plan(work, lambda: work.component.plan(work.run))


def shard(work: Work[ProtocolStage], index: int) -> None:
    """Draw one slice and warp it by its landmarks: protocol images never go through detection."""
    crop = work.stage.crop

    def add(writer: ShardWriter, batch: ImageBatch) -> None:
        add_aligned(writer, batch, align_by_landmarks(batch, crop), crop)

    draw_shard(work, index, lambda plan: work.component.sample(plan, work.run), add)


def finish(work: Work[ProtocolStage]) -> dict[str, Any]:
    """Make the pairs over the faces."""
    faces, made = _source_faces(work) if work.stage.source is not None else _own_faces(work)
    pairs: PairSet | TemplateSet = work.component.pairs(faces, work.run)
    definition = work.component.definition()
    named = definition or {"faces": made["content"]}
    listed = _write_pairs(work, pairs, drawn=definition is not None)
    made["content"] = digest([made["content"], listed])
    made["counts"]["pairs"] = len(pairs.a)
    made["details"]["digest"] = digest([named, _crop_name(work.stage), listed])
    return made


def _crop_name(stage: ProtocolStage) -> dict[str, Any]:
    """What a protocol's digest says of its crop: results have it without the view where that is ``arcface``."""
    return {"crop_px": stage.crop_px} | ({} if stage.view == ARCFACE else {"view": stage.view})


def _source_faces(work: Work[ProtocolStage]) -> tuple[FaceSet, dict[str, Any]]:
    artifact = work.artifact("source")
    assert artifact is not None
    faces = open_faces(artifact)
    return faces, {"content": artifact.manifest.content, "counts": {"images": len(faces)}, "details": {}}


def _own_faces(work: Work[ProtocolStage]) -> tuple[FaceSet, dict[str, Any]]:
    crop = {"view": work.stage.view, "size_px": work.stage.crop_px}
    made = describe_faces(work, join_shards(work), crop)
    if made["counts"]["rejected"]:
        raise StageError(f"{made['counts']['rejected']} protocol faces have no landmarks; a protocol may lose none")
    return FaceSet(work.folder, work.stage.crop), made


def _write_pairs(work: Work[ProtocolStage], pairs: PairSet | TemplateSet, drawn: bool) -> str:
    """Write the pairs, and the templates where they are pairs of such; the digest of both.

    The scores of drawn faces are rounded differently by different machines, as their pixels are, so they have no part
    in it.
    """
    columns = {"a": pairs.a, "b": pairs.b, "same": pairs.same}
    if isinstance(pairs, PairSet):
        columns["fold"] = pairs.fold
        pq.write_table(pa.table(columns), work.folder / PAIRS)
        return digest({name: column.tolist() for name, column in columns.items()})
    pq.write_table(pa.table(columns), work.folder / PAIRS)
    items = {"template": pairs.template, "media": pairs.media, "score": pairs.score}
    pq.write_table(pa.table(items), work.folder / TEMPLATES)
    if drawn:
        del items["score"]
    return digest({name: _array_digest(column) for name, column in {**columns, **items}.items()})


def _array_digest(column: NDArray[Any]) -> str:
    """Digest of numbers, equal for every integer type that holds them; millions of pairs are too many for JSON."""
    kind = "<f4" if column.dtype.kind == "f" else "<i8"
    return hashlib.sha256(column.astype(kind).tobytes()).hexdigest()
