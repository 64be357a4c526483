"""The keep-first rule, and what a failed row says of the spare that would have been enough."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.components import AlignedBatch, Crop, ImageBatch, Run
from harness.errors import StageError
from harness.faces.faceset import FaceSet, ShardWriter, write_items
from harness.graph import TrainStage
from harness.stages.align import add_aligned, count_choices, keep_first
from harness.stages.completeness import check_complete, enough_spare, found_per_identity
from harness.stages.work import Work
from harness.store.artifacts import Store

Item = tuple[int, int, bool]  # identity, sample, whether a face was found


def table(items: list[Item]) -> pa.Table:
    identities, samples, fine = zip(*items, strict=True)
    status = ["ok" if found else "failed" for found in fine]
    return pa.table({"identity": identities, "sample": samples, "status": status})


items = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, 9), st.booleans()), min_size=1, unique_by=lambda item: item[:2]
)


@settings(deadline=None)
@given(items, st.integers(1, 4), st.integers(1, 4))
def test_keep_first(rows: list[Item], identities: int, per_identity: int) -> None:
    kept = keep_first(table(rows), identities, per_identity)
    chosen: dict[int, list[int]] = {}
    for (identity, sample, fine), flag in zip(rows, kept, strict=True):
        assert fine or not flag
        if flag:
            chosen.setdefault(identity, []).append(sample)
    found = {i: sorted(s for j, s, fine in rows if j == i and fine) for i in {item[0] for item in rows}}
    complete = sorted(i for i, samples in found.items() if len(samples) >= per_identity)
    assert sorted(chosen) == complete[:identities]
    for identity, samples in chosen.items():
        assert sorted(samples) == found[identity][:per_identity]


@settings(deadline=None)
@given(items, st.randoms())
def test_the_order_of_the_table_does_not_matter(rows: list[Item], random: object) -> None:
    order = list(range(len(rows)))
    random.shuffle(order)  # type: ignore[attr-defined]
    kept, shuffled = keep_first(table(rows), 3, 2), keep_first(table([rows[i] for i in order]), 3, 2)
    assert [bool(kept[i]) for i in order] == shuffled.tolist()


def test_samples_are_ordered_by_number() -> None:
    rows = [(0, sample, True) for sample in (10, 2, 1)]
    assert keep_first(table(rows), 1, 2).tolist() == [False, True, True]


counts = st.lists(st.tuples(st.integers(1, 30), st.floats(0, 1, allow_subnormal=False)), min_size=1, max_size=12)


@settings(deadline=None)
@given(counts, st.integers(1, 12), st.integers(1, 20))
def test_the_spare_is_the_least_that_is_enough(made: list[tuple[int, float]], wanted: int, per_identity: int) -> None:
    planned = np.array([count for count, _ in made])
    found = np.array([round(count * rate) for count, rate in made])
    if np.count_nonzero(found >= per_identity) >= wanted:
        return  # nothing is lacking
    images, people = enough_spare(planned, found, wanted, per_identity)

    def complete(spare: int) -> int:
        return int(np.count_nonzero((per_identity + spare) * found >= per_identity * planned))

    if images is None:
        assert np.count_nonzero(found) < wanted
    else:
        assert complete(images) >= wanted
        assert complete(images - 1) < wanted
    rate = np.count_nonzero(found >= per_identity) / len(found)
    if people is None:
        assert rate == 0
    else:
        assert (wanted + people) * rate >= wanted - 1e-9
        assert (wanted + people - 1) * rate < wanted


def stage(identities: int, per_identity: int) -> TrainStage:
    return TrainStage(key="0" * 24, label="row seed 0: train", identities=identities, per_identity=per_identity)


def dataset(folder: Path, found: list[int], planned: int, identities: int, per_identity: int) -> FaceSet:
    """Faces of which the first ``found[i]`` of ``planned`` were detected for identity i."""
    writer = ShardWriter(folder, 0)
    for identity, count in enumerate(found):
        for sample in range(planned):
            fine = sample < count
            image = np.full((8, 8, 3), 100, np.uint8) if fine else None
            writer.add(identity, sample, image, reason=None if fine else "no face")
    writer.close()
    rows = [(i, s, s < count) for i, count in enumerate(found) for s in range(planned)]
    write_items(folder, 1, keep_first(table(rows), identities, per_identity))
    return FaceSet(folder, Crop("arcface", 8))


def complaint(tmp_path: Path, found: list[int]) -> str:
    """With 6 images planned of each identity, 4 identities x 4 images needed."""
    faces = dataset(tmp_path / "faces", found, 6, 4, 4)
    with pytest.raises(StageError) as caught:
        check_complete(stage(4, 4), faces)
    return str(caught.value)


def test_too_few_identities_are_refused_with_counts_and_spare(tmp_path: Path) -> None:
    message = complaint(tmp_path, [6, 4, 3, 4, 2])
    assert message == (
        "3 of 5 identities have 4 aligned images, 4 are needed (19 of 30 faces were found); if further images were "
        "found as often, dataset.spare.images 4 or dataset.spare.identities 3 would have been enough"
    )  # 3 of 6 images are found of the fourth best: 8 give 4; 3 of 5 identities are complete: 7 give 4


def test_where_only_one_way_is_left(tmp_path: Path) -> None:
    assert "dataset.spare.identities 6 would have been enough" in complaint(tmp_path, [6, 6, 0, 0, 0])


def test_where_nobody_is_complete(tmp_path: Path) -> None:
    message = complaint(tmp_path, [3, 3, 3, 2, 0])
    assert "0 of 5 identities have 4 aligned images" in message
    assert message.endswith("dataset.spare.images 8 would have been enough")


def test_where_no_face_is_found(tmp_path: Path) -> None:
    assert complaint(tmp_path, [0, 0, 0, 3, 3]).endswith("in too many identities no face was found at all")


def test_enough_is_enough(tmp_path: Path) -> None:
    faces = dataset(tmp_path / "faces", [6, 4, 3, 4, 5], 6, 4, 4)
    check_complete(stage(4, 4), faces)
    assert len(faces) == 16
    planned, found = found_per_identity(faces.items)
    assert planned.tolist() == [6] * 5
    assert found.tolist() == [6, 4, 3, 4, 5]


def test_a_stage_without_a_size_is_not_checked(tmp_path: Path) -> None:
    check_complete(TrainStage(label="recognizer cond"), dataset(tmp_path / "faces", [1], 2, 1, 2))


def aligned(count: int, **changes: object) -> AlignedBatch:
    whole = {
        "images": np.zeros((count, 16, 16, 3), np.uint8),
        "reasons": [None] * count,
        "landmarks": np.full((count, 5, 2), np.nan, np.float32),
        "boxes": np.zeros((count, 4), np.float32),
        "scores": np.full(count, np.nan, np.float32),
    }
    return AlignedBatch(**{**whole, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {"images": np.zeros((3, 16, 16, 3), np.float32)},
        {"images": np.zeros((3, 8, 8, 3), np.uint8)},
        {"images": np.zeros((2, 16, 16, 3), np.uint8)},
        {"reasons": [None, None]},
    ],
)
def test_an_aligner_that_gives_something_else(tmp_path: Path, changes: dict[str, object]) -> None:
    batch = ImageBatch(np.arange(3), np.zeros(3, np.int64), np.zeros((3, 20, 20, 3), np.uint8))
    with pytest.raises(StageError, match=r"expected uint8 \[3, 16, 16, 3\]"):
        add_aligned(ShardWriter(tmp_path, 0), batch, aligned(3, **changes), Crop("arcface", 16))


def test_failures_are_items_with_a_reason(tmp_path: Path) -> None:
    batch = ImageBatch(np.arange(3), np.zeros(3, np.int64), np.zeros((3, 20, 20, 3), np.uint8))
    writer = ShardWriter(tmp_path, 0)
    add_aligned(writer, batch, aligned(3, reasons=[None, "no face", None]), Crop("arcface", 16))
    writer.close()
    found = write_items(tmp_path, 1)
    assert found["status"].to_pylist() == ["ok", "failed", "ok"]
    assert found["reason"].to_pylist() == [None, "no face", None]
    assert found["score"].to_pylist() == [None] * 3
    assert len(FaceSet(tmp_path, Crop("arcface", 16))) == 2


def choices_of(folder: Path, **changes: object) -> dict[str, int]:
    """What is counted of pictures of 20 x 20 px."""
    count = len(changes["boxes"])  # type: ignore[arg-type]
    batch = ImageBatch(np.arange(count), np.zeros(count, np.int64), np.zeros((count, 20, 20, 3), np.uint8))
    writer = ShardWriter(folder, 0)
    add_aligned(writer, batch, aligned(count, **changes), Crop("arcface", 16))
    writer.close()
    return count_choices(write_items(folder, 1))


def test_pictures_of_several_people_are_counted_and_choices_off_the_middle(tmp_path: Path) -> None:
    unknown = [np.nan] * 4
    boxes = np.array([[2, 2, 15, 15], [0, 0, 8, 18], [11, 0, 19, 19], unknown, unknown], np.float32)
    more = {"faces": np.array([1, 3, 1, 2, 0]), "reasons": [None, None, None, "several faces found", "no face found"]}
    assert choices_of(tmp_path, boxes=boxes, **more) == {"several_faces": 2, "off_center": 2}
    items = FaceSet(tmp_path, Crop("arcface", 16)).items
    assert items["faces"].to_pylist() == [1, 3, 1, 2, 0]
    assert items["off_center"].to_pylist() == [False, True, True, None, None]
    assert not FaceSet(tmp_path, Crop("arcface", 16)).attributes


def test_an_aligner_that_does_not_count_is_not_counted(tmp_path: Path) -> None:
    assert choices_of(tmp_path, boxes=np.full((3, 4), np.nan, np.float32)) == {}


def test_the_run_of_a_stage_has_its_seed(tmp_path: Path) -> None:
    work = Work(TrainStage(seed=3), Store(tmp_path / "store"), "cpu", lambda kind, data: None, lambda: False)
    assert isinstance(work.run, Run)
    assert work.run.seed == 3
