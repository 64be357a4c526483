"""Lists of pairs, and names that file systems and people spell in several ways."""

from __future__ import annotations

import shutil
import unicodedata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from harness.data.finders import Named
from harness.data.pairlists import PairList, read_pairs
from harness.errors import DataError, HarnessError, InputError
from tests.unit.data.conftest import Encode

LFW = """\
2\t2
Ann_Lee\t1\t2
Zoë_Müller\t3\t4
Ann_Lee\t1\tBo\t1
Bo\t2\tZoë_Müller\t1
Bo\t1\t2
Bo\t3\t4
Ann_Lee\t3\tZoë_Müller\t2
Ann_Lee\t4\tBo\t4
"""
PATHS = """\
Ann_Lee/Ann_Lee_0001.png Ann_Lee/Ann_Lee_0002.png 1
Ann_Lee/Ann_Lee_0002.png Ann_Lee/Ann_Lee_0003.png 1
Bo/Bo_0001.png Ann_Lee/Ann_Lee_0001.png 0
"""


def refused(tree: Path, text: str, name: str = "pairs.txt") -> str:
    (tree / name).write_text(text, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_pairs(tree, folds=1)
    assert str(tree / name) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("separator", ["\t", "  "])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lfw(separator: str, end: str, tree: Path) -> None:
    (tree / "pairs.txt").write_bytes(LFW.replace("\t", separator).replace("\n", end).encode("utf-8-sig"))
    listed = read_pairs(tree)
    assert listed.same.tolist() == [True, True, False, False] * 2
    assert listed.fold.tolist() == [0] * 4 + [1] * 4
    names = [(listed.files[a].stem, listed.files[b].stem) for a, b in zip(listed.a, listed.b, strict=True)]
    assert names[3] == ("Bo_0002", "Zoë_Müller_0001")
    people = {file.parent.name: identity for file, identity in zip(listed.files, listed.identities, strict=True)}
    assert people == {"Ann_Lee": 0, "Bo": 1, "Zoë_Müller": 2}
    assert len({*zip(listed.identities, listed.samples, strict=True)}) == len(listed.files) == 12
    assert ((listed.identities[listed.a] == listed.identities[listed.b]) == listed.same).all()


def test_paths(tree: Path) -> None:
    (tree / "pairs.txt").write_text(PATHS)
    listed = read_pairs(tree, folds=3)
    assert listed.same.tolist() == [True, True, False]
    assert listed.fold.tolist() == [0, 1, 2]
    assert listed.identities.tolist() == [0, 0, 0, 1], "genuine pairs connect images to people"
    assert listed.samples.tolist() == [0, 1, 2, 0]
    (tree / "pairs.txt").unlink()
    lines = ['"Zoë_Müller/Zoë_Müller_0001.png",Bo/Bo_0001.png,0', "Bo\\Bo_0002.png,Bo/Bo_0001.png,1"]
    (tree / "pairs.csv").write_text("\n".join(["a,b,same", *lines]), encoding="utf-8")
    assert read_pairs(tree, folds=2).same.tolist() == [False, True]
    other = tree.parent / "list.txt"
    other.write_text(PATHS)
    assert len(read_pairs(tree, other, folds=3).a) == 3


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_accents_in_either_form(form: str, tree: Path) -> None:
    """macOS stores names decomposed; lists are mostly composed."""
    (tree / "pairs.txt").write_text(unicodedata.normalize(form, LFW), encoding="utf-8")
    assert read_pairs(tree).files[2].exists()


def test_names_that_are_there_twice(tree: Path) -> None:
    shutil.copy(tree / "Bo" / "Bo_0001.png", tree / "Bo" / "Bo_0001.jpg")
    text = refused(tree, LFW)
    assert (
        "pairs.txt: line 4: image 1 of 'Bo' is there 2 times (Bo_0001.jpg, Bo_0001.png); expected Bo/Bo_0001.*" in text
    )
    for form in ("NFC", "NFD"):
        (tree / unicodedata.normalize(form, "ế.png")).write_bytes(b"")
    (tree / "pairs.txt").write_text(unicodedata.normalize("NFD", "ế.png Bo/Bo_0002.png 1\n"), encoding="utf-8")
    assert read_pairs(tree, folds=1).files[0].name == unicodedata.normalize("NFD", "ế.png"), "spelled as on the disk"
    text = refused(tree, "ê\u0301.png\tBo/Bo_0002.png\t1\n")  # a third spelling
    assert "line 1: 'ê\u0301.png' is there 2 times in" in text
    assert "in other Unicode forms; rename one" in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it lists no pair; expected at least one"),
        ("2\t2\n", "0 pairs; its first line says 2 folds of 2 + 2 pairs"),
        ("99999999999 99999999999\nBo 1 2", "1 pairs; its first line says 99999999999 folds"),
        ("1 1\nBo 1 2\nBo 1 Ann_Lee " + "9" * 5000, "expected NAME N1 N2"),
        ("9" * 5000 + "\nBo 1 2", "expected two paths and 1"),
        ("1 1\nBo 1 2\nBo 1\n", "line 3: 'Bo 1'; expected NAME N1 N2 or NAME1 N1 NAME2 N2"),
        ("1 1\nBo 1 2\nBo one Ann_Lee 2\n", "line 3: 'Bo one Ann_Lee 2'; expected NAME N1 N2"),
        ("1 1\nBo 1 2\nBo 1 Bo 2\n", "line 3: a pair of different people names 'Bo' twice"),
        ("1 1\nBo 1 2\nBo 1 Cy 2\n", "line 3: there is no 'Cy' in "),
        ("1 1\nBo 1 9\nBo 1 Ann_Lee 2\n", "line 2: image 9 of 'Bo' is not there; expected Bo/Bo_0009.*"),
        ("1 1\n.. 1 9\nBo 1 Ann_Lee 2\n", "line 2: '..'; expected a path within the folder of the images"),
        ("/etc/passwd Bo/Bo_0001.png 1", "line 1: '/etc/passwd'; expected a path within the folder"),
        ("Bo/../../x Bo/Bo_0001.png 1", "line 1: 'Bo/../../x'; expected a path within the folder"),
        ("Bo/Bo_0001.png Bo/Bo_0002.png 2", "expected two paths and 1 (same person) or 0"),
        ("Bo/Bo_0001.png 1", "line 1: 'Bo/Bo_0001.png 1'; expected two paths and 1"),
        ("Bo/x.png Bo/Bo_0002.png 1", "line 1: there is no 'x.png' in "),
        ("Bo/Bo_0001.png/x Bo/Bo_0002.png 1", "line 1: there is no 'x' in "),
    ],
)
def test_damaged_lists(text: str, message: str, tree: Path) -> None:
    assert message in refused(tree, text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x,y\n", "its first line is 'x,y'; expected a,b,same"),
        ("a,b,same\n", "it lists no pair"),
        ('a,b,same\n"x\ny",z,1\n', "a quoted field spans lines"),
        ('a,b,same\n"x"y,z,1\n', "not a CSV file"),
        ("a,b,same\nx,y\n", "line 2: 'x y'; expected two paths and 1"),
    ],
)
def test_damaged_csv(text: str, message: str, tree: Path) -> None:
    assert message in refused(tree, text, "pairs.csv")


def test_lists_that_are_no_text(tree: Path) -> None:
    (tree / "pairs.txt").write_bytes(b"a\xff b 1")
    with pytest.raises(DataError, match=r"not UTF-8 text \(invalid start byte at byte 1\); save it as UTF-8"):
        read_pairs(tree, folds=1)
    (tree / "pairs.txt").unlink()
    with pytest.raises(InputError, match=r"no pairs.txt or pairs.csv in it"):
        read_pairs(tree, folds=1)


FIELDS = st.sampled_from(
    ["Bo", "Ann_Lee", "Zoë_Müller", "1", "2", "0", "..", "Bo/Bo_0001.png", "\t", "\n", ",", '"', "a,b,same"]
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    parts=st.lists(st.one_of(FIELDS, st.text(max_size=5)), max_size=15),
    name=st.sampled_from(["pairs.txt", "pairs.csv"]),
)
@example(parts=["0", "1"], name="pairs.txt")
def test_any_text(parts: list[str], name: str, tree: Path) -> None:
    path = tree.parent / name
    path.write_bytes(" ".join(parts).replace(" \n ", "\n").encode(errors="surrogatepass"))
    try:
        listed = read_pairs(tree, path, folds=1)
    except HarnessError as error:
        named = str(tree.parent) in str(error)
        assert named
    else:
        assert all(file.is_relative_to(tree) for file in listed.files)


def labelled(listed: PairList) -> list[tuple[str, str, bool, int]]:
    """(first file, second file, same, fold) of every pair."""
    names = [file.name for file in listed.files]
    columns = (listed.a.tolist(), listed.b.tolist(), listed.same.tolist(), listed.fold.tolist())
    return [(names[a], names[b], same, fold) for a, b, same, fold in zip(*columns, strict=True)]


def test_lfw_without_folds(tree: Path) -> None:
    """``pairsDevTest.txt``: the number of pairs per kind, first the genuine ones; RFW leaves out the number as well."""
    lines = ["Bo 1 2", "Bo 3 4", "Bo 1 Ann_Lee 1", "Bo 2 Ann_Lee 2"]
    for text in ("\n".join(["2", *lines]), "\n".join(lines)):
        (tree / "pairs.txt").write_text(text)
        listed = read_pairs(tree, folds=2)
        assert labelled(listed) == [
            ("Bo_0001.png", "Bo_0002.png", True, 0),
            ("Bo_0003.png", "Bo_0004.png", True, 1),
            ("Bo_0001.png", "Ann_Lee_0001.png", False, 0),
            ("Bo_0002.png", "Ann_Lee_0002.png", False, 1),
        ], "every fold has both kinds"
        assert listed.identities.tolist() == [1, 1, 1, 1, 0, 0]


def test_two_lines_for_a_pair(tmp_path: Path, encode: Encode) -> None:
    """CALFW and CPLFW: files in one folder, called after people, and the label behind each of two lines."""
    for number, name in enumerate(("Ann_Lee_0001", "Ann_Lee_0002", "Bo_0001")):
        (tmp_path / f"{name}.jpg").write_bytes(encode(number, "JPEG"))
    path = tmp_path / "pairs_CPLFW.txt"
    path.write_text("Ann_Lee_0001.jpg 1\nAnn_Lee_0002.jpg 1\nAnn_Lee_0001.jpg 0\nBo_0001.jpg 0\n")
    listed = read_pairs(tmp_path, path, folds=2)
    expected = [("Ann_Lee_0001.jpg", "Ann_Lee_0002.jpg", True, 0), ("Ann_Lee_0001.jpg", "Bo_0001.jpg", False, 1)]
    assert labelled(listed) == expected
    assert listed.identities.tolist() == [0, 0, 1]
    path.write_text("Ann_Lee_0001.jpg 1\nAnn_Lee_0002.jpg 0\n")
    with pytest.raises(DataError, match=r"line 1: .*expected a file and a number, the same in the next line"):
        read_pairs(tmp_path, path, folds=1)
    path.write_text("Ann_Lee_0001.jpg 1\nAnn_Lee_0002.jpg 1\nBo_0001.jpg 0\n")
    with pytest.raises(DataError, match="3 lines; expected two for every pair"):
        read_pairs(tmp_path, path, folds=1)


def test_cfp(tmp_path: Path, encode: Encode) -> None:
    """CFP: pairs number the lines of two lists, whose paths start beside the list's folder."""
    lists: dict[str, list[str]] = {"F": [], "P": []}
    for person in ("001", "002"):
        for side, letter, count in (("frontal", "F", 2), ("profile", "P", 1)):
            for number in range(1, count + 1):
                file = tmp_path / "Data" / "Images" / person / side / f"{number:02d}.jpg"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(encode(number, "JPEG"))
                lists[letter].append(f"{len(lists[letter]) + 1} ../{file.relative_to(tmp_path).as_posix()}")
    for letter, lines in lists.items():
        (tmp_path / "Protocol").mkdir(exist_ok=True)
        (tmp_path / "Protocol" / f"Pair_list_{letter}.txt").write_text("\n".join(lines) + "\n")
    pairs = {"FP/01/same": "1,1\n", "FP/01/diff": "1,2\n", "FP/02/same": "4,2", "FP/02/diff": "3,1"}
    pairs |= {"FF/01/same": "1,2\n", "FF/01/diff": "1,3\n"}
    for name, text in pairs.items():
        file = tmp_path / "Protocol" / "Split" / f"{name}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def read(split: str) -> list[tuple[str, str, bool, int]]:
        listed = read_pairs(tmp_path, tmp_path / "Protocol" / "Split" / split)
        assert ((listed.identities[listed.a] == listed.identities[listed.b]) == listed.same).all()
        short = ["/".join(file.parts[-3:]) for file in listed.files]
        rows = zip(listed.a.tolist(), listed.b.tolist(), listed.same.tolist(), listed.fold.tolist(), strict=True)
        return [(short[a], short[b], same, fold) for a, b, same, fold in rows]

    assert read("FP") == [
        ("001/frontal/01.jpg", "001/profile/01.jpg", True, 0),
        ("001/frontal/01.jpg", "002/profile/01.jpg", False, 0),
        ("002/frontal/02.jpg", "002/profile/01.jpg", True, 1),
        ("002/frontal/01.jpg", "001/profile/01.jpg", False, 1),
    ]
    assert read("FF")[0] == ("001/frontal/01.jpg", "001/frontal/02.jpg", True, 0)
    (tmp_path / "Protocol" / "Split" / "FP" / "01" / "same.txt").write_text("1,9\n")
    with pytest.raises(DataError, match=r"same.txt: line 1: '1,9'; expected two numbers of the lists in"):
        read("FP")


def test_names_instead_of_files(tree: Path) -> None:
    names = [file.relative_to(tree).as_posix() for file in sorted(tree.glob("*/*.png"))]
    path = tree.parent / "list.txt"
    path.write_text(unicodedata.normalize("NFD", LFW), encoding="utf-8")
    by_file, by_name = read_pairs(tree, path), read_pairs(Named(names), path)
    assert [tree / file for file in by_name.files] == by_file.files
    assert labelled(by_name) == labelled(by_file)
    path.write_text("Bo/Bo_0001.png Bo/Bo_0002.png 1\n")
    with pytest.raises(DataError, match=r"line 1: no 'Bo/Bo_0001.png' in the source; expected one"):
        read_pairs(Named(names[:4]), path, folds=1)
    with pytest.raises(DataError, match=r"line 1: 2 pictures of the source are called 'Bo/Bo_0001.png'"):
        read_pairs(Named(names * 2), path, folds=1)


def test_a_group_column(tree: Path) -> None:
    rows = ["a,b,same,group", "Bo/Bo_0001.png,Bo/Bo_0002.png,1,north", "Bo/Bo_0001.png,Ann_Lee/Ann_Lee_0001.png,0,"]
    (tree / "pairs.csv").write_text("\n".join(rows))
    assert read_pairs(tree, folds=1).group.tolist() == ["north", ""]
    (tree / "pairs.csv").write_text("\n".join(row.rpartition(",")[0] for row in rows))
    assert read_pairs(tree, folds=1).group is None
    text = "\n".join([rows[0], "Bo/Bo_0001.png,Bo/Bo_0002.png,1"])
    assert "line 2: 'Bo/Bo_0001.png,Bo/Bo_0002.png,1'; expected 4 fields, the last a group" in refused(
        tree, text, "pairs.csv"
    )


def test_rfw_as_a_whole(tmp_path: Path, encode: Encode) -> None:
    """RFW: a list for each group, beside lists of other things, and pictures in the folders of the groups."""
    data, lists = tmp_path / "data", tmp_path / "txts"
    for group in ("African", "Indian"):
        for number, person in enumerate(("m.01", "m.02")):
            for image in (1, 2):
                path = data / group / person / f"{person}_{image:04d}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(encode(number, "JPEG"))
        (lists / group).mkdir(parents=True)
        text = "m.01\t1\t2\nm.02\t1\t2\nm.01\t1\tm.02\t1\nm.01\t2\tm.02\t2\n"
        (lists / group / f"{group}_pairs.txt").write_text(text)
        (lists / group / f"{group}_people.txt").write_text("m.01\t2\n")
    listed = read_pairs(data, lists, folds=2)
    assert listed.group.tolist() == ["African"] * 4 + ["Indian"] * 4
    assert listed.fold.tolist() == [0, 1, 0, 1] * 2
    assert listed.same.tolist() == [True, True, False, False] * 2
    assert listed.files[0] == data / "African" / "m.01" / "m.01_0001.jpg"
    (lists / "Indian" / "Indian_pairs.txt").write_text("../African/m.01\t1\t2\n")
    with pytest.raises(DataError, match="expected a path within the folder of the images"):
        read_pairs(data, lists, folds=1)
