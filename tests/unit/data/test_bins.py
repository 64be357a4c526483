"""Reading and writing ``.bin`` files, and what hostile ones get."""

from __future__ import annotations

import os
import pickle
import pickletools
import resource
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.data.bins import BinFile, contiguous_folds, pair_identities, write_bin
from harness.data.pickles import MAX_INSTRUCTIONS
from harness.data.pictures import decode
from harness.errors import DataError, InputError

MODEST = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SAME = [True, False, True, True, False, False, True, False, True, False, True, False]


def python2(images: Sequence[bytes], same: Sequence[bool]) -> bytes:
    """What Python 2's cPickle writes at protocol 2: strings as str, everything memoized, lists in parts of 1000."""
    out, memo = bytearray(b"\x80\x02"), 0

    def put() -> None:
        nonlocal memo
        out.extend(b"q" + bytes([memo]) if memo < 256 else b"r" + struct.pack("<I", memo))
        memo += 1

    def listed(items: Sequence[Any], save: Callable[[Any], None]) -> None:
        out.extend(b"]")
        put()
        for start in range(0, len(items), 1000):
            part = items[start : start + 1000]
            out.extend(b"(" if len(part) > 1 else b"")
            for item in part:
                save(item)
            out.extend(b"e" if len(part) > 1 else b"a")

    def string(data: bytes) -> None:
        out.extend(b"U" + bytes([len(data)]) if len(data) < 256 else b"T" + struct.pack("<i", len(data)))
        out.extend(data)
        put()

    listed(images, string)
    listed(same, lambda label: out.extend(b"\x88" if label else b"\x89"))
    out.extend(b"\x86")
    put()
    return bytes(out + b".")


def python2_array(data: bytes, dtype: bytes = b"u1", shape: int | None = None) -> bytes:
    """What Python 2 writes for a one-dimensional array, without the memo."""
    made = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
    kind = b"cnumpy\ndtype\n(U" + bytes([len(dtype)]) + dtype + b"K\x00K\x01tR"
    kind += b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    sides = b"(J" + struct.pack("<i", len(data) if shape is None else shape) + b"t"
    return made + b"(K\x01" + sides + kind + b"\x89T" + struct.pack("<i", len(data)) + data + b"tb"


def python2_arrays(images: Sequence[bytes], same: Sequence[bool], **options: Any) -> bytes:
    arrays = b"".join(python2_array(image, **options) for image in images)
    return b"\x80\x02(](" + arrays + b"e](" + b"".join(b"\x88" if label else b"\x89" for label in same) + b"et."


def opened(tmp_path: Path, data: bytes) -> BinFile:
    path = tmp_path / "faces.bin"
    path.write_bytes(data)
    return BinFile(path)


def decoded(file: BinFile) -> list[np.ndarray]:
    """All its images, as the protocol reads them."""
    return [decode(data, file.place(index)) for index, data in enumerate(file.encoded())]


def refused(tmp_path: Path, data: bytes) -> str:
    with pytest.raises(DataError) as caught:
        decoded(opened(tmp_path, data))
    message = str(caught.value)
    assert str(tmp_path / "faces.bin") in message, "the message names the file"
    return message


# Both dialects


@pytest.mark.parametrize("write", [python2, python2_arrays])
def test_files_of_python_2(write: Callable[..., bytes], tmp_path: Path, faces: list[bytes]) -> None:
    data = write(faces, SAME)
    file = opened(tmp_path, data)
    assert list(file.encoded()) == faces
    assert file.same.tolist() == SAME
    if write is python2:
        assert pickle.loads(data, encoding="bytes") == (faces, SAME), "the test's own writer is right"


def test_long_lists_of_python_2(tmp_path: Path) -> None:
    images = [b"%d" % number for number in range(2002)]
    data = python2(images, [True] * 1001)
    assert pickle.loads(data, encoding="bytes") == (images, [True] * 1001)
    assert list(opened(tmp_path, data).encoded()) == images


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("labels", [list, np.array, lambda same: [np.bool_(label) for label in same], tuple])
@pytest.mark.parametrize("kind", ["bytes", "array", "read-only array"])
def test_files_of_python_3(protocol: int, labels: Any, kind: str, tmp_path: Path, faces: list[bytes]) -> None:
    if labels is tuple:  # ones and zeros
        labels = lambda same: [int(label) for label in same]  # noqa: E731
    array = {"bytes": bytes, "array": lambda data: np.frombuffer(data, np.uint8).copy()}
    make = array.get(kind, lambda data: np.frombuffer(data, np.uint8))
    file = opened(tmp_path, pickle.dumps(([make(face) for face in faces], labels(SAME)), protocol))
    assert list(file.encoded()) == faces
    assert list(file.encoded([3, 1])) == [faces[3], faces[1]]
    assert file.same.tolist() == SAME


def test_all_dialects_have_one_content(tmp_path: Path, faces: list[bytes]) -> None:
    files = [python2(faces, SAME), python2_arrays(faces, SAME), pickle.dumps((faces, SAME), 2)]
    files.append(pickle.dumps((faces, SAME), 4))
    contents = {opened(tmp_path, data).content() for data in files}
    assert len(contents) == 1
    swapped = [faces[1], faces[0], *faces[2:]]
    assert opened(tmp_path, pickle.dumps((swapped, SAME), 4)).content() not in contents
    assert opened(tmp_path, pickle.dumps((faces, SAME[::-1]), 4)).content() not in contents


@pytest.mark.parametrize("dialect", ["python2", "python3"])
def test_any_reader_reads_what_is_written(dialect: Any, tmp_path: Path, faces: list[bytes]) -> None:
    path = tmp_path / "out.bin"
    write_bin(path, iter(faces), SAME, dialect)
    data = path.read_bytes()
    assert pickle.loads(data, encoding="bytes" if dialect == "python2" else "ASCII") == (faces, SAME)
    assert list(BinFile(path).encoded()) == faces
    names = {op.name for op, _, _ in pickletools.genops(data)}
    assert ("BINSTRING" in names) == (dialect == "python2"), "Python 2 knows no BINBYTES"
    again = tmp_path / "again.bin"
    write_bin(again, BinFile(path).encoded(), BinFile(path).same, dialect)
    assert again.read_bytes() == data


def test_a_failed_write_leaves_nothing(tmp_path: Path, faces: list[bytes]) -> None:
    with pytest.raises(DataError, match=r"3 images and 1 labels; expected two images per label"):
        write_bin(tmp_path / "out.bin", faces[:3], [True])
    assert not list(tmp_path.iterdir())


def test_folds_and_identities() -> None:
    assert np.bincount(contiguous_folds(6000, 10)).tolist() == [600] * 10
    assert contiguous_folds(12, 10).tolist() == [0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert pair_identities(np.array([True, False, True])).tolist() == [0, 0, 2, 3, 4, 4]


# Hostile files


class Evil:
    """Its pickle runs a command."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> Any:
        return os.system, (self.command,)


@pytest.mark.parametrize("protocol", [1, 2, 3, 4, 5])
def test_a_pickle_that_imports_os_system(protocol: int, tmp_path: Path, faces: list[bytes]) -> None:
    marker = tmp_path / "executed"
    data = pickle.dumps(([Evil(f"touch {marker}"), *faces[1:]], SAME), protocol)
    message = refused(tmp_path, data)
    assert f"the pickle asks for '{os.system.__module__}.system', which is refused and was not executed" in message
    data = b"\x80\x02cos\nsystem\nU" + bytes([len(f"touch {marker}")]) + f"touch {marker}".encode() + b"\x85R."
    assert "byte 2: the pickle asks for 'os.system', which is refused and was not executed" in refused(tmp_path, data)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("name", "target"),
    [("builtins", "eval"), ("numpy", "load"), ("numpy.core.multiarray", "fromfile"), ("numpy", "ndarray.tofile")],
)
def test_other_names_are_refused(name: str, target: str, tmp_path: Path) -> None:
    text = refused(tmp_path, f"\x80\x02c{name}\n{target}\n.".encode("latin-1"))
    assert f"asks for '{name}.{target}', which is refused" in text


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (pickle.dumps({"images": []}, 2), "refused pickle instruction EMPTY_DICT"),
        (b"\x80\x02\x82\x01.", "refused pickle instruction EXT1"),
        (b"\x80\x04\x97.", "refused pickle instruction NEXT_BUFFER"),
        (b"\x80\x02(cnumpy\nndarray\no.", "refused pickle instruction OBJ"),
        (b"\x80\x02Pid\n.", "refused pickle instruction PERSID"),
        (b"\x80\x09.", "pickle protocol 9 is not known"),
        (pickle.dumps(([b"a", b"b"], [True]), 0), "pickle protocol 0, which stores images as text, is not read"),
        (b"", "the file ends after 0 bytes"),
        (b"\xff\xd8\xff\xe0", "not a pickle, as .bin files are"),
        (b"\x80\x02.", "it takes a value that is not there"),
        (b"\x80\x02e.", "a mark is missing"),
        (b"\x80\x02)]e.", "a mark is missing"),
        (b"\x80\x02)K\x01a.", "it appends to a tuple"),
        (b"\x80\x02h\x05.", "it recalls value 5, which it never kept"),
        (b"\x80\x02r\xff\xff\xff\xff.", "it uses a value that is not there"),
        (b"\x80\x02NN\x86b.", "it uses a value that is not there"),
        (b"\x80\x02]Nb.", "it sets the state of a list"),
        (b"\x80\x02]N\x85R.", "it calls a list"),
        (b"\x80\x02K\x01)R.", "it calls a int"),
        (b"\x80\x02cnumpy\nndarray\n)R.", "asks for ndarray with what no .bin file needs"),
        (b"\x80\x02cnumpy\ndtype\n)R.", "asks for dtype with what no .bin file needs"),
        (b"\x80\x02cnumpy\ndtype\nU\x01O\x85R.", "dtype 'O'; expected uint8"),
        (b"\x80\x02cnumpy\n" + b"n" * 500, "a line does not end"),
        (b"\x80\x02I7\n.", "a number is stored as text; expected 00 or 01"),
        (b"\x80\x02\x8a\xff" + b"1" * 255 + b".", "a number of 255 bytes"),
        (b"\x80\x02N.trailing", "8 bytes follow the end of the pickle"),
        (b"\x80\x02N.", "not a verification file; expected a pair (images, issame) of lists"),
        (pickle.dumps(("ab", [True]), 2), "not a verification file"),
        (pickle.dumps(([], []), 2), "it holds no pair"),
    ],
)
def test_damaged_pickles(data: bytes, message: str, tmp_path: Path) -> None:
    assert message in refused(tmp_path, data)


def test_cut_at_any_of_ten_places(tmp_path: Path, faces: list[bytes]) -> None:
    for data in (python2(faces, SAME), python2_arrays(faces, SAME), pickle.dumps((faces, SAME), 4)):
        for end in np.linspace(1, len(data) - 1, 10).astype(int):
            message = refused(tmp_path, data[:end])
            assert "the file is cut" in message or "it is cut" in message, message


def test_counts_that_do_not_fit(tmp_path: Path, faces: list[bytes]) -> None:
    assert "23 images, an odd number; expected two per pair" in refused(tmp_path, python2(faces[:23], SAME))
    assert "24 images and 11 labels; expected two images per label" in refused(tmp_path, python2(faces, SAME[1:]))


@pytest.mark.parametrize(
    "data", [b"no image at all", b"", b"\x89PNG\r\n\x1a\n" + bytes(40), b"%!PS-Adobe-3.0 EPSF-3.0\n"]
)
def test_an_image_that_is_no_image(data: bytes, tmp_path: Path, faces: list[bytes]) -> None:
    text = refused(tmp_path, pickle.dumps(([*faces[:5], data, *faces[6:]], SAME), 3))
    assert "faces.bin: image 5: not a readable image" in text
    cut = [*faces[:5], faces[5][: len(faces[5]) // 2], *faces[6:]]
    assert "faces.bin: image 5: not a readable image" in refused(tmp_path, python2(cut, SAME))


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("text", "image 1: it is text; expected bytes or a uint8 array"),
        (None, "image 1: it is NoneType; expected bytes"),
        ([b"x"], "image 1: it is list"),
        (7, "image 1: it is int"),
        (np.zeros((2, 2), np.uint8), "an array of shape (2, 2); expected [bytes], the encoded image"),
        (np.zeros(3, np.float32), "an array of dtype 'f4'; expected uint8"),
        (np.array([None]), "dtype 'O8'; expected uint8"),
        (np.zeros(3, bool), "image 1: it is Array; expected bytes"),
    ],
)
def test_images_of_other_kinds(item: Any, message: str, tmp_path: Path) -> None:
    assert message in refused(tmp_path, pickle.dumps(([b"x", item], [True]), 4)).replace("'O'", "'O8'")


@pytest.mark.parametrize("label", [2, "yes", None, b"\x01", -1])
def test_labels_of_other_kinds(label: Any, tmp_path: Path) -> None:
    data = pickle.dumps(([b"x", b"y"], [label]), 3)
    assert "label 0 is no boolean; expected True or False for every pair" in refused(tmp_path, data)


@pytest.mark.parametrize(
    "head",
    [b"T" + struct.pack("<i", 2**31 - 1), b"B" + struct.pack("<I", 2**31), b"\x8e" + struct.pack("<Q", 2**31)],
)
def test_two_gigabytes_declared_in_a_kilobyte(head: bytes, tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    message = refused(tmp_path, b"\x80\x04](" + head + bytes(1024))
    declared = f"{2**31 - (head[0] == ord('T')):,}"
    assert f"{declared} bytes are declared and 1,024 are left in the file; it is cut or damaged" in message
    assert "bytes are declared" in refused(tmp_path, b"\x80\x04\x95" + struct.pack("<Q", 2**40) + bytes(100))
    assert "bytes are declared" in refused(tmp_path, b"\x80\x02T\xff\xff\xff\xff" + bytes(100)), "a negative length"
    text = refused(tmp_path, python2_arrays([b"abc"] * 2, [True], shape=2**31 - 1))
    assert "an array declares 2,147,483,647 bytes and holds 3" in text
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024, "kilobytes"


def test_endless_instructions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.data.pickles.MAX_INSTRUCTIONS", 1000)
    assert "more than 1,000 instructions, which no list of images needs" in refused(tmp_path, b"\x80\x02" + b"]" * 2000)
    assert MAX_INSTRUCTIONS > 20 * 14_000, "CFP-FP as arrays fits"


def test_a_list_within_itself(tmp_path: Path) -> None:
    looped = b"\x80\x02]q\x00(h\x00h\x00e]\x88a\x86."
    assert "image 0: it is list" in refused(tmp_path, looped)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        BinFile(tmp_path / "none.bin")


# Whatever the bytes are


def survives(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    try:
        file = BinFile(path)
        assert len(file) == 2 * len(file.same)
        decoded(file)
        file.content()
    except DataError as error:
        named = str(path) in str(error)
        assert named


@MODEST
@given(data=st.binary(max_size=200), head=st.sampled_from([b"", b"\x80\x02", b"\x80\x04]("]))
def test_any_bytes(data: bytes, head: bytes, tmp_path: Path) -> None:
    survives(tmp_path / "any.bin", head + data)


OPCODES = st.sampled_from(
    [bytes([code]) for code in b"].()tabeRcqrhjUTCBXKMJNI\x80\x85\x86\x87\x88\x89\x8a\x8c\x93\x94\x95"]
)
GLOBALS = st.sampled_from(
    [b"cnumpy\ndtype\n", b"cnumpy\nndarray\n", b"c_codecs\nencode\n", b"U\x02u1", b"c__builtin__\nbytes\n"]
)
PIECES = st.one_of(OPCODES, GLOBALS, st.binary(max_size=4), st.just(python2_array(b"ab")))


@MODEST
@given(pieces=st.lists(PIECES, max_size=40))
def test_any_instructions(pieces: list[bytes], tmp_path: Path) -> None:
    survives(tmp_path / "any.bin", b"\x80\x02" + b"".join(pieces) + b".")


@MODEST
@given(data=st.data(), dialect=st.sampled_from(["python2", "arrays", "3", "4", "5"]))
def test_changed_bytes(data: st.DataObject, dialect: str, tmp_path: Path, faces: list[bytes]) -> None:
    arrays = [np.frombuffer(face, np.uint8) for face in faces[:4]]
    writers: dict[str, Callable[[], bytes]] = {
        "python2": lambda: python2(faces[:4], SAME[:2]),
        "arrays": lambda: python2_arrays(faces[:4], SAME[:2]),
        "3": lambda: pickle.dumps((faces[:4], SAME[:2]), 3),
        "4": lambda: pickle.dumps((faces[:4], np.array(SAME[:2])), 4),
        "5": lambda: pickle.dumps((arrays, SAME[:2]), 5),
    }
    whole = bytearray(writers[dialect]())
    edges = st.one_of(
        st.integers(0, 200), st.integers(len(whole) - 100, len(whole) - 1), st.integers(0, len(whole) - 1)
    )
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(edges)] = data.draw(st.integers(0, 255))
    survives(tmp_path / "changed.bin", bytes(whole[: data.draw(st.one_of(st.none(), edges))]))


@MODEST
@given(data=st.data(), dialect=st.sampled_from(["python2", "python3"]))
def test_any_content_comes_back(data: st.DataObject, dialect: Any, tmp_path: Path) -> None:
    same = data.draw(st.lists(st.booleans(), min_size=1, max_size=5))
    images = data.draw(st.lists(st.binary(max_size=300), min_size=2 * len(same), max_size=2 * len(same)))
    path = tmp_path / "any.bin"
    write_bin(path, images, same, dialect)
    assert list(BinFile(path).encoded()) == images
    assert BinFile(path).same.tolist() == same
