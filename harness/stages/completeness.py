"""Whether a dataset is complete, and which spare would have made it so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from harness.arrays import Ints
from harness.errors import StageError
from harness.faces.faceset import OK, FaceSet
from harness.graph import EvaluateStage, TrainStage

if TYPE_CHECKING:
    import pyarrow as pa


def check_complete(stage: TrainStage | EvaluateStage, dataset: FaceSet) -> None:
    """Refuse a dataset with fewer complete identities than the suite asks for.

    Raises:
        StageError: with the counts, and the spare that would have been enough at the rates seen.
    """
    wanted = stage.identities
    per_identity = stage.per_identity
    if wanted is None or per_identity is None or len(np.unique(dataset.identities)) >= wanted:
        return
    planned, found = found_per_identity(dataset.items)
    complete = int(np.count_nonzero(found >= per_identity))
    raise StageError(
        f"{complete} of {len(planned)} identities have {per_identity} aligned images, {wanted} are needed "
        f"({found.sum()} of {planned.sum()} faces were found); {_advice(planned, found, wanted, per_identity)}"
    )


def found_per_identity(items: pa.Table) -> tuple[Ints, Ints]:
    """How many images of each identity were planned, and in how many a face was found."""
    labels = np.unique(items["identity"].to_numpy(), return_inverse=True)[1]
    fine = np.asarray(items["status"].to_pylist(), dtype=object) == OK
    return np.bincount(labels), np.bincount(labels, weights=fine).astype(np.int64)


def enough_spare(planned: Ints, found: Ints, identities: int, per_identity: int) -> tuple[int | None, int | None]:
    """The spare that would have been enough, if further images were found as often as those that were made.

    Args:
        planned, found: images of each identity, as in :func:`found_per_identity`.
        identities, per_identity: what is needed.

    Returns:
        the least ``spare.images`` with the identities that there are, then the least ``spare.identities`` with the
        images per identity that there are; None where no number would be enough.
    """
    complete = int(np.count_nonzero(found >= per_identity))
    more = -(-identities * len(found) // complete) - identities if complete else None
    seen = np.flatnonzero(found)
    if len(seen) < identities:
        return None, more
    needed = np.sort(-(-per_identity * planned[seen] // found[seen]))  # images of each identity, by its own rate
    return int(needed[identities - 1]) - per_identity, more


def _advice(planned: Ints, found: Ints, identities: int, per_identity: int) -> str:
    images, people = enough_spare(planned, found, identities, per_identity)
    ways = [f"dataset.spare.images {images}"] if images is not None else []
    ways += [f"dataset.spare.identities {people}"] if people is not None else []
    if not ways:
        return "no spare would have been enough: in too many identities no face was found at all"
    return f"if further images were found as often, {' or '.join(ways)} would have been enough"
