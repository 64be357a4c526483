"""Which faces a part of a dataset takes, and that a mixture holds exactly those."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.components.base import Crop
from harness.errors import StageError
from harness.faces.faceset import FaceSet, ShardWriter, write_items
from harness.stages.mix import chosen

COUNTS = {3: 4, 5: 1, 8: 3, 9: 4}  # images by identity


@pytest.fixture
def faces(tmp_path: Path) -> FaceSet:
    writer = ShardWriter(tmp_path, 0)
    for sample in range(4):  # not sorted by identity
        for identity, count in COUNTS.items():
            if sample < count:
                writer.add(identity, sample, np.full((4, 4, 3), 10 * identity + sample, np.uint8))
    writer.close()
    write_items(tmp_path, 1)
    return FaceSet(tmp_path, Crop("arcface", 4))


def taken(faces: FaceSet, identities: int | None, per_identity: int | None) -> set[tuple[int, int]]:
    where = chosen(faces, identities, per_identity, "part")
    return set(zip(faces.identities[where].tolist(), faces.samples[where].tolist(), strict=True))


def test_the_first_images_of_the_first_identities_that_have_enough(faces: FaceSet) -> None:
    assert taken(faces, 2, 2) == {(3, 0), (3, 1), (8, 0), (8, 1)}
    assert taken(faces, 2, None) == {(3, 0), (3, 1), (3, 2), (3, 3), (5, 0)}
    assert len(taken(faces, None, None)) == sum(COUNTS.values())


def test_smaller_parts_lie_within_larger_ones(faces: FaceSet) -> None:
    assert taken(faces, 2, 3) <= taken(faces, 3, 3)
    assert taken(faces, 2, 2) <= taken(faces, 2, 3)


def test_too_few_are_told_with_their_number(faces: FaceSet) -> None:
    with pytest.raises(StageError, match=r"part 'part' has 2 of 4 identities with 4 aligned images, 3 are needed"):
        chosen(faces, 3, 4, "part")
