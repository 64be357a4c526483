"""Reading and writing RecordIO, and what hostile files get."""

from __future__ import annotations

import resource
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.data.recordio import (
    MAGIC,
    Record,
    RecordFile,
    RecordWriter,
    pack_record,
    read_lst,
    split_payload,
    unpack_record,
)
from harness.errors import DataError, InputError

MODEST = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
WORD = struct.pack("<I", MAGIC)


def frame(payload: bytes, flag: int = 0, length: int | None = None) -> bytes:
    word = flag << 29 | (len(payload) if length is None else length)
    return struct.pack("<II", MAGIC, word) + payload + bytes(-len(payload) % 4)


def write(path: Path, people: dict[int, list[bytes]]) -> None:
    with RecordWriter(path) as writer:
        for identity, images in people.items():
            for image in images:
                writer.add(identity, image)


@pytest.fixture
def rec(tmp_path: Path, faces: list[bytes]) -> Path:
    """Three identities with gaps in their numbers."""
    path = tmp_path / "train.rec"
    write(path, {3: faces[:4], 7: faces[4:5], 20: faces[5:9]})
    return path


def read_all(path: Path) -> None:
    RecordFile(path).images()
    list(RecordFile(path).scan())


def refused(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_all(path)
    assert str(path.with_suffix("")) in str(caught.value)
    return str(caught.value)


# The layout


def test_insightface_layout(rec: Path, faces: list[bytes]) -> None:
    file = RecordFile(rec)
    assert file.read(0) == Record((10.0, 13.0), b"", vector=True), "images before 10, identities before 13"
    assert file.read(10) == Record((1.0, 5.0), b"", id=10, vector=True), "the first identity's records"
    assert [file.read(key).data for key in range(1, 10)] == faces[:9]
    assert [file.read(key).id for key in range(1, 10)] == list(range(1, 10))
    keys, identities, offsets = file.images()
    assert keys.tolist() == list(range(1, 10))
    assert identities.tolist() == [3] * 4 + [7] + [20] * 4
    assert [record.data for record in file.read_at(offsets)] == faces[:9]
    lines = rec.with_suffix(".idx").read_text().splitlines()
    assert len(lines) == 13
    assert lines[0] == "0\t0"
    assert lines[1] == "1\t40", "frame 8, header 24, two labels 8"
    assert list(read_lst(rec.with_suffix(".lst")))[4] == (5, 7.0, "7/5")


def test_bytes_of_a_record() -> None:
    """Byte by byte what mxnet's ``IRHeader`` of struct format IfQQ and the dmlc frame are."""
    payload = struct.pack("<IfQQ", 0, 5.0, 9, 0) + b"image"
    assert pack_record(Record((5.0,), b"image", id=9)) == payload
    vector = struct.pack("<IfQQ2f", 2, 0.0, 9, 1, 5.0, 6.0) + b"image"
    assert pack_record(Record((5.0, 6.0), b"image", id=9, id2=1)) == vector
    assert unpack_record(vector, "") == Record((5.0, 6.0), b"image", 9, 1, vector=True)


def test_without_an_index(rec: Path) -> None:
    expected = RecordFile(rec).images()
    rec.with_suffix(".idx").unlink()
    assert all(np.array_equal(a, b) for a, b in zip(RecordFile(rec).images(), expected, strict=True))
    assert RecordFile(rec.parent).path == rec, "a folder with train.rec"


def test_files_without_a_header_record(tmp_path: Path) -> None:
    """Plain RecordIO of im2rec: every record is an image; a vector's first label is the identity."""
    records = [Record((4.0,), b"a"), Record((2.0, 0.5), b"b"), Record((4.0,), b"c", vector=True)]
    (tmp_path / "plain.rec").write_bytes(b"".join(frame(pack_record(record)) for record in records))
    keys, identities, offsets = RecordFile(tmp_path / "plain.rec").images()
    assert (keys.tolist(), identities.tolist(), offsets[0]) == ([0, 1, 2], [4, 2, 4], 0)


def test_payloads_that_hold_the_magic_word(tmp_path: Path) -> None:
    """dmlc splits them at multiples of 4; elsewhere the word is data like any other."""
    assert split_payload(b"abcd" + WORD + b"efgh") == [b"abcd", b"efgh"]
    assert split_payload(b"a" + WORD + b"bcd") == [b"a" + WORD + b"bcd"]
    assert split_payload(WORD + WORD) == [b"", b"", b""]
    head = pack_record(Record((1.0,), b""))
    parts = [head + b"abcd", b"", b"efg"]
    data = frame(parts[0], 1) + frame(parts[1], 2) + frame(parts[2], 3) + frame(head + b"next")
    (tmp_path / "split.rec").write_bytes(data)
    file = RecordFile(tmp_path / "split.rec")
    assert file.read(0).data == b"abcd" + WORD + WORD + b"efg"
    assert file.read(1).data == b"next"


IMAGES = st.lists(st.one_of(st.binary(max_size=40), st.just(WORD), st.just(bytes(3) + WORD)), max_size=5).map(b"".join)


@MODEST
@given(people=st.dictionaries(st.integers(0, 1 << 24), st.lists(IMAGES, min_size=1, max_size=3), max_size=4))
def test_any_content_comes_back(people: dict[int, list[bytes]], tmp_path: Path) -> None:
    path = tmp_path / "any.rec"
    write(path, people)
    if not people:
        assert "images end before record 1" in refused(path)
        return
    file = RecordFile(path)
    keys, identities, offsets = file.images()
    assert identities.tolist() == [identity for identity, images in people.items() for _ in images]
    assert [record.data for record in file.read_at(offsets)] == [data for images in people.values() for data in images]
    indexed = [file.read(int(key)) for key in keys]
    path.with_suffix(".idx").unlink()
    assert [RecordFile(path).read(int(key)) for key in keys] == indexed


def test_writing_checks_identities(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="images of identity 1 do not follow one another"):
        write_order(tmp_path / "a.rec", [1, 2, 1])
    with pytest.raises(DataError, match="identity 16777217; RecordIO holds 0 to 16,777,216"):
        write_order(tmp_path / "a.rec", [(1 << 24) + 1])
    assert not list(tmp_path.iterdir()), "a failed write leaves nothing"


def write_order(path: Path, identities: list[int]) -> None:
    with RecordWriter(path) as writer:
        for identity in identities:
            writer.add(identity, b"image")


# Hostile files


def test_two_gigabytes_declared_in_a_kilobyte(tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    path = tmp_path / "big.rec"
    path.write_bytes(frame(bytes(1016), length=(1 << 29) - 1))
    assert "record at byte 0: 536,870,911 bytes are declared and 1,016 are left in the file" in refused(path)
    path.write_bytes(frame(struct.pack("<IfQQ", 2**29, 0, 0, 0) + bytes(1000)))
    assert "536,870,912 labels are declared, and the 1,000 bytes left hold 250" in refused(path), "2 GB of labels"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024, "kilobytes"


def test_records_larger_than_any_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.data.recordio.MAX_BYTES", 100)
    path = tmp_path / "big.rec"
    path.write_bytes(frame(bytes(60), 1) + frame(bytes(60), 3))
    assert "120 bytes; records of at most 100 are read" in refused(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "it holds no record"),
        (b"\x00" * 40, "record at byte 0: it starts with 0x00000000, expected the magic 0xced7230a"),
        (WORD, "the file ends within its frame; it is cut, so copy it again"),
        (frame(b"short"), "5 bytes are too few for a header of 24"),
        (frame(bytes(24), 5), "part flag 5; expected 0 to 3"),
        (frame(bytes(24), 2), "part flag 2 at byte 0, expected 0 or 1; a record was lost"),
        (frame(bytes(24), 1) + frame(bytes(24)), "part flag 0 at byte 32, expected 2 or 3; a record was lost"),
        (frame(bytes(24), 1), "record at byte 32: the file ends within its frame"),
        (frame(pack_record(Record((0.5,), b"x"))), "record 0: label 0.5 is no identity; expected an integer"),
        (frame(pack_record(Record((-1.0,), b"x"))), "label -1 is no identity"),
        (frame(pack_record(Record((float("nan"),), b"x"))), "label nan is no identity"),
        (frame(pack_record(Record((float("inf"),), b"x"))), "label inf is no identity"),
        (frame(pack_record(Record((1e9, 2.0), b""))), "images end before record 1e+09; there are 1 records"),
        (frame(pack_record(Record((float("nan"), 2.0), b""))), "images end before record nan"),
    ],
)
def test_damaged_files(data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "damaged.rec"
    path.write_bytes(data)
    assert message in refused(path)


def test_cut_at_any_of_ten_places(rec: Path) -> None:
    data = rec.read_bytes()
    for end in np.linspace(1, len(data) - 40, 10).astype(int):
        rec.write_bytes(data[:end])
        text = refused(rec)
        assert "train.idx: line" in text, "the index names records beyond the end"
        assert "the files do not belong together, or one is cut" in text
    rec.with_suffix(".idx").unlink()
    for end in np.linspace(1, len(data) - 1, 10).astype(int):
        rec.write_bytes(data[:end])
        assert "cut" in refused(rec)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("0\t0\n1 x\n", "train.idx: line 2: '1 x\\n'; expected a key and an offset in bytes"),
        ("0\t0\n1\t-4\n", "line 2: '1\\t-4\\n'; expected a key and an offset"),
        ("0\t0\n1\t" + "9" * 30 + "\n", "expected a key and an offset in bytes"),
        ("0\t0\n1\t9999999\n", "line 2: record 1 at byte 9,999,999, and train.rec has"),
        ("0\t0\n1\t40\n1\t40\n", "record 1 is there twice; write the index again"),
        ("0\t0\n1\t44\n" + "".join(f"{key}\t40\n" for key in range(2, 13)), "record at byte 44: it starts with"),
        ("0\t0\n" + "".join(f"{key}\t40\n" for key in range(2, 14)), "record 1 is missing; record 0 counts 9 images"),
        ("", "it holds no record"),
        ("0" * 10_000, "line 1 is longer than 4096 bytes"),
        ("٣\t٤\n", "expected a key and an offset in bytes"),
        ("\udcff\n", "line 1 is not UTF-8 text"),
    ],
)
def test_damaged_indexes(lines: str, message: str, rec: Path) -> None:
    rec.with_suffix(".idx").write_bytes(lines.encode(errors="surrogateescape"))
    assert message in refused(rec)


def test_missing_things(rec: Path) -> None:
    with pytest.raises(DataError, match="there is no record 99; the index has 13 records"):
        RecordFile(rec).read(99)
    with pytest.raises(InputError, match="cannot be read"):
        RecordFile(rec.parent / "none.rec")


def test_lists(tmp_path: Path) -> None:
    path = tmp_path / "train.lst"
    path.write_text("0\t3\tZoë/a b.png\n\n1\t4\t5\tx.png\n", encoding="utf-8")
    assert list(read_lst(path)) == [(0, 3.0, "Zoë/a b.png"), (1, 4.0, "x.png")]
    path.write_text("0\t3\tx\n1,4,y\n")
    with pytest.raises(DataError, match=r"line 2: '1,4,y.n'; expected a key, a label and a name, separated by tabs"):
        list(read_lst(path))


# Whatever the bytes are


def survives(path: Path) -> None:
    try:
        file = RecordFile(path)
        _, identities, offsets = file.images()
        assert len(list(file.read_at(offsets))) == len(identities)
        list(file.scan())
    except DataError as error:
        named = str(path.with_suffix("")) in str(error)
        assert named


WORDS = st.one_of(
    st.binary(max_size=12),
    st.just(WORD),
    st.tuples(st.integers(0, 7), st.integers(0, 40)).map(lambda item: struct.pack("<I", item[0] << 29 | item[1])),
    st.just(frame(pack_record(Record((1.0,), b"abcd")))),
    st.just(frame(pack_record(Record((2.0, 3.0), b"")))),
)


@MODEST
@given(words=st.lists(WORDS, max_size=12))
def test_any_bytes(words: list[bytes], tmp_path: Path) -> None:
    (tmp_path / "any.rec").write_bytes(b"".join(words))
    survives(tmp_path / "any.rec")


@MODEST
@given(data=st.data())
def test_changed_bytes(data: st.DataObject, tmp_path: Path) -> None:
    path = tmp_path / "changed.rec"
    write(path, {0: [b"a" * 5, WORD * 2], 1: [b"c" * 9]})
    for file in (path, path.with_suffix(".idx")):
        whole = bytearray(file.read_bytes())
        for _ in range(data.draw(st.integers(0, 3))):
            whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
        file.write_bytes(whole[: data.draw(st.one_of(st.none(), st.integers(0, len(whole))))])
    survives(path)
    path.with_suffix(".idx").unlink()
    survives(path)
