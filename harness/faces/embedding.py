"""Unit embeddings of a face set's faces by a recognizer, as the evaluators of datasets need them.

Letters: N faces, P pairs, D embedding width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from harness.arrays import Doubles, Floats, Ints
from harness.errors import StageError
from harness.stats.verification import flip_fused, squared_distances, unit

if TYPE_CHECKING:
    from harness.components.pairs import PairSet
    from harness.components.recognizer import Recognizer
    from harness.components.run import Run
    from harness.faces.faceset import FaceSet

_BATCH = 512


def unit_embeddings(recognizer: Recognizer, faces: FaceSet, run: Run, which: Ints | None = None) -> Floats:
    """Unit vectors of faces by position (default: all), without flip; float32 [N, D].

    Raises:
        StageError: some embeddings are not finite, or zero.
    """
    count = len(faces) if which is None else len(which)
    out, done, progress = np.empty((count, recognizer.width), np.float32), 0, run.progress(count, "images")
    for batch in faces.batches(_BATCH, which):
        out[done : done + len(batch)] = unit(recognizer.embed(batch.images))
        done += len(batch)
        progress.advance(len(batch))
    bad = int((~np.isfinite(out).all(axis=1) | ~out.any(axis=1)).sum())
    if bad:
        raise StageError(f"{bad} of {count} embeddings by the judge are zero or not finite; check its weights")
    return out


def pair_distances(
    name: str,
    recognizer: Recognizer,
    faces: FaceSet,
    pairs: PairSet,
    flip: bool = True,
    advance: Callable[[int], object] = lambda count: None,
) -> Doubles:
    """Squared distances of the unit embeddings of pairs, float64 [P] in [0, 4]; only faces in a pair are embedded.

    Args:
        name: of the protocol, for errors.
        flip: embed the sum of plain and mirrored raw embeddings, the field's flip test.
        advance: told how many faces are done.

    Raises:
        StageError: some embeddings are not finite.
    """
    used, places = np.unique(np.concatenate([pairs.a, pairs.b]), return_inverse=True)
    parts = [np.zeros((0, recognizer.width))]
    for batch in faces.batches(_BATCH, used):
        plain = recognizer.embed(batch.images)
        parts.append(flip_fused(plain, recognizer.embed(batch.images[:, :, ::-1])) if flip else unit(plain))
        advance(len(batch))
    embeddings = np.concatenate(parts)
    bad = int((~np.isfinite(embeddings).all(axis=1)).sum())
    if bad:
        raise StageError(f"{name}: {bad} of {len(embeddings)} embeddings are not finite")
    return squared_distances(embeddings[places[: len(pairs.a)]], embeddings[places[len(pairs.a) :]])


def embedding_name(recognizer: Recognizer) -> str:
    """What to call a recognizer's embedding in a result: its architecture, its width and its content."""
    return f"{type(recognizer).__name__} ({recognizer.width}-d, {recognizer.digest[:12] or 'no digest'})"
