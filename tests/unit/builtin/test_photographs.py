"""Protocols of photographs: an aligner finds the faces, what it does not find is counted, and crops are looked at.

The photographs are drawn: scenes of 96 x 128 px with a face of the face world in them, off the middle.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from harness.data.exports import export
from harness.errors import InputError
from harness.faceworld.render import render
from harness.planning.planner import plan_suite
from harness.results import Result
from harness.stats.verification import FARTHEST, fold_accuracies
from harness.suites.read import load_suite
from tests.unit.in_process import run_suite

PEOPLE, EACH = 8, 4
SUITE = """
name: {name}
crop_px: 32
recognizers: {{judge: {{weights: "demo:judge"}}}}
rows: {{judge: {{recognizer: judge}}}}
protocols:
  photos: {{use: folder-pairs, path: {path}{more}}}
evaluate: [{{use: verification, protocols: [photos], far: [0.5, 0.25]}}]
"""


def scene(face: np.ndarray) -> np.ndarray:
    """A photograph with the face at its right."""
    out = np.full((96, 128, 3), 110, np.uint8)
    out[16:80, 56:120] = face
    return out


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """JPEG files of two sizes in LFW's layout, one of which shows nobody, with 48 pairs in two folds."""
    folder = tmp_path_factory.mktemp("photographs")
    people = np.repeat(np.arange(400_008, 400_008 + PEOPLE), EACH).tolist()
    drawn = render(0, people, list(range(EACH)) * PEOPLE, "mild", 64).images
    for index, face in enumerate(drawn):
        person, number = f"P{index // EACH}", index % EACH + 1
        image = scene(face) if index != 5 else np.full((96, 128, 3), 110, np.uint8)  # P1_0002
        if index % 3 == 0:  # sizes differ
            image = np.pad(image, ((0, 20), (0, 0), (0, 0)), mode="edge")
        (folder / person).mkdir(exist_ok=True)
        Image.fromarray(image).save(folder / person / f"{person}_{number:04d}.jpg", quality=95)
    lines = ["2\t12"]
    for half in (range(4), range(4, 8)):
        lines += [f"P{who}\t{a}\t{b}" for who in half for a, b in ((1, 2), (2, 3), (3, 4))]
        lines += [f"P{who}\t{a}\tP{half[(k + 1) % 4]}\t{a}" for k, who in enumerate(half) for a in (1, 2, 3)]
    (folder / "pairs.txt").write_text("\n".join(lines) + "\n")
    return folder


def run(folder: Path, workdir: Path, more: str, name: str = "photos") -> Result:
    suite = workdir / f"{name}.yaml"
    workdir.mkdir(exist_ok=True)
    suite.write_text(SUITE.format(name=name, path=folder, more=more))
    (result,) = run_suite(suite, workdir)
    return result


@pytest.fixture(scope="module")
def aligned(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    workdir = tmp_path_factory.mktemp("aligned")
    return run(photographs, workdir, ", aligner: mtcnn"), workdir


def stored(workdir: Path, kind: str) -> Path:
    (folder,) = (workdir / "store" / kind).glob("[!.]*")
    return folder


def test_faces_that_are_not_found_are_counted_and_cost(aligned: tuple[Result, Path]) -> None:
    result, workdir = aligned
    assert result.status == "done", result.error
    found, accuracy = result.metric("photos/faces_found"), result.metric("photos/accuracy")
    assert found is not None
    assert accuracy is not None
    assert (found.value, found.n) == (31 / 32, 32)  # 32 pictures are named, and P1_0002 shows nobody
    assert accuracy.n == 48
    assert "4 pairs count as different people, since 1 of 32 faces were not found" in accuracy.note
    table = pq.read_table(stored(workdir, "evaluate") / "tables" / "photos-pairs.parquet").to_pandas()
    lost = table[table.a < 0]
    assert lost.score.tolist() == [-1] * 4
    assert lost.same.tolist() == [True, True, False, False]
    assert (lost.correct == ~lost.same).all(), "a genuine pair that cannot be compared is an error"
    folds = table.groupby("fold").correct.mean()
    assert accuracy.value == pytest.approx(folds.mean())
    items = pq.read_table(stored(workdir, "align") / "items.parquet").to_pandas()
    assert items[items.status == "failed"].name.tolist() == ["P1/P1_0002.jpg"]


def test_rates_have_those_that_were_reached_beside_them(aligned: tuple[Result, Path]) -> None:
    result, workdir = aligned
    tables = stored(workdir, "evaluate") / "tables"
    table, points = (
        pq.read_table(tables / f"photos-{name}.parquet").to_pandas() for name in ("pairs", "operating-points")
    )
    assert points.far.tolist() == [0.5, 0.25]
    genuine, impostor = table[table.same].score.to_numpy(), table[~table.same].score.to_numpy()
    for point in points.itertuples():
        threshold = np.sort(impostor)[::-1][int(point.far * len(impostor))]  # so many may lie above it
        assert point.measured_far == np.mean(impostor > threshold) <= point.far
        metric = result.metric(f"photos/tar_at_far_{'5e-1' if point.far == 0.5 else '2.5e-1'}")
        assert metric is not None
        assert metric.value == point.tar == np.mean(genuine > threshold)


def test_jpegs_are_kept_as_they_are(aligned: tuple[Result, Path], photographs: Path) -> None:
    shard = pq.read_table(stored(aligned[1], "source") / "shards" / "00000.parquet")["image"].to_pylist()
    files = {file.read_bytes() for file in photographs.glob("*/*.jpg")}
    assert {image["bytes"] for image in shard} == files
    assert all(image["path"].endswith(".jpg") for image in shard)


def test_a_source_is_paired_by_a_published_list(aligned: tuple[Result, Path], photographs: Path) -> None:
    """The same pictures as a source: the same pairs, faces and scores; the source has pictures that no pair names."""
    suite = aligned[1] / "listed.yaml"
    text = SUITE.format(name="listed", path="", more="").replace("use: folder-pairs, path: ", "use: pairs, source: all")
    text += f"sources: {{all: {{use: images, path: {photographs}}}}}\naligner: mtcnn\n"
    suite.write_text(text.replace("source: all}", f"source: all, pairs: {photographs / 'pairs.txt'}}}"))
    (result,) = run_suite(suite, aligned[1] / "listed")
    assert result.status == "done", result.error
    for name in ("photos/accuracy", "photos/tar_at_far_5e-1", "photos/faces_found"):
        ours, other = result.metric(name), aligned[0].metric(name)
        assert ours is not None
        assert other is not None
        assert (ours.value, ours.n, ours.note) == (other.value, other.n, other.note)
    text = suite.read_text().replace("use: images", "use: faceworld, size_px: 32, identities: 2, per_identity: 2")
    suite.write_text(text.replace(f", path: {photographs}}}", "}").replace("aligner: mtcnn", "aligner: landmarks"))
    (failed,) = run_suite(suite, aligned[1] / "listed")
    assert "were not read from files, so no list can name them; remove pairs" in failed.error


def test_stored_faces_are_written_under_their_names(
    aligned: tuple[Result, Path], photographs: Path, tmp_path: Path
) -> None:
    assert export(stored(aligned[1], "source"), tmp_path / "pictures") == 32
    for file in photographs.glob("*/*.jpg"):
        assert (tmp_path / "pictures" / file.relative_to(photographs)).read_bytes() == file.read_bytes()
    assert export(stored(aligned[1], "align"), tmp_path / "crops") == 31
    with Image.open(tmp_path / "crops" / "P0" / "P0_0001.png") as crop:
        assert crop.size == (32, 32)
    assert not (tmp_path / "crops" / "P1" / "P1_0002.png").exists()
    with pytest.raises(InputError, match="it holds no faces; expected a folder such as runs/store/align/KEY"):
        export(stored(aligned[1], "protocol"), tmp_path / "none")


def test_another_number_of_pairs_than_published_is_told(aligned: tuple[Result, Path], photographs: Path) -> None:
    suite = aligned[1] / "counted.yaml"
    text = SUITE.format(name="counted", path=photographs, more=", aligner: mtcnn")
    suite.write_text(text.replace("photos", "lfw"))
    (result,) = run_suite(suite, aligned[1])
    metric = result.metric("lfw/accuracy")
    assert metric is not None
    text = (
        "24 genuine and 24 impostor pairs, lfw as published has 3,000 and 3,000: not comparable with published figures"
    )
    assert text in metric.note


def test_lost_pairs_score_as_guesses() -> None:
    """Half of the pairs are genuine: calling all lost pairs different is right in half of them, in every fold."""
    same = np.tile([True, False], 50)
    folds = fold_accuracies(np.full(100, FARTHEST), same, np.repeat(np.arange(10), 10))
    assert folds.accuracy.tolist() == [0.5] * 10


def test_the_plan_has_the_pictures_and_the_alignment_once(photographs: Path, tmp_path: Path) -> None:
    suite = tmp_path / "suite.yaml"
    text = SUITE.format(name="plan", path=photographs, more=", aligner: {use: mtcnn, min_face: 0.5}")
    suite.write_text(text + "seeds: [0, 1]\n")
    resolved = load_suite(suite)
    plan = plan_suite(resolved, suite)
    kinds = [stage.kind for stage in plan.stages.values() if stage.kind in ("source", "align", "protocol")]
    assert sorted(kinds) == ["align", "protocol", "source"]
    (tmp_path / "again.yaml").write_text(resolved.to_yaml())
    assert load_suite(tmp_path / "again.yaml") == resolved
    other = tmp_path / "other.yaml"
    other.write_text(text.replace("0.5}", "0.4}"))
    changed = plan_suite(load_suite(other), other)
    assert {id for id in changed.stages if id.kind == "source"} == {id for id in plan.stages if id.kind == "source"}
    assert {id for id in changed.stages if id.kind == "protocol"}.isdisjoint(plan.stages)
    other.write_text(text.replace("use: mtcnn, min_face: 0.5", "use: mtcn"))
    with pytest.raises(InputError, match=r"protocols.photos.aligner.use: unknown aligner 'mtcn'.*did you mean 'mtcnn'"):
        load_suite(other)


def test_photographs_are_refused_where_crops_are_expected(photographs: Path, tmp_path: Path) -> None:
    square = tmp_path / "square"
    for file in photographs.glob("*/*.jpg"):
        (square / file.parent.name).mkdir(parents=True, exist_ok=True)
        with Image.open(file) as image:
            image.crop((16, 0, 112, 96)).save(square / file.parent.name / file.name)
    (square / "pairs.txt").write_text((photographs / "pairs.txt").read_text())
    result = run(square, tmp_path / "raw", "", "raw")
    assert result.status == "failed"
    # the face, 64 of 96 px, lies right of the middle
    assert "the pictures are no crops, and the protocol has no aligner: faces are shifted by (+" in result.error
    assert "such as aligner: mtcnn, or aligner: none to take the pictures as they are" in result.error
    taken = run(square, tmp_path / "raw", ", aligner: none", "taken")
    assert taken.status == "done", taken.error
    assert json.loads((stored(tmp_path / "raw", "align") / "manifest.json").read_text())["component"] == "none"
