"""Faces to test with: people of the face world, stored as a run stores them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from harness.components import Crop, ImageBatch, Run, SamplePlan

if TYPE_CHECKING:
    from harness.faces.faceset import FaceSet


def faces(
    folder: Path, identities: int = 4, per_identity: int = 4, size_px: int = 32, view: str = "arcface"
) -> FaceSet:
    """Drawn faces, as a run gives them to trainers, evaluators and fits.

    Args:
        folder: an empty one, where they are stored.
        identities: how many people.
        per_identity: images of each.
        size_px: side of the square images in pixels, a multiple of 8.
        view: the crop, or ``raw`` for whole pictures, which fits and laws of contexts get.
    """
    from harness.builtin.faceworld import FaceWorldSettings, FaceWorldSource

    settings = FaceWorldSettings(
        range="train", identities=identities, per_identity=per_identity, size_px=size_px, mode="mild"
    )
    source, run = FaceWorldSource(settings), Run(0)
    return stored(folder, source.sample(source.plan(run), run), Crop(view, size_px))


def pictures(count: int = 4, size_px: int = 64) -> ImageBatch:
    """One raw picture of each of ``count`` people with exact landmarks, for aligners and predictors."""
    from harness.builtin.faceworld import FaceWorldSettings, FaceWorldSource

    people = max(2, count)
    settings = FaceWorldSettings(range="train", identities=people, per_identity=1, size_px=size_px, mode="mild")
    source = FaceWorldSource(settings)
    plan: SamplePlan = source.plan(Run(0)).rows(0, count)
    (batch,) = source.sample(plan, Run(0))
    return batch


def stored(folder: Path, batches: Iterable[ImageBatch], crop: Crop) -> FaceSet:
    """Pictures as a face set; warped by their landmarks, unless the crop is ``raw``."""
    from harness.components.base import RAW
    from harness.faces.faceset import FaceSet, ShardWriter, write_items
    from harness.faces.landmarks import align_by_landmarks, as_crops
    from harness.stages.align import add_aligned
    from harness.stages.images import add_batch

    folder.mkdir(parents=True, exist_ok=True)
    writer = ShardWriter(folder, 0)
    for batch in batches:
        if crop.view == RAW:
            add_batch(writer, batch)
            continue
        known = batch if batch.landmarks is not None else as_crops(batch)
        add_aligned(writer, known, align_by_landmarks(known, crop), crop)
    writer.close()
    write_items(folder, 1)
    return FaceSet(folder, crop)
