"""``harness data`` on every format; conversions keep every byte."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from harness.builtin.images import ImagesSettings, ImagesSource
from harness.builtin.mtcnn import MTCNNAligner
from harness.cli.data import data
from harness.components import Run
from harness.data import survey
from harness.data.bins import BinFile, write_bin
from harness.data.datasets import FolderData, open_dataset
from harness.data.recordio import RecordFile, RecordWriter
from harness.data.survey import Audit, audit_images, judge_audit
from harness.errors import DataError, InputError
from harness.faces.crops import reference_landmarks
from harness.faces.warp import similarity, warp
from harness.faceworld.render import render

SAME = [True, False, True, True, False, False, True, False, True, False, True, False]


@pytest.fixture
def bin_path(tmp_path: Path, faces: list[bytes]) -> Path:
    write_bin(tmp_path / "faces.bin", faces, SAME)
    return tmp_path / "faces.bin"


@pytest.fixture
def rec_path(tmp_path: Path, faces: list[bytes]) -> Path:
    (tmp_path / "rec").mkdir()
    with RecordWriter(tmp_path / "rec" / "train.rec") as writer:
        for number, face in enumerate(faces[:9]):
            writer.add([3, 3, 3, 3, 7, 20, 20, 20, 20][number], face)
    return tmp_path / "rec" / "train.rec"


def call(*args: object, fails: bool = False) -> Result:
    result = CliRunner().invoke(data, [str(arg) for arg in args], catch_exceptions=True)
    assert fails or result.exit_code == 0, result.output
    return result


def refused(*args: object) -> str:
    with pytest.raises((DataError, InputError)) as caught:
        CliRunner().invoke(data, [str(arg) for arg in args], catch_exceptions=False)
    return str(caught.value)


def inspected(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(call("inspect", path, "--json").output)
    return found


def test_inspect_bin(bin_path: Path) -> None:
    found = inspected(bin_path)
    assert (found["kind"], found["images"], found["genuine"], found["impostor"]) == ("bin", 24, 6, 6)
    assert found["identities"] is None, "a .bin does not say who is shown"
    assert (found["sizes"], found["formats"]) == ({"16x16": 24}, {"PNG": 16, "JPEG": 8})
    text = call("inspect", bin_path).output
    assert "faces.bin: bin, 24 images\npairs       6 genuine, 6 impostor\nsizes       16x16 (24)\n" in text


def test_inspect_recordio(rec_path: Path) -> None:
    found = inspected(rec_path.parent)
    assert (found["kind"], found["images"], found["identities"]) == ("recordio", 9, 3)
    assert found["per_identity"] == [1, 4]
    assert "identities  3 with 1 to 4 images" in call("inspect", rec_path).output


def test_bin_to_folder_and_back(bin_path: Path, faces: list[bytes], tmp_path: Path) -> None:
    assert "wrote 24 images" in call("unpack", bin_path, tmp_path / "out").output
    lines = (tmp_path / "out" / "pairs.csv").read_text().splitlines()
    assert lines[:3] == ["a,b,same", "images/000000.jpg,images/000001.png,1", "images/000002.png,images/000003.jpg,0"]
    assert (tmp_path / "out" / "images" / "000001.png").read_bytes() == faces[1]
    call("pack", tmp_path / "out", tmp_path / "again.bin")
    assert (tmp_path / "again.bin").read_bytes() == bin_path.read_bytes()
    call("pack", tmp_path / "out", tmp_path / "old.bin", "--dialect", "python2")
    assert BinFile(tmp_path / "old.bin").content() == BinFile(bin_path).content()
    assert inspected(tmp_path / "out")["content"] == inspected(bin_path)["content"]


def test_bin_to_parquet(bin_path: Path, faces: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.data.transfer.SHARD_IMAGES", 10)
    monkeypatch.setattr("harness.data.transfer.GROUP_IMAGES", 4)
    call("convert", bin_path, tmp_path / "out")
    files = sorted((tmp_path / "out" / "shards").iterdir())
    assert [pq.read_metadata(file).num_rows for file in files] == [10, 10, 4]
    assert list(open_dataset(tmp_path / "out").encoded()) == faces
    found, before = inspected(tmp_path / "out"), inspected(bin_path)
    assert found["content"] == before["content"]
    assert (found["kind"], found["genuine"], found["impostor"]) == ("parquet", 6, 6)


def test_recordio_to_folder_and_back(rec_path: Path, faces: list[bytes], tmp_path: Path) -> None:
    call("unpack", rec_path, tmp_path / "out")
    assert (tmp_path / "out" / "7" / "5.png").read_bytes() == faces[4]
    (tmp_path / "again").mkdir()
    call("pack", tmp_path / "out", tmp_path / "again" / "train.rec")
    for suffix in (".rec", ".idx"):
        assert (tmp_path / "again" / f"train{suffix}").read_bytes() == rec_path.with_suffix(suffix).read_bytes()
    assert inspected(tmp_path / "out")["content"] == inspected(rec_path)["content"]


def test_recordio_to_parquet(rec_path: Path, faces: list[bytes], tmp_path: Path) -> None:
    call("convert", rec_path, tmp_path / "out")
    assert inspected(tmp_path / "out")["content"] == inspected(rec_path)["content"]
    source = ImagesSource(ImagesSettings(path=tmp_path / "out"))
    plan = source.plan(Run(0))
    assert plan.identities.tolist() == [3] * 4 + [7] + [20] * 4, "sources of kind images read it"
    assert plan.samples.tolist() == [0, 1, 2, 3, 0, 0, 1, 2, 3]
    assert sum(len(batch) for batch in source.sample(plan, Run(0))) == 9


def test_folders_of_names(tree: Path, tmp_path: Path) -> None:
    call("pack", tree, tmp_path / "train.rec")
    _, identities, _ = RecordFile(tmp_path / "train.rec").images()
    assert identities.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert "2\tZoë_Müller/Zoë_Müller_0004.png" in (tmp_path / "train.lst").read_text(encoding="utf-8")


def test_refusals(bin_path: Path, rec_path: Path, tree: Path, tmp_path: Path) -> None:
    assert "there is no such file or folder" in refused("inspect", tmp_path / "none")
    assert "expected a .bin or .rec file, or a folder" in refused("inspect", rec_path.with_suffix(".idx"))
    assert "it is a folder data set; expected a .bin or .rec file to unpack" in refused("unpack", tree, tmp_path / "x")
    (tmp_path / "stored").mkdir()
    (tmp_path / "stored" / "items.parquet").touch()
    assert "harness data export" in refused("unpack", tmp_path / "stored", tmp_path / "x")
    assert "exists and is not an empty folder" in refused("unpack", bin_path, tree)
    assert "exists and is not an empty folder" in refused("convert", bin_path, rec_path)
    assert "expected a folder with pairs for .bin" in refused("pack", tree, tmp_path / "x.bin")
    assert "faces.bin exists; remove it" in refused("pack", tree, bin_path)
    (tmp_path / "empty").mkdir()
    assert "no image found; expected NAME/IMAGE" in refused("check", tmp_path / "empty")
    (tree / "Bo" / "Bo_0002.png").write_bytes(b"junk")
    assert "Bo_0002.png: not a readable image" in refused("pack", tree, tmp_path / "x.rec")
    assert not list(tmp_path.glob("x.rec*"))
    assert "there is no folder" in refused("pack", tree, tmp_path / "none" / "x.rec")


def test_damaged_parquet(bin_path: Path, tmp_path: Path) -> None:
    call("convert", bin_path, tmp_path / "out")
    (shard,) = (tmp_path / "out" / "shards").iterdir()
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    assert "expected parquet with identity and image {bytes, path}" in refused("inspect", tmp_path / "out")
    shard.write_bytes(whole)
    pairs = tmp_path / "out" / "pairs.csv"
    pairs.write_text(pairs.read_text().replace("000003", "999999"))
    assert "pairs.csv: line 3: no image is called 'images/999999.jpg'" in refused("inspect", tmp_path / "out")


def checked(path: Path) -> dict[str, Any]:
    result = call("check", path, "--json", fails=True)
    found: dict[str, Any] = json.loads(result.output)
    assert result.exit_code == (1 if found["problems"] else 0)
    return found


def test_check_sound_data(bin_path: Path, rec_path: Path, tree: Path) -> None:
    for path in (bin_path, rec_path, tree):
        assert checked(path)["problems"] == []
    assert "no problem found" in call("check", bin_path).output


def test_check_names_what_cannot_be_read(faces: list[bytes], tmp_path: Path) -> None:
    write_bin(tmp_path / "a.bin", [*faces[:3], b"junk", *faces[4:23], faces[23][:100]], SAME)
    problems = checked(tmp_path / "a.bin")["problems"]
    assert [problem.split(": not")[0].split("a.bin: ")[1] for problem in problems] == ["image 3", "image 23"]
    assert inspected(tmp_path / "a.bin")["unreadable"] == 1, "the cut one still has a header"
    write_bin(tmp_path / "b.bin", [b"junk"] * 60, [True] * 30)
    problems = checked(tmp_path / "b.bin")["problems"]
    assert problems[0] == "60 images cannot be read; the first 20 are listed"
    assert len(problems) == 21, "images without pixels are no duplicates of one another"


def test_check_sizes_and_duplicates(tree: Path, encode: Callable[..., bytes]) -> None:
    (tree / "Bo" / "Bo_0002.png").write_bytes(encode(1, size_px=20))
    shutil.copy(tree / "Ann_Lee" / "Ann_Lee_0003.png", tree / "Bo" / "Bo_0003.png")
    shutil.copy(tree / "Ann_Lee" / "Ann_Lee_0001.png", tree / "Ann_Lee" / "Ann_Lee_0002.png")
    found = checked(tree)
    assert found["problems"][0] == "images of 2 sizes: 16x16 (11), 20x20 (1)"
    assert found["problems"][1].endswith("Bo_0003.png: 2 identities")
    assert found["notes"] == ["2 images repeat the pixels of another"]


def test_check_pairs_that_contradict_themselves(faces: list[bytes], tmp_path: Path) -> None:
    write_bin(tmp_path / "a.bin", [*faces[:2], faces[2], faces[2], *faces[4:]], SAME)
    (problem,) = checked(tmp_path / "a.bin")["problems"]
    assert problem == "pair 1 is said to show two people, and its images have the same pixels"


def test_check_names_that_clash(tree: Path, encode: Callable[..., bytes]) -> None:
    (tree / "Bo" / "bo_0001.PNG").write_bytes(encode(999))
    (problem,) = checked(tree)["problems"]
    assert problem.endswith("Bo_0001.png and bo_0001.PNG differ only in case or Unicode form")
    found = open_dataset(tree)
    assert isinstance(found, FolderData)
    assert found.labels == ["Ann_Lee", "Bo", "Zoë_Müller"]


def test_check_names_empty_identities(tree: Path, tmp_path: Path, faces: list[bytes]) -> None:
    (tree / "Cy").mkdir()
    (problem,) = checked(tree)["problems"]
    assert problem == f"{tree / 'Cy'}: no image in it"
    path = tmp_path / "train.rec"
    with RecordWriter(path) as writer:
        for identity, face in zip([0, 0, 1], faces, strict=False):
            writer.add(identity, face)
    assert checked(path)["problems"] == []
    data = path.read_bytes()
    last = RecordFile(path).index[1][-1]  # the record of identity 1, whose range is made empty
    whole = bytearray(data)
    whole[last + 32 : last + 40] = struct.pack("<2f", 4, 4)
    path.write_bytes(whole)
    (problem,) = checked(path)["problems"]
    assert problem == f"{path}: record at byte {last:,}: an identity without images"


def test_check_tells_what_it_does_not_read(tree: Path, rec_path: Path) -> None:
    (tree / "readme.txt").write_text("")
    (tree / "Bo" / "more").mkdir()
    assert checked(tree)["notes"] == ["2 files and folders are not NAME/IMAGE and were not read"]
    index = rec_path.with_suffix(".idx")
    index.write_text("".join(index.read_text().splitlines(keepends=True)[:10]))
    (problem,) = checked(rec_path)["problems"]
    assert problem.endswith("train.rec: 13 records, of which the index lists 10")


def test_pipes_are_not_waited_for(tmp_path: Path, tree: Path) -> None:
    for name in ("a.bin", "a.rec"):
        os.mkfifo(tmp_path / name)
        assert "expected a .bin or .rec file" in refused("inspect", tmp_path / name)
    os.mkfifo(tree / "Bo" / "x.png")
    (tree / "pairs.txt").write_text("Bo/x.png Bo/Bo_0001.png 1\n")
    assert "x.png: cannot be read (it is no file); expected an image" in refused("inspect", tree)


# The audit


def test_audit_finds_planted_faults() -> None:
    count = 6
    drawn = render(0, range(400_000, 400_000 + count), [0] * count, "mild", 112)
    assert drawn.landmarks is not None
    crops = warp(drawn.images, similarity(drawn.landmarks, reference_landmarks(112)), 112)
    aligner = MTCNNAligner()
    sound = audit_images(list(crops), aligner)
    assert judge_audit(sound) == []
    assert sound.found == count
    assert sound.residual_px < 5
    (shifted,) = judge_audit(audit_images(list(np.roll(crops, 8, axis=2)), aligner))
    assert shifted.startswith("alignment: faces are shifted by (+")
    swapped = judge_audit(audit_images([np.ascontiguousarray(crop[..., ::-1]) for crop in crops], aligner))
    assert any(problem.startswith("color order:") for problem in swapped)
    (faceless,) = judge_audit(audit_images([np.full((112, 112, 3), 90, np.uint8)] * 2, aligner))
    assert faceless == "alignment: MTCNN finds a face in 0 of 2 images; are they faces?"


def test_audit_on_the_command_line(bin_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []

    def audit(images: list[Any], aligner: Any) -> Audit:
        assert isinstance(aligner, MTCNNAligner)
        taken.append(len(images))
        return Audit(8, 8, 9.5, (0.0, 0.5), 8, 0.25)

    monkeypatch.setattr(survey, "audit_images", audit)
    monkeypatch.setattr(survey, "AUDIT_IMAGES", 8)
    result = call("check", bin_path, "--audit", fails=True)
    assert result.exit_code == 1
    assert taken == [8], "a sample, spread evenly"
    assert "audit: faces in 8 of 8, 9.5 px of 112 from the reference, shift (+0.0, +0.5) px, 25% of 8" in result.output
    assert "problem: alignment: landmarks lie 9.5 px of 112 from the ArcFace reference" in result.output
    assert "problem: color order: 75% of 8 colored images have more blue than red" in result.output


# What is killed, and what goes on

KILLED = """
import os, sys
from pathlib import Path
from harness.data import transfer

written = 0
read_header = transfer.read_header

def die_at_the_tenth(data, where):
    global written
    written += 1
    if written == 10:
        os.kill(os.getpid(), 9)
    return read_header(data, where)

transfer.read_header = die_at_the_tenth
getattr(transfer, sys.argv[1])(Path(sys.argv[2]), Path(sys.argv[3]))
"""


@pytest.mark.parametrize("verb", ["unpack", "convert"])
def test_what_was_killed_leaves_nothing_that_passes_for_whole(verb: str, bin_path: Path, tmp_path: Path) -> None:
    out = tmp_path / "faces"
    done = subprocess.run([sys.executable, "-c", KILLED, verb, str(bin_path), str(out)], check=False)
    assert done.returncode == -9
    assert not out.exists()
    (left,) = tmp_path.glob(".faces.partial-*")
    assert any(left.rglob("*"))
    call(verb, bin_path, out)
    assert inspected(out)["content"] == inspected(bin_path)["content"]


def test_what_failed_leaves_nothing(faces: list[bytes], tmp_path: Path) -> None:
    write_bin(tmp_path / "a.bin", [*faces[:5], b"junk", *faces[6:]], SAME)
    (tmp_path / "empty").mkdir()
    for verb, out in (("unpack", "new"), ("convert", "empty")):
        assert "image 5: not a readable image" in refused(verb, tmp_path / "a.bin", tmp_path / out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.bin", "empty"]
    assert not any((tmp_path / "empty").iterdir())


def test_check_goes_on_after_a_damaged_record(rec_path: Path) -> None:
    keys, offsets = RecordFile(rec_path).index
    data = bytearray(rec_path.read_bytes())
    for key in (3, 7):
        data[offsets[key]] ^= 1  # the magic word
    data[offsets[5] + 12 : offsets[5] + 16] = struct.pack("<f", 0.5)  # the label
    data[offsets[9] + 32 : offsets[9] + 40] = bytes(8)  # the image
    rec_path.write_bytes(data)
    problems = "\n".join(checked(rec_path)["problems"])
    for key, what in (
        (3, "expected the magic"),
        (7, "expected the magic"),
        (5, "label 0.5 is no identity"),
        (9, "not a readable image"),
    ):
        assert f"record at byte {offsets[key]:,}: " in problems or f"record {keys[key]}: " in problems
        assert what in problems


def test_check_goes_on_after_a_damaged_file(tree: Path, bin_path: Path, rec_path: Path, tmp_path: Path) -> None:
    """Of a pair folder two files are gone; of parquet a file and a page are damaged; of a .bin the end is cut."""
    (tree / "pairs.txt").write_text("".join(f"Bo/Bo_000{n}.png\tAnn_Lee/Ann_Lee_000{n}.png\t0\n" for n in range(1, 5)))
    for gone in ("Bo/Bo_0002.png", "Ann_Lee/Ann_Lee_0004.png"):
        (tree / gone).unlink()
        (tree / gone).mkdir()
    problems = checked(tree)["problems"]
    assert [problem.split(": ")[0] for problem in problems] == [
        *(str(tree / gone) for gone in ("Bo/Bo_0002.png", "Ann_Lee/Ann_Lee_0004.png"))
    ]
    call("convert", rec_path, tmp_path / "out")
    (shard,) = (tmp_path / "out" / "shards").iterdir()
    whole = shard.read_bytes()
    shard.with_name("b.parquet").write_bytes(whole[:-9])
    chunk = pq.read_metadata(shard).row_group(0).column(2)
    at = chunk.dictionary_page_offset or chunk.data_page_offset
    shard.with_name("c.parquet").write_bytes(whole[:at] + bytes(9) + whole[at + 9 :])
    problems = checked(tmp_path / "out")["problems"]
    assert "b.parquet: expected parquet with identity" in problems[0]
    assert "c.parquet: page at byte" in problems[1]


def test_names_of_files_are_text(tree: Path) -> None:
    for name in ("\x1b[2J.png", "a\nproblem: b.png", "\u202egnp.png"):
        (tree / "Bo" / name).write_bytes(b"junk")
    (tree / os.fsdecode(b"\xff")).mkdir()
    text = call("check", tree, fails=True).output
    assert text.replace("\n", "").isprintable()
    for name in (r"\x1b[2J.png", r"a\nproblem: b.png", r"\u202egnp.png", r"\udcff"):
        assert name in text
    assert len(text.splitlines()) == 5
    assert len(checked(tree)["problems"]) == 4
