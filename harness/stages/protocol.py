"""Protocols: evaluation faces, warped to a crop by their known landmarks, and their pairs.

Faces without landmarks are taken for crops, after a look at some of them; those of photographs are found by an aligner
before, in a stage of its own.
"""

from __future__ import annotations

import hashlib
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from harness.components.images import ImageBatch
from harness.components.pairs import PairSet, TemplateSet
from harness.components.protocol import FaceProtocol
from harness.errors import StageError
from harness.faces.crops import ARCFACE
from harness.faces.faceset import FaceSet, ShardWriter
from harness.faces.landmarks import align_by_landmarks, as_crops
from harness.graph import ProtocolStage
from harness.stages.align import add_aligned
from harness.stages.crops import look_at_crops
from harness.stages.images import describe_faces, draw_shard, join_shards, prepare_plan
from harness.stages.opening import LOST, PAIRS, TEMPLATES, open_faces
from harness.stages.work import Work
from harness.store.keys import digest


def prepare(work: Work[ProtocolStage]) -> dict[str, Any]:
    """Plan the protocol's own faces; with a source of the suite there is nothing to draw."""
    if work.stage.source is not None:
        return {"shards": 0}
    prepared = prepare_plan(work, lambda: work.component.plan(work.run))
    look_at_crops(work)
    return prepared


def shard(work: Work[ProtocolStage], index: int) -> None:
    """Draw one slice and warp it by its landmarks; nothing is detected."""
    crop, supersample = work.stage.crop, work.component.supersample

    def add(writer: ShardWriter, batch: ImageBatch) -> None:
        known = batch if batch.landmarks is not None else as_crops(batch)
        add_aligned(writer, known, align_by_landmarks(known, crop, supersample), crop)

    draw_shard(work, index, lambda plan: work.component.sample(plan, work.run), add)


def finish(work: Work[ProtocolStage]) -> dict[str, Any]:
    """Make the pairs over the faces."""
    faces, made = _source_faces(work) if work.stage.source is not None else _own_faces(work)
    listed: PairSet | TemplateSet = work.component.pairs(faces, work.run)
    aligned = isinstance(work.component, FaceProtocol) and work.stage.source is not None
    pairs = listed.of_found(faces) if aligned else listed
    _write_pairs(work, pairs)
    drawn = work.component.definition() is not None
    named = _alignment(work) if aligned else work.component.definition() or {"faces": made["content"]}
    made["content"] = digest([made["content"], _pairs_digest(pairs, drawn)])
    made["counts"]["pairs"] = len(pairs.a)
    if pairs.lost is not None:
        made["counts"]["lost_pairs"] = len(pairs.lost)
    made["details"]["digest"] = digest([named, _crop_name(work.stage), _pairs_digest(listed, drawn)])
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


def _alignment(work: Work[ProtocolStage]) -> dict[str, Any]:
    """What names a protocol whose faces an aligner finds: its pictures, and the aligner.

    The crops do not: by how a machine rounds, a landmark may lie a thousandth of a pixel elsewhere.
    """
    artifact = work.artifact("source")
    assert artifact is not None
    aligner = [artifact.manifest.component, artifact.manifest.settings]
    return {"pictures": work.component.definition() or work.component.identity(), "aligner": aligner}


def _columns(pairs: PairSet | TemplateSet) -> dict[str, NDArray[Any]]:
    columns: dict[str, NDArray[Any]] = {"a": pairs.a, "b": pairs.b, "same": pairs.same}
    if isinstance(pairs, TemplateSet):
        return columns
    return columns | {"fold": pairs.fold} | ({} if pairs.group is None else {"group": pairs.group})


def _templates(pairs: TemplateSet) -> dict[str, NDArray[Any]]:
    columns: dict[str, NDArray[Any]] = {"template": pairs.template, "media": pairs.media, "score": pairs.score}
    return columns | ({} if pairs.gallery is None else {"gallery": pairs.gallery})


def _write_pairs(work: Work[ProtocolStage], pairs: PairSet | TemplateSet) -> None:
    """Write the pairs, the templates where they are pairs of such, and those that are lost."""
    pq.write_table(pa.table(_columns(pairs)), work.folder / PAIRS)
    if isinstance(pairs, TemplateSet):
        pq.write_table(pa.table(_templates(pairs)), work.folder / TEMPLATES)
    if pairs.lost is not None:
        pq.write_table(pa.table(pairs.lost.columns()), work.folder / LOST)


def _pairs_digest(pairs: PairSet | TemplateSet, drawn: bool) -> str:
    """Digest of all that is listed.

    The scores of drawn faces are rounded differently by different machines, as their pixels are, so they have no part
    in it.
    """
    lost = {} if pairs.lost is None else {f"lost_{name}": column for name, column in pairs.lost.columns().items()}
    if isinstance(pairs, PairSet):
        return digest({name: column.tolist() for name, column in {**_columns(pairs), **lost}.items()})
    items = _templates(pairs)
    if drawn:
        del items["score"]
    return digest({name: _array_digest(column) for name, column in {**_columns(pairs), **items, **lost}.items()})


def _array_digest(column: NDArray[Any]) -> str:
    """Digest of numbers, equal for every integer type that holds them; millions of pairs are too many for JSON."""
    kind = "<f4" if column.dtype.kind == "f" else "<i8"
    return hashlib.sha256(column.astype(kind).tobytes()).hexdigest()
