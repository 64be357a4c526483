"""The released files of IJB-B and IJB-C: what they say is what is evaluated, and faults are one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from harness.builtin.ijb_files import IJBB, IJBC, IJBFilesSettings
from harness.builtin.mtcnn import MTCNNAligner
from harness.cli.data import data
from harness.components import Crop, Run, TemplateSet
from harness.data import ijb
from harness.data.datasets import open_dataset
from harness.data.ijb import IJBFolder, find_release
from harness.data.ijb_identification import read_galleries
from harness.data.survey import Audit, audit_images, judge_audit
from harness.errors import DataError, HarnessError, InputError
from harness.faces.crops import reference_landmarks
from harness.faces.faceset import FaceSet
from harness.faces.warp import similarity, warp
from harness.faceworld.render import render
from harness.graph import ProtocolStage
from harness.stages import protocol as protocol_stage
from harness.stages.opening import open_protocol
from harness.stages.work import Work
from harness.store.artifacts import Artifact, Manifest, Store
from harness.testing import check_own_code, check_source

# Three subjects with two templates each, numbered with gaps; the first template has a clip, the others one still.
TEMPLATES = [7, 7, 7, 12, 30, 31, 500, 501]
MEDIA = [90, 91, 91, 90, 90, 94, 95, 96]
PAIRS = [(7, 12, 1), (30, 31, 1), (501, 500, 1), (7, 30, 0), (12, 501, 0), (31, 500, 0), (7, 501, 0)]
NAMES = [f"{number}.png" for number in range(1, 9)]
MEDIA_NAME, POINTS_NAME, PAIRS_NAME = (
    f"ijbc_{name}" for name in ("face_tid_mid.txt", "name_5pts_score.txt", "template_pair_label.txt")
)


@pytest.fixture(scope="session")
def drawn() -> list[tuple[np.ndarray, np.ndarray]]:
    """Loose crops of different sizes with their landmarks: rendered faces within a margin."""
    out = []
    for place, person in enumerate([0, 0, 0, 0, 1, 1, 2, 2]):
        made = render(0, [400_000 + person], [place], "mild", 64)
        margin = 3 * place
        image = np.pad(made.images[0], ((margin, 5), (margin, 0), (0, 0)), constant_values=90)
        out.append((image, made.landmarks[0] + margin))
    return out


@pytest.fixture
def folder(tmp_path: Path, drawn: list[tuple[np.ndarray, np.ndarray]]) -> Path:
    root = tmp_path / "IJBC"
    (root / "loose_crop").mkdir(parents=True)
    (root / "meta").mkdir()
    points = []
    for place, (name, (image, landmarks)) in enumerate(zip(NAMES, drawn, strict=True)):
        Image.fromarray(image).save(root / "loose_crop" / name)
        points.append(f"{name} {' '.join(f'{value:.3f}' for value in landmarks.reshape(-1))} {0.9 - place / 20:.3f}")
    write(root, MEDIA_NAME, [f"{n} {t} {m}" for n, t, m in zip(NAMES, TEMPLATES, MEDIA, strict=True)])
    write(root, POINTS_NAME, points)
    write(root, PAIRS_NAME, [" ".join(map(str, pair)) for pair in PAIRS])
    return root


def write(root: Path, name: str, lines: list[str]) -> None:
    (root / "meta" / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def read(root: Path, name: str) -> list[str]:
    return (root / "meta" / name).read_text(encoding="utf-8").splitlines()


def refused(root: Path, release: Any = "ijbc") -> str:
    """The error of reading everything; one line that starts with the file."""
    with pytest.raises(HarnessError) as caught:
        _ = IJBFolder(root, release).pairs
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(str(root))
    return text.removeprefix(f"{root / 'meta'}/")


def test_what_is_read(folder: Path, drawn: Any) -> None:
    found = IJBFolder(folder, "ijbc")
    assert found.faces.template.tolist() == [0, 0, 0, 1, 2, 3, 4, 5]
    assert found.faces.template_ids.tolist() == [7, 12, 30, 31, 500, 501]
    assert found.faces.media.tolist() == MEDIA
    np.testing.assert_allclose(found.faces.landmarks, [points for _, points in drawn], atol=1e-3)
    np.testing.assert_allclose(found.faces.score, 0.9 - np.arange(8) / 20, atol=1e-6)
    assert found.pairs.a.tolist() == [0, 2, 5, 0, 1, 3, 0]
    assert found.pairs.b.tolist() == [1, 3, 4, 2, 5, 4, 5]
    assert found.pairs.same.tolist() == [True] * 3 + [False] * 4
    assert found.pairs.a.dtype == np.int32, "15.7 million pairs are kept small"
    groups = found.subjects
    assert groups[0] == groups[1]
    assert len(set(groups.tolist())) == 3


def test_small_blocks_give_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list longer than a block is put together, and rows are counted through."""
    lines = read(folder, PAIRS_NAME) * 300
    write(folder, PAIRS_NAME, lines)
    whole = IJBFolder(folder, "ijbc").pairs
    monkeypatch.setattr(ijb, "_BLOCK_BYTES", 512)
    parts = IJBFolder(folder, "ijbc").pairs
    assert all(np.array_equal(getattr(whole, name), getattr(parts, name)) for name in ("a", "b", "same"))
    write(folder, PAIRS_NAME, [*lines, "7 8 0"])
    assert refused(folder).startswith(f"{PAIRS_NAME}: row 2101, template 2: template 8 has no image")


Change = Callable[[list[str]], list[str]]


def replaced(row: int, old: str, new: str) -> Change:
    return lambda lines: [*lines[:row], lines[row].replace(old, new, 1), *lines[row + 1 :]]


HOSTILE: dict[str, tuple[str, Change, str]] = {
    "a template without images": (
        PAIRS_NAME,
        replaced(3, "30", "29"),
        "row 4, template 2: template 29 has no image in ijbc_face_tid_mid.txt; expected a template that has",
    ),
    "a word for a number": (
        PAIRS_NAME,
        replaced(1, "31", "x"),
        "row 2, template 2: invalid value 'x'; expected a whole number below 2^31",
    ),
    "a number too large": (
        PAIRS_NAME,
        replaced(1, "31", "99999999999"),
        "row 2, template 2: invalid value '99999999999'; expected a whole number below 2^31",
    ),
    "another label": (PAIRS_NAME, replaced(0, "12 1", "12 2"), "row 1: the label is 2; expected 1 (same person) or 0"),
    "no label at all": (
        PAIRS_NAME,
        replaced(0, "12 1", "12 yes"),
        "row 1, label: invalid value 'yes'; expected 0 or 1",
    ),
    "a pair of one template": (
        PAIRS_NAME,
        replaced(3, "30", "7"),
        "row 4: template 7 is paired with itself; expected two templates",
    ),
    "a short row": (
        PAIRS_NAME,
        replaced(2, " 1", ""),
        "row 3: 2 fields, '501 500'; expected template 1 template 2 label, separated by single spaces",
    ),
    "tabs": (
        PAIRS_NAME,
        replaced(0, "7 12 1", "7\t12\t1"),
        "row 1: 1 fields, '7 12 1'; expected template 1 template 2 label, separated by single spaces",
    ),
    "no pair": (PAIRS_NAME, lambda lines: [], "it is empty; expected rows of template 1 template 2 label"),
    "blank lines alone": (
        PAIRS_NAME,
        lambda lines: ["", ""],
        "it is empty; expected rows of template 1 template 2 label",
    ),
    "genuine pairs alone": (PAIRS_NAME, lambda lines: lines[:3], "3 genuine and 0 impostor pairs; expected both kinds"),
    "impostor pairs alone": (
        PAIRS_NAME,
        lambda lines: lines[3:],
        "0 genuine and 4 impostor pairs; expected both kinds",
    ),
    "no image": (MEDIA_NAME, lambda lines: [], "it is empty; expected rows of image template medium"),
    "an image twice": (
        MEDIA_NAME,
        replaced(5, "6.png", "2.png"),
        "row 6, image: '2.png' stands in row 2 already; expected each image once",
    ),
    "a way out of the folder": (
        MEDIA_NAME,
        replaced(5, "6.png", "../6.png"),
        "row 6, image: '../6.png'; expected the name of a file in loose_crop",
    ),
    "the folder itself": (
        MEDIA_NAME,
        replaced(5, "6.png", ".."),
        "row 6, image: '..'; expected the name of a file in loose_crop",
    ),
    "a medium that is no number": (
        MEDIA_NAME,
        replaced(1, "91", "9.1"),
        "row 2, medium: invalid value '9.1'; expected a whole number",
    ),
    "other images": (
        POINTS_NAME,
        lambda lines: [lines[1], lines[0], *lines[2:]],
        f"row 1 is of image '2.png', and of '1.png' in {MEDIA_NAME}; expected the same images in the same order",
    ),
    "a row missing": (
        POINTS_NAME,
        lambda lines: lines[:-1],
        f"7 rows, and 8 in {MEDIA_NAME}; expected the same images in the same order",
    ),
    "a landmark missing": (
        POINTS_NAME,
        lambda lines: [lines[0].rsplit(" ", 1)[0], *lines[1:]],
        "row 1: 11 fields, ",
    ),
    "a landmark that is no number": (
        POINTS_NAME,
        lambda lines: [f"1.png nan {' '.join(lines[0].split()[2:])}", *lines[1:]],
        "row 1: a landmark is not a finite number; expected x1 y1 .. x5 y5 in pixels",
    ),
    "landmarks in one point": (
        POINTS_NAME,
        lambda lines: [*lines[:2], f"3.png {'5 ' * 10}0.9", *lines[3:]],
        "row 3: all landmarks lie in one point; expected eyes, nose and mouth corners",
    ),
    "a negative score": (
        POINTS_NAME,
        replaced(0, " 0.900", " -0.900"),
        "row 1: the detector score is negative or not finite; expected 0 to 1",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_faults_are_one_line(case: str, folder: Path) -> None:
    name, change, expected = HOSTILE[case]
    write(folder, name, change(read(folder, name)))
    assert refused(folder).startswith(f"{name}: {expected}")


def test_bytes_that_are_no_text(folder: Path) -> None:
    path = folder / "meta" / MEDIA_NAME
    path.write_bytes(path.read_bytes().replace(b"2.png", b"\xff.png"))
    assert refused(folder) == f"{MEDIA_NAME}: row 2, image: invalid UTF8 data; expected a name in UTF-8"
    path.write_bytes(b"\0" * (9 << 20))
    assert refused(folder).startswith(f"{MEDIA_NAME}: a row is longer than 4,194,304 bytes")


TOKENS = st.sampled_from(
    ["7", "12", "501", "0", "1", "-1", "1.png", "2.png", "nan", "1e99", "", " ", "\t", "\n", '"', "é"]
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), name=st.sampled_from([MEDIA_NAME, POINTS_NAME, PAIRS_NAME]))
def test_any_lists(data: st.DataObject, name: str, folder: Path, lists: dict[str, bytes]) -> None:
    """Changed, cut and added text is one line that names the file, or it is read to the last row."""
    whole = bytearray(lists[name])
    for _ in range(data.draw(st.integers(0, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    whole = whole[: data.draw(st.one_of(st.none(), st.integers(0, len(whole))))]
    whole += " ".join(data.draw(st.lists(TOKENS, max_size=8))).replace(" \n ", "\n").encode()
    for other, text in lists.items():
        (folder / "meta" / other).write_bytes(whole if other == name else text)
    try:
        found = IJBFolder(folder, "ijbc")
        pairs, subjects = found.pairs, found.subjects
    except DataError as error:
        message = str(error)
        assert message.startswith(str(folder / "meta"))
        assert len(message.splitlines()) == 1
    else:
        rows = {file.name: sum(map(bool, file.read_bytes().splitlines())) for file in found.files()}
        assert rows == {
            MEDIA_NAME: len(found.faces.names),
            POINTS_NAME: len(found.faces.score),
            PAIRS_NAME: len(pairs.a),
        }
        assert max(pairs.a.max(), pairs.b.max()) < len(subjects) == len(found.faces.template_ids)
        assert np.isfinite(found.faces.landmarks).all()


@pytest.fixture
def lists(folder: Path) -> dict[str, bytes]:
    """The three text files as they were written."""
    return {name: (folder / "meta" / name).read_bytes() for name in (MEDIA_NAME, POINTS_NAME, PAIRS_NAME)}


def test_missing_files_and_folders(folder: Path) -> None:
    (folder / "meta" / PAIRS_NAME).unlink()
    assert refused(folder) == f"{PAIRS_NAME}: there is no such file; expected the ijbc release, unpacked"
    assert refused(folder, "ijbb").startswith("ijbb_face_tid_mid.txt: there is no such file")
    with pytest.raises(InputError, match="IJBC/loose_crop/loose_crop: there is no such folder; expected the ijbc"):
        IJBFolder(folder / "loose_crop", "ijbc")


def test_which_release(folder: Path) -> None:
    assert find_release(folder) == "ijbc"
    assert find_release(folder / "loose_crop") is None
    write(folder, "ijbb_face_tid_mid.txt", [])
    with pytest.raises(InputError, match="holds files of both ijbb and ijbc"):
        find_release(folder)


# --- the protocols ----------------------------------------------------------------------------------------------------


def protocol(folder: Path) -> IJBC:
    return IJBC(IJBFilesSettings(path=folder))


def staged(folder: Path, crop_px: int = 32, **more: Any) -> tuple[FaceSet, TemplateSet, dict[str, Any]]:
    """The protocol through its stage, as a run does it."""
    target, settings = "harness.builtin.ijb_files:IJBC", {"path": str(folder), **more}
    stage = ProtocolStage(
        key="k", label="protocol", component="ijbc", target=target, settings=settings, crop_px=crop_px
    )
    work = Work(stage, Store(folder.parent / "store"), "cpu", lambda kind, data: None, lambda: False)
    assert protocol_stage.prepare(work)["missing"] == [0]
    protocol_stage.shard(work, 0)
    made = protocol_stage.finish(work)
    manifest = Manifest.model_construct(details=made["details"], parents={})
    faces, pairs, gives = open_protocol(Artifact(work.folder, manifest), work.store)
    assert gives == "templates"
    assert isinstance(pairs, TemplateSet)
    return faces, pairs, made


def test_the_protocol_in_its_stage(folder: Path) -> None:
    check_source(protocol(folder))
    check_own_code(protocol(folder))
    faces, pairs, made = staged(folder)
    assert made["counts"] == {"images": 8, "rejected": 0, "planned": 8, "pairs": 7}
    assert len(pairs) == 6
    assert pairs.template.tolist() == [0, 0, 0, 1, 2, 3, 4, 5]
    assert pairs.media.tolist() == MEDIA
    assert pairs.a.tolist() == [0, 2, 5, 0, 1, 3, 0]
    assert pairs.same.sum() == 3
    people = faces.identities
    assert people[0] == people[3], "templates that a genuine pair connects show one subject"
    assert len(np.unique(people)) == 3


def test_faces_are_warped_by_the_given_landmarks(folder: Path, drawn: Any) -> None:
    """The same face with another margin gives the same crop: landmarks decide, not the picture's frame."""
    before = staged(folder)[0].images()
    image, landmarks = drawn[5]
    Image.fromarray(np.pad(image, ((7, 0), (11, 0), (0, 0)))).save(folder / "loose_crop" / NAMES[5])
    lines = read(folder, POINTS_NAME)
    moved = " ".join(f"{value:.3f}" for value in (landmarks + np.array([11, 7])).reshape(-1))
    lines[5] = f"{NAMES[5]} {moved} 0.65"
    write(folder, POINTS_NAME, lines)
    (folder.parent / "store").rename(folder.parent / "old")
    after = staged(folder)[0].images()
    inside = before[5].max(axis=-1) > 0
    assert np.abs(before[5].astype(int) - after[5])[inside].mean() < 1
    assert np.array_equal(np.delete(before, 5, axis=0), np.delete(after, 5, axis=0))


def test_the_warp_of_the_reference_takes_one_sample_per_pixel(folder: Path, drawn: Any) -> None:
    """Crops of 32 px from faces of 64 px are averages, unless the protocol says otherwise."""
    ours = staged(folder)[2]["content"]
    (folder.parent / "store").rename(folder.parent / "ours")
    faces, _, made = staged(folder, supersample=False)
    for row, (image, landmarks) in enumerate(drawn):
        matrix = similarity(np.round(landmarks[None], 3), reference_landmarks(32))
        plain, averaged = (warp(image[None], matrix, 32, supersample)[0].astype(int) for supersample in (False, True))
        assert np.abs(faces.images([row])[0] - plain).max() <= 1
        assert np.abs(averaged - plain).max() > 20
    assert made["content"] != ours
    assert protocol(folder).identity() != IJBC(IJBFilesSettings(path=folder, supersample=False)).identity()


def test_an_image_that_is_missing_or_damaged_is_named(folder: Path) -> None:
    file = folder / "loose_crop" / NAMES[3]
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(DataError, match=r"loose_crop/4\.png: not a readable image"):
        staged(folder)
    file.unlink()
    with pytest.raises(DataError, match=r"loose_crop/4\.png: cannot be read \(it is no file\)"):
        protocol(folder).identity()


@pytest.mark.parametrize("what", ["image", "landmark", "score", "medium", "pair"])
def test_identity_and_digest_follow_the_content_and_not_the_place(what: str, folder: Path) -> None:
    before, digest = protocol(folder).identity(), staged(folder)[2]["details"]["digest"]
    copy = folder.parent / "elsewhere"
    folder.rename(copy)
    assert protocol(copy).identity() == before
    if what == "image":
        Image.fromarray(np.full((40, 40, 3), 5, np.uint8)).save(copy / "loose_crop" / NAMES[0])
    else:
        name, change = {
            "landmark": (POINTS_NAME, replaced(0, "1.png ", "1.png 3")),
            "score": (POINTS_NAME, replaced(0, " 0.900", " 0.901")),
            "medium": (MEDIA_NAME, replaced(1, "91", "92")),
            "pair": (PAIRS_NAME, replaced(3, "30", "31")),
        }[what]
        write(copy, name, change(read(copy, name)))
    assert protocol(copy).identity() != before
    (folder.parent / "store").rename(folder.parent / "old")
    assert staged(copy)[2]["details"]["digest"] != digest


def test_ijbb_reads_its_own_files(folder: Path) -> None:
    for file in (folder / "meta").iterdir():
        file.rename(file.with_name(file.name.replace("ijbc", "ijbb")))
    found = IJBB(IJBFilesSettings(path=folder))
    assert len(found.plan(Run(0))) == 8
    with pytest.raises(InputError, match=r"ijbc_face_tid_mid\.txt: there is no such file"):
        protocol(folder).plan(Run(0))


# --- harness data -----------------------------------------------------------------------------------------------------


def call(*args: object) -> Any:
    return CliRunner().invoke(data, [str(arg) for arg in args])


def test_inspect(folder: Path) -> None:
    found = json.loads(call("inspect", folder, "--json").output)
    assert (found["kind"], found["images"], found["genuine"], found["impostor"]) == ("ijbc", 8, 3, 4)
    assert found["identities"] is None, "the release names no people"
    assert found["further"] == {"templates": 6, "media": 7, "subjects": 3}
    text = call("inspect", folder).output
    assert "IJBC: ijbc, 8 images\npairs       3 genuine, 4 impostor\ntemplates   6\nmedia       7\n" in text
    write(folder, PAIRS_NAME, read(folder, PAIRS_NAME)[:-1])
    assert json.loads(call("inspect", folder, "--json").output)["content"] != found["content"]


def test_check(folder: Path) -> None:
    done = call("check", folder)
    assert done.exit_code == 0, done.output
    assert "no problem found" in done.output, "loose crops differ in size"
    (folder / "loose_crop" / NAMES[2]).write_bytes(b"no image")
    done = call("check", folder)
    assert done.exit_code == 1
    assert f"problem: {folder / 'loose_crop' / NAMES[2]}: not a readable image" in done.output


def test_the_audit_sees_faces_as_they_will_be_aligned(folder: Path) -> None:
    """With the given landmarks faces lie on the reference landmarks; with landmarks 15 px to the right they do not."""

    def audited() -> Audit:
        found = open_dataset(folder)
        return audit_images(
            [found.crop(np.asarray(Image.open(found.place(i))), i) for i in range(0, 8, 2)], MTCNNAligner()
        )

    assert judge_audit(audited()) == []
    lines = [line.split() for line in read(folder, POINTS_NAME)]
    for line in lines:
        line[1:11:2] = [str(float(x) + 15) for x in line[1:11:2]]
    write(folder, POINTS_NAME, [" ".join(line) for line in lines])
    assert "faces are shifted by (-" in judge_audit(audited())[0]


def test_conversion_that_would_lose_templates_is_refused(folder: Path, tmp_path: Path) -> None:
    done = call("convert", folder, tmp_path / "out")
    assert isinstance(done.exception, InputError)
    assert "its templates and landmarks would be lost; use the ijbc folder as it is" in str(done.exception)
    assert not (tmp_path / "out").exists()


def test_the_crop_of_the_suite_is_what_is_stored(folder: Path) -> None:
    faces, _, _ = staged(folder, 48)
    assert faces.crop == Crop("arcface", 48)
    assert faces.images().shape == (8, 48, 48, 3)


HEAD = "TEMPLATE_ID,SUBJECT_ID,FILENAME,FACE_X"
SEARCHES = {
    "ijbc_1N_probe_mixed.csv": [HEAD, "12,1,img/4.png,3", "31,2,img/6.png,3", "501,9,img/8.png,3"],
    "ijbc_1N_gallery_G1.csv": [HEAD, "7,1,img/1.png,3", "7,1,frames/2.png,3", "7,1,frames/3.png,"],
    "ijbc_1N_gallery_G2.csv": [HEAD, "30,2,img/5.png,3", "500,9,img/7.png,3"],
}


def write_searches(root: Path, changes: dict[str, list[str]] | None = None) -> None:
    for name, lines in (SEARCHES | (changes or {})).items():
        write(root, name, lines)


def test_galleries_as_released(folder: Path) -> None:
    write_searches(folder)
    assert read_galleries(IJBFolder(folder, "ijbc")).tolist() == [1, 0, 2, 0, 2, 0]
    plain, searched = (IJBC(IJBFilesSettings(path=folder, identification=on)).identity() for on in (False, True))
    assert set(searched) - set(plain) == {"identification"}, "keys of evaluations without galleries stay"
    write_searches(folder, {"ijbc_1N_gallery_G2.csv": [*SEARCHES["ijbc_1N_gallery_G2.csv"], "500,9,img/9.png,3"]})
    assert IJBC(IJBFilesSettings(path=folder, identification=True)).identity() != searched


PROBES, FIRST = "ijbc_1N_probe_mixed.csv", "ijbc_1N_gallery_G1.csv"


@pytest.mark.parametrize(
    ("name", "lines", "message"),
    [
        (PROBES, [HEAD, "13,1,a,1"], "template 13 has no image in the 1:1 files"),
        (PROBES, SEARCHES[PROBES][:3], "template 501 is in none of the 1N files"),
        (PROBES, [*SEARCHES[PROBES], "12,2,a,1"], "template 12 has several subjects"),
        (PROBES, [HEAD, "12,2,a,1", "31,1,a,1", "501,9,a,1"], "not those that genuine pairs of the 1:1 files connect"),
        (FIRST, [*SEARCHES[FIRST], "12,1,a,1"], "template 12 is in another file as well"),
        (FIRST, ["TEMPLATE,SUBJECT", "7,1"], "expected TEMPLATE_ID,SUBJECT_ID,..."),
        (FIRST, [HEAD, "7,one,a,1"], "expected TEMPLATE_ID,SUBJECT_ID,..."),
        (FIRST, [HEAD], "it lists no template"),
        (FIRST, [], "expected TEMPLATE_ID,SUBJECT_ID,..."),
    ],
)
def test_damaged_galleries(name: str, lines: list[str], message: str, folder: Path) -> None:
    write_searches(folder, {name: lines})
    with pytest.raises(DataError) as caught:
        read_galleries(IJBFolder(folder, "ijbc"))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_subject_is_enrolled_once(folder: Path) -> None:
    write_searches(folder, {PROBES: [HEAD, "31,2,a,1", "501,9,a,1"], FIRST: [HEAD, "7,1,a,1", "12,1,a,1"]})
    with pytest.raises(DataError, match="subject 1 is enrolled twice"):
        read_galleries(IJBFolder(folder, "ijbc"))


def test_missing_galleries(folder: Path) -> None:
    with pytest.raises(InputError, match=r"ijbc_1N_probe_mixed.csv: there is no such file; expected the 1:N files"):
        IJBC(IJBFilesSettings(path=folder, identification=True)).identity()
