"""The components that read files: contract, identity, pairs, and crops that stay as they are."""

from __future__ import annotations

import io
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from harness.builtin.files import (
    BinProtocol,
    BinSettings,
    FolderPairs,
    FolderPairsSettings,
    ParquetPairs,
    ParquetPairsSettings,
)
from harness.builtin.landmarks import LandmarksAligner
from harness.builtin.packed import LmdbSettings, LmdbSource, RecordIOSettings, RecordIOSource
from harness.components import Crop, FaceProtocol, PairSet, Run
from harness.data.bins import write_bin
from harness.data.pictures import decode
from harness.data.recordio import RecordWriter
from harness.errors import DataError, InputError
from harness.faces.faceset import FaceSet, ShardWriter, write_items
from harness.faces.landmarks import as_crops
from harness.graph import ProtocolStage
from harness.stages import protocol as protocol_stage
from harness.stages.images import SHARD_ITEMS
from harness.stages.work import Work
from harness.store.artifacts import Store
from harness.testing import check_light_import, check_own_code, check_source

SAME = [True, False, True, True, False, False, True, False, True, False, True, False]


@pytest.fixture
def bin_path(tmp_path: Path, faces: list[bytes]) -> Path:
    write_bin(tmp_path / "faces.bin", faces, SAME)
    return tmp_path / "faces.bin"


@pytest.fixture
def rec_path(tmp_path: Path, faces: list[bytes]) -> Path:
    with RecordWriter(tmp_path / "train.rec") as writer:
        for number, face in enumerate(faces[:9]):
            writer.add([3, 3, 3, 3, 7, 20, 20, 20, 20][number], face)
    return tmp_path / "train.rec"


def face_set(protocol: FaceProtocol, folder: Path) -> FaceSet:
    """The protocol's faces as the protocol stage stores them, each crop equal to its image."""
    run, aligner, crop = Run(0), LandmarksAligner(), Crop("arcface", 16)
    writer = ShardWriter(folder, 0)
    for batch in protocol.sample(protocol.plan(run), run):
        made = aligner.align(as_crops(batch), crop, run)
        assert made.reasons == [None] * len(batch)
        assert np.array_equal(made.images, batch.images), "an aligned crop is not warped again"
        for row in range(len(batch)):
            writer.add(int(batch.identities[row]), int(batch.samples[row]), made.images[row])
    writer.close()
    write_items(folder, 1)
    return FaceSet(folder, crop)


def test_bin(bin_path: Path, faces: list[bytes]) -> None:
    protocol = BinProtocol(BinSettings(path=bin_path))
    check_source(protocol)
    check_own_code(protocol)
    found = face_set(protocol, bin_path.parent / "set")
    pairs: PairSet = protocol.pairs(found, Run(0))
    assert pairs.same.tolist() == SAME
    assert pairs.fold.tolist() == [0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert np.array_equal(found.images([pairs.a[3], pairs.b[3]])[1], decode(faces[7], ""))
    assert ((found.identities[pairs.a] == found.identities[pairs.b]) == pairs.same).all()
    assert len(np.unique(found.identities)) == 24 - sum(SAME)


def test_a_bin_in_the_protocol_stage(tmp_path: Path, faces: list[bytes]) -> None:
    """More images than one shard holds, through plan, shards and pairs as a run does it."""
    count = 2 * (SHARD_ITEMS // 2 + 5)
    images, same = [faces[n % 24] for n in range(count)], [n % 3 > 0 for n in range(count // 2)]
    write_bin(tmp_path / "faces.bin", images, same)
    settings, target = {"path": str(tmp_path / "faces.bin"), "folds": 10}, "harness.builtin.files:BinProtocol"
    stage = ProtocolStage(key="k", label="protocol", component="bin", target=target, settings=settings, crop_px=16)

    def work() -> Work[ProtocolStage]:
        return Work(stage, Store(tmp_path / "store"), "cpu", lambda kind, data: None, lambda: False)

    assert protocol_stage.prepare(work())["missing"] == [0, 1]
    for shard in (1, 0):
        protocol_stage.shard(work(), shard)
    made = protocol_stage.finish(work())
    assert made["counts"] == {"images": count, "rejected": 0, "planned": count, "pairs": count // 2}
    stored = FaceSet(work().folder, Crop("arcface", 16))
    assert all(np.array_equal(a, decode(b, "")) for a, b in zip(stored.images(), images, strict=True))


def test_a_bin_is_what_it_holds(bin_path: Path, faces: list[bytes]) -> None:
    before = BinProtocol(BinSettings(path=bin_path)).identity()
    other = bin_path.with_name("other.bin")
    other.write_bytes(pickle.dumps((faces, SAME), 2))
    assert BinProtocol(BinSettings(path=other)).identity() == before
    assert BinProtocol(BinSettings(path=other, folds=5)).identity() != before
    write_bin(other, faces[::-1], SAME)
    assert BinProtocol(BinSettings(path=other)).identity() != before


def parquet_pairs(path: Path, faces: list[bytes], labels: list[object]) -> Path:
    sides = {f"image{side + 1}": [{"bytes": data, "path": None} for data in faces[side::2]] for side in (0, 1)}
    pq.write_table(pa.table({**sides, "label": labels}), path, row_group_size=5)
    return path


@pytest.mark.parametrize("labels", [SAME, [int(same) for same in SAME]])
def test_parquet_pairs(labels: list[object], tmp_path: Path, bin_path: Path, faces: list[bytes]) -> None:
    protocol = ParquetPairs(ParquetPairsSettings(path=parquet_pairs(tmp_path / "x.parquet", faces, labels), folds=2))
    check_source(protocol)
    check_own_code(protocol)
    found = face_set(protocol, tmp_path / "set")
    pairs = protocol.pairs(found, Run(0))
    assert pairs.same.tolist() == SAME
    assert all(np.array_equal(image, decode(face, "")) for image, face in zip(found.images(), faces, strict=True))
    for kind in (True, False):
        assert pairs.fold[pairs.same == kind].tolist() == [0, 0, 0, 1, 1, 1]
    same_as_bin = BinProtocol(BinSettings(path=bin_path, folds=2)).identity()
    assert protocol.identity() == same_as_bin, "the same images and labels"


def test_parquet_pairs_that_cannot_be_used(tmp_path: Path, faces: list[bytes]) -> None:
    strange = parquet_pairs(tmp_path / "x.parquet", faces, [2, *map(int, SAME[1:])])
    with pytest.raises(DataError, match=r"x.parquet: label 2; expected 1 \(same person\) or 0"):
        ParquetPairs(ParquetPairsSettings(path=strange)).plan(Run(0))
    pq.write_table(pa.table({"label": [1]}), tmp_path / "y.parquet")
    with pytest.raises(DataError, match=r"y.parquet: expected parquet with label and image1 \{bytes, path\}"):
        ParquetPairs(ParquetPairsSettings(path=tmp_path / "y.parquet")).plan(Run(0))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: no parquet file in it"):
        ParquetPairs(ParquetPairsSettings(path=tmp_path / "empty")).plan(Run(0))


def test_bins_that_cannot_be_used(bin_path: Path, faces: list[bytes]) -> None:
    with pytest.raises(DataError, match=r"faces.bin: 12 pairs do not fill 20 folds; give fewer folds or more pairs"):
        BinProtocol(BinSettings(path=bin_path, folds=20)).plan(Run(0))
    wide, buffer = bin_path.with_name("wide.bin"), io.BytesIO()
    Image.new("RGB", (96, 112)).save(buffer, "PNG")
    write_bin(wide, [*faces[:23], buffer.getvalue()], SAME)
    protocol = BinProtocol(BinSettings(path=wide))
    batches = list(protocol.sample(protocol.plan(Run(0)), Run(0)))
    with pytest.raises(DataError, match="images/000023: it has 96 x 112 px; expected a square ArcFace crop"):
        [as_crops(batch) for batch in batches]


def test_crops_of_another_size_are_resized(tmp_path: Path, encode: object) -> None:
    write_bin(tmp_path / "b.bin", [encode(n, size_px=16 + 8 * (n > 2)) for n in range(4)], [True, False])  # type: ignore[operator]
    protocol = BinProtocol(BinSettings(path=tmp_path / "b.bin", folds=2))
    batches = list(protocol.sample(protocol.plan(Run(0)), Run(0)))
    assert [batch.images.shape[:2] for batch in batches] == [(3, 16), (1, 24)]
    for batch in batches:
        made = LandmarksAligner().align(as_crops(batch), Crop("arcface", 32), Run(0))
        assert made.images.shape[1:] == (32, 32, 3)
        corner = made.images[:, :2, :2].astype(int) - batch.images[:, :1, :1]
        assert made.images.any(axis=(1, 2, 3)).all()
        assert corner.shape == (len(batch), 2, 2, 3)


def test_folder_pairs(tree: Path) -> None:
    (tree / "pairs.txt").write_text(
        "2 1\nBo 1 2\nBo 1 Ann_Lee 1\nAnn_Lee 1 2\nAnn_Lee 3 Zoë_Müller 2\n", encoding="utf-8"
    )
    protocol = FolderPairs(FolderPairsSettings(path=tree))
    check_source(protocol)
    check_own_code(protocol)
    found = face_set(protocol, tree.parent / "set")
    pairs = protocol.pairs(found, Run(0))
    assert pairs.fold.tolist() == [0, 0, 1, 1]
    assert ((found.identities[pairs.a] == found.identities[pairs.b]) == pairs.same).all()
    before = protocol.identity()
    moved = shutil.copytree(tree, tree.parent / "moved")
    assert FolderPairs(FolderPairsSettings(path=moved)).identity() == before, "the place does not matter"
    (moved / "Bo" / "Bo_0001.png").write_bytes((moved / "Bo" / "Bo_0003.png").read_bytes())
    assert FolderPairs(FolderPairsSettings(path=moved)).identity() != before
    listed = tree.parent / "list.txt"
    listed.write_text("Bo/Bo_0001.png Bo/Bo_0002.png 1\n" * 4)
    with pytest.raises(DataError, match=r"list.txt: 4 pairs do not fill 9 folds"):
        FolderPairs(FolderPairsSettings(path=tree, pairs=listed, folds=9)).plan(Run(0))


def test_a_folder_with_a_damaged_image(tree: Path) -> None:
    (tree / "pairs.txt").write_text("2 1\nBo 1 2\nBo 1 Ann_Lee 1\nAnn_Lee 1 2\nAnn_Lee 3 Bo 4\n")
    (tree / "Bo" / "Bo_0002.png").write_bytes(b"<html>not found</html>")
    protocol = FolderPairs(FolderPairsSettings(path=tree))
    with pytest.raises(DataError, match=r"Bo_0002.png: not a readable image \(unknown format\)"):
        list(protocol.sample(protocol.plan(Run(0)), Run(0)))


def test_recordio(rec_path: Path, faces: list[bytes]) -> None:
    source = RecordIOSource(RecordIOSettings(path=rec_path))
    check_source(source)
    check_own_code(source)
    plan = source.plan(Run(0))
    assert plan.identities.tolist() == [3] * 4 + [7] + [20] * 4
    assert plan.samples.tolist() == [0, 1, 2, 3, 0, 0, 1, 2, 3]
    images = [image for batch in source.sample(plan, Run(0)) for image in batch.images]
    assert all(np.array_equal(image, decode(face, "")) for image, face in zip(images, faces[:9], strict=True))
    part = RecordIOSource(RecordIOSettings(path=rec_path.parent, identities=(1, 3), per_identity=2))
    check_source(part)
    assert part.plan(Run(0)).identities.tolist() == [7, 20, 20]
    assert part.identity() != source.identity()
    with pytest.raises(DataError, match=r"no image in identities \(5, 9\); it has 3"):
        RecordIOSource(RecordIOSettings(path=rec_path, identities=(5, 9))).plan(Run(0))


def write_lmdb(path: Path, values: dict[str, object]) -> Path:
    """A database as folder2lmdb writes it."""
    lmdb = pytest.importorskip("lmdb", reason="lmdb, an extra of this package, is not installed")
    with lmdb.open(str(path), subdir=False, map_size=1 << 24) as database, database.begin(write=True) as transaction:
        for key, value in values.items():
            transaction.put(key.encode(), pickle.dumps(value))
    return path


def test_lmdb(tmp_path: Path, faces: list[bytes]) -> None:
    labels = [5, 2, 5, 2, 9, 5]
    values = {str(key): (faces[key], label) for key, label in enumerate(labels)}
    ends = {"__keys__": [str(key).encode() for key in range(6)], "__len__": 6}
    path = write_lmdb(tmp_path / "train.lmdb", values | ends)
    source = LmdbSource(LmdbSettings(path=path))
    check_source(source)
    check_own_code(source)
    plan = source.plan(Run(0))
    assert plan.identities.tolist() == [2, 2, 5, 5, 5, 9]
    images = [image for batch in source.sample(plan, Run(0)) for image in batch.images]
    expected = [faces[key] for key in (1, 3, 0, 2, 5, 4)]
    assert all(np.array_equal(image, decode(face, "")) for image, face in zip(images, expected, strict=True))
    part = LmdbSource(LmdbSettings(path=path, identities=(1, 2), per_identity=2)).plan(Run(0))
    assert (part.identities.tolist(), part.items["offset"].tolist()) == ([5, 5], [0, 2])


class Evil:
    """What a reader of pickles would execute."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("touch executed",)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"0": (b"x", 1)}, "__len__ is not there"),
        ({"0": (b"x", 1), "__len__": 2}, "image 1 is not there"),
        ({"0": (b"x", 1), "__len__": 10**12}, "expected the number of images"),
        ({"0": (b"x", "one"), "__len__": 1}, r"expected a pickle of \(encoded image, label\)"),
        ({"0": Evil(), "__len__": 1}, "image 0"),
    ],
)
def test_a_database_that_is_not_what_it_says(
    values: dict[str, object], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_lmdb(tmp_path / "train.lmdb", values)
    with pytest.raises(DataError, match=text):
        LmdbSource(LmdbSettings(path=path)).plan(Run(0))
    assert not (tmp_path / "executed").exists()


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    pytest.importorskip("lmdb", reason="lmdb, an extra of this package, is not installed")
    (tmp_path / "train.lmdb").write_bytes(b"no database" * 1000)
    with pytest.raises(DataError, match="no LMDB database"):
        LmdbSource(LmdbSettings(path=tmp_path / "train.lmdb")).plan(Run(0))
    with pytest.raises(InputError, match="there is no such file"):
        LmdbSource(LmdbSettings(path=tmp_path / "nothing")).plan(Run(0))


def test_a_record_that_is_no_image(tmp_path: Path) -> None:
    with RecordWriter(tmp_path / "train.rec") as writer:
        writer.add(0, b"no image")
    source = RecordIOSource(RecordIOSettings(path=tmp_path))
    with pytest.raises(DataError, match=r"train.rec: record at byte 40: not a readable image \(unknown format\)"):
        list(source.sample(source.plan(Run(0)), Run(0)))


def test_the_module_is_light() -> None:
    check_light_import("harness.builtin.files", "harness.builtin.packed", "harness.cli.data")
