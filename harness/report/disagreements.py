"""The pairs of a benchmark on which two rows disagree most, as pictures where the store has the faces.

Letters: S seeds, P pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from harness.arrays import Doubles, Images, Ints
from harness.errors import DataError, HarnessError
from harness.faces.faceset import FaceSet
from harness.reading.fields import table_path
from harness.reading.metrics import About
from harness.reading.paired import decisions, read_table, same_pairs
from harness.report.pictures import webp_uri
from harness.stages.opening import open_protocol
from harness.store.artifacts import MANIFEST, Artifact, Store

SHOWN = 6  # pairs of each side
_LARGEST_PX = 112  # of a face on the page


@dataclass(frozen=True)
class Pair:
    """Two faces on which the rows disagree.

    Attributes:
        same: whether they show one person.
        right_a, right_b: in how many of the seeds each row decided correctly.
        score_a, score_b: mean scores over the seeds.
        faces: data URIs of both; empty where the store has not the faces.
    """

    same: bool
    right_a: int
    right_b: int
    score_a: float
    score_b: float
    faces: tuple[str, ...]


@dataclass(frozen=True)
class Disagreement:
    """Pairs of one benchmark that A, and that B decided correctly in more seeds.

    ``of`` says how many there are; ``note`` why there are no pictures.
    """

    title: str
    seeds: int
    only_a: tuple[Pair, ...]
    only_b: tuple[Pair, ...]
    of: tuple[int, int]
    note: str = ""


def disagreements(
    workdir: Path, about: About, protocol: str, a: Sequence[Path], b: Sequence[Path]
) -> Disagreement | None:
    """The pairs that one row decides correctly in more seeds than the other, most of all.

    Scores of two models have no common scale, so of pairs with as many seeds between them those come first whose
    standardized scores lie farthest apart.

    Args:
        workdir: its store may hold the faces.
        about: a metric with decisions pair by pair.
        protocol: digest of what it was measured on.
        a, b: result folders of both rows in the order of the common seeds.

    Returns:
        None where there are no scores.
    """
    try:
        tables = [[read_table(table_path(folder, about)) for folder in folders] for folders in (a, b)]
    except DataError:
        return None
    first = tables[0][0]
    if not all("score" in table.column_names and same_pairs(table, first) for side in tables for table in side):
        return None
    right = [np.sum([decisions(table) for table in side], axis=0) for side in tables]
    scores = [[np.asarray(table["score"].to_numpy()) for table in side] for side in tables]
    means = [np.mean(side, axis=0) for side in scores]
    apart = np.mean([_standardized(s) for s in scores[0]], axis=0) - np.mean(
        [_standardized(s) for s in scores[1]], axis=0
    )
    faces, note = _faces(workdir, protocol, first)
    shown, of = [], []
    for lead in (right[0] - right[1], right[1] - right[0]):
        found = np.flatnonzero(lead > 0)
        chosen = found[np.lexsort((-np.abs(apart[found]), -lead[found]))][:SHOWN]
        pictures = _pictures(faces, first, chosen)
        made = zip(chosen.tolist(), pictures, strict=True)
        shown.append(tuple(_pair(first, k, right, means, uris) for k, uris in made))
        of.append(len(found))
    return Disagreement(about.title, len(a), shown[0], shown[1], (of[0], of[1]), note)


def _standardized(scores: Doubles) -> Doubles:
    return np.asarray((scores - scores.mean()) / max(float(scores.std()), 1e-12))


def _pair(first: pa.Table, k: int, right: Sequence[Ints], means: Sequence[Doubles], faces: tuple[str, ...]) -> Pair:
    same = bool(first["same"][k].as_py())
    return Pair(same, int(right[0][k]), int(right[1][k]), float(means[0][k]), float(means[1][k]), faces)


def _faces(workdir: Path, protocol: str, table: pa.Table) -> tuple[FaceSet | None, str]:
    """The faces of the protocol with that digest, or why there are none."""
    store = Store(workdir / "store")
    for artifact in _protocols(store):
        if artifact.manifest.details.get("digest") != protocol:
            continue
        try:
            faces, pairs, gives = open_protocol(artifact, store)
        except (HarnessError, OSError, KeyError) as error:
            return None, f"no pictures: {error}"
        if gives == "pairs" and np.array_equal(pairs.a, table["a"].to_numpy()):
            return faces, ""
    return None, "no pictures: the store has not the faces of this protocol"


def _protocols(store: Store) -> Iterator[Artifact]:
    for path in sorted((store.root / "protocol").glob(f"*/{MANIFEST}")):
        try:
            found = store.find("protocol", path.parent.name)
        except DataError:
            continue
        if found is not None:
            yield found


def _pictures(faces: FaceSet | None, table: pa.Table, chosen: Ints) -> list[tuple[str, ...]]:
    """Data URIs of both faces of every chosen pair."""
    if faces is None:
        return [() for _ in chosen]
    sides = [table[name].to_numpy()[chosen] for name in ("a", "b")]
    return [(_uri(faces, int(one)), _uri(faces, int(other))) for one, other in zip(*sides, strict=True)]


def _uri(faces: FaceSet, position: int) -> str:
    picture: Images = faces.images([position])[0]
    image = Image.fromarray(picture)
    image.thumbnail((_LARGEST_PX, _LARGEST_PX))
    return webp_uri(image)
