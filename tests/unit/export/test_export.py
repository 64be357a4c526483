"""Exports are opened by readers that are not ours, and nothing that is not whole passes for an export."""

from __future__ import annotations

import io
import os
import pickle
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image
from rows import put

from harness.cli.data import data
from harness.cli.weights import weights
from harness.errors import DataError, HarnessError, InputError
from harness.faces.faceset import ShardWriter, write_items
from harness.results import MetricRecord, StageRecord
from harness.store.artifacts import Manifest, Store
from harness.store.weights import WeightsInfo, write_weights

IDENTITIES = [3, 3, 7, 20, 20, 20]  # of the faces that are kept
LABELS = [0, 0, 1, 2, 2, 2]
MAGIC = 0xCED7230A  # of RecordIO
READ_BACK = """
import datasets, sys
found = datasets.load_dataset(sys.argv[1])
assert list(found) == ["train"], found
train = found["train"]
assert isinstance(train.features["image"], datasets.Image), train.features
assert train["label"][:] == [0, 0, 1, 2, 2, 2] and train["identity"][:] == [3, 3, 7, 20, 20, 20]
assert [image.size for image in train["image"]] == [(16, 16)] * 6
print(train[1]["image"].getpixel((0, 0)))
"""


def png(number: int, size: int = 16) -> bytes:
    """A PNG of one color, followed by RecordIO's magic word at every place of four bytes: readers must not trip."""
    out = io.BytesIO()
    Image.new("RGB", (size, size), (number, 10, 200)).save(out, "PNG")
    return out.getvalue() + b"".join(bytes(k) + struct.pack("<I", MAGIC) for k in range(4))


def keep(store: Store, kind: str, key: str, parents: dict[str, str], license_: tuple[str, str], **more: Any) -> None:
    """Put what was built into the store, as the engine does."""
    named: dict[str, Any] = {"kind": kind, "key": key, "content": key * 8, "component": f"some-{kind}", "settings": {}}
    named |= {"seed": 0, "parents": parents, "options": {}, "seconds": 1.0, "device": "cpu", "created": 1.0}
    named |= {"license": {"name": license_[0], "commercial_use": license_[1]}, "finished": 2.0, **more}
    store.commit(Manifest(**named, environment={"harness": "0.1.0"}, files=store.seal(kind, key)))


def add_faces(store: Store, kind: str, key: str, parents: dict[str, str], sizes: tuple[int, ...] = (16,) * 6) -> None:
    """Six faces of three identities in two shards, and one that failed."""
    folder = store.building(kind, key)
    for shard, places in enumerate(((0, 1, 2), (3, 4, 5))):
        writer = ShardWriter(folder, shard)
        for place in places:
            encoded = png(place, sizes[place])
            image = np.asarray(Image.open(io.BytesIO(encoded)))
            writer.add(IDENTITIES[place], place, image, encoded=encoded)
        writer.add(21, shard, None, reason="no face found")
        writer.close()
    write_items(folder, 2)
    keep(store, kind, key, parents, ("MIT", "yes"), details={"crop": {"view": "arcface", "size_px": 16}})


def stage(kind: str, key: str) -> StageRecord:
    return StageRecord(kind=kind, key=key, content="c", component=f"some-{kind}", seconds=1)


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    """A row of three seeds whose faces and recognizer, of seed 0, are in the store."""
    store = Store(tmp_path / "runs" / "store")
    add_faces(store, "source", "s1", {})
    store.building("fit", "f1")
    keep(store, "fit", "f1", {"source": "source/s1"}, ("CC-BY-NC-4.0", "no"))
    add_faces(store, "generate", "g1", {"model": "fit/f1"})
    add_faces(store, "align", "a1", {"faces": "generate/g1"})
    info = WeightsInfo(role="recognizer", kind="small-cnn", settings={"width": 64}, view="arcface", size_px=16)
    write_weights(store.building("train", "t1") / "weights.safetensors", {"w": np.ones(3, np.float32)}, info)
    keep(store, "train", "t1", {"dataset": "align/a1"}, ("Apache-2.0", "yes"))
    for seed in range(3):
        stages = [stage(kind, key) for kind, key in (("generate", "g1"), ("align", "a1"), ("train", "t1"))]
        put(tmp_path / "runs", "mine", seed, 0.8 + 0.01 * seed, stages=stages if seed == 0 else stages[:0])
    return tmp_path / "runs"


def call(group: Any, *args: object) -> str:
    done = CliRunner().invoke(group, [str(arg) for arg in args], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def export(workdir: Path, name: str, folder: Path, *more: object) -> Path:
    call(data, "export", name, folder, *more, "--workdir", workdir)
    return folder


def read_records(path: Path) -> dict[int, tuple[list[float], int, bytes]]:
    """By key of the index (labels, id, image): written from the description of the format, with struct alone."""
    raw, found = path.read_bytes(), {}
    for line in path.with_suffix(".idx").read_text().splitlines():
        key, at = map(int, line.split("\t"))
        parts = []
        while True:
            magic, word = struct.unpack_from("<II", raw, at)
            assert magic == MAGIC
            flag, length = word >> 29, word & (1 << 29) - 1
            parts.append(raw[at + 8 : at + 8 + length])
            at += 8 + (length + 3) // 4 * 4
            if flag in (0, 3):
                break
        payload = struct.pack("<I", MAGIC).join(parts)
        count, label, number, _ = struct.unpack_from("<IfQQ", payload)
        labels = list(struct.unpack_from(f"<{count}f", payload, 24)) if count else [label]
        found[key] = labels, number, payload[24 + 4 * count :]
    return found


def test_datasets_opens_the_folder_without_a_network(workdir: Path, tmp_path: Path) -> None:
    out = export(workdir, "demo/mine", tmp_path / "out", "--format", "huggingface")
    offline = {**os.environ, "HF_DATASETS_OFFLINE": "1", "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-c", READ_BACK, str(out)]
    done = subprocess.run(command, env=offline, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "(1, 10, 200)"


def test_records_are_what_insightface_reads(workdir: Path, tmp_path: Path) -> None:
    out = export(workdir, "mine", tmp_path / "out", "--format", "recordio")
    records = read_records(out / "train.rec")
    first, last = map(int, records[0][0])  # images end before the one; the other is the end of all
    assert (first, last) == (7, 10)
    assert [records[key][0] for key in range(1, 7)] == [[float(label)] for label in LABELS]
    assert [records[key][2] for key in range(1, 7)] == [png(place) for place in range(6)]
    assert [records[key][0] for key in range(7, 10)] == [[1.0, 3.0], [3.0, 4.0], [4.0, 7.0]]
    assert (out / "property").read_text() == "3,16,16\n"


def test_lmdb_is_what_image_folder_lmdb_reads(workdir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.data.exports._LMDB_BYTES", 1 << 14)  # too few at first: the map has to grow
    monkeypatch.setattr("harness.data.exports.GROUP_IMAGES", 4)
    out = export(workdir, "mine", tmp_path / "out", "--format", "lmdb")
    assert sorted(path.name for path in out.iterdir()) == ["README.md", "train.lmdb"]
    with lmdb.open(str(out / "train.lmdb"), subdir=False, readonly=True, lock=False) as env, env.begin() as reading:
        keys = pickle.loads(reading.get(b"__keys__"))
        assert pickle.loads(reading.get(b"__len__")) == len(keys) == 6
        assert [pickle.loads(reading.get(key)) for key in keys] == [(png(i), LABELS[i]) for i in range(6)]


def test_folders_hold_the_bytes(workdir: Path, tmp_path: Path) -> None:
    out = export(workdir, str(workdir / "store" / "generate" / "g1"), tmp_path / "out")
    files = {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*.png")}
    assert files == {f"{identity}/{place}.png": png(place) for place, identity in enumerate(IDENTITIES)}


def test_the_card_of_a_dataset(workdir: Path, tmp_path: Path) -> None:
    leaked = {"name": "leakage/images_above", "value": 0.25, "n": 9, "protocol": "p", "interval": (0.1, 0.4)}
    leaked |= {"title": "leaked images", "headline": True, "unit": "fraction", "interval_over": "identities"}
    stages = [stage("align", "a1")]
    put(workdir, "<b>odd|row", 4, 0.9, folder="odd", stages=stages, metrics=[MetricRecord(**leaked)])
    text = (export(workdir, "demo/<b>odd|row", tmp_path / "out") / "README.md").read_text()
    header = yaml.safe_load(text.split("---\n")[1])
    assert header["license"] == "other"
    assert header["license_name"] == "several-listed-in-this-card"
    assert {"face-recognition", "synthetic"} < set(header["tags"])
    assert "6 images of 3 identities, 16 x 16 px" in text
    assert "drawn by some-generate" in text
    assert "Commercial use: **no**" in text
    assert "| fit/f1 | some-fit | 0 |" in text
    assert "a1" * 8 in text
    assert "| leaked images (%) | 25.0 | [10.0, 40.0] over identities |" in text
    assert "Leakage was not measured" not in text
    assert "Fairness was not measured" in text
    assert "<b>" not in text.split("---\n")[2]


def test_what_is_gone_from_the_store_leaves_terms_unknown(workdir: Path, tmp_path: Path) -> None:
    (workdir / "store" / "fit" / "f1").rename(tmp_path / "gone")
    text = (export(workdir, "mine", tmp_path / "out") / "README.md").read_text()
    assert yaml.safe_load(text.split("---\n")[1])["license"] == "unknown"
    assert "Commercial use: **unknown**" in text


def test_a_recognizer_has_its_card_beside_it(workdir: Path, tmp_path: Path) -> None:
    call(weights, "export", "demo/mine", tmp_path / "out", "--workdir", workdir)
    made = workdir / "store" / "train" / "t1" / "weights.safetensors"
    assert (tmp_path / "out" / "weights.safetensors").read_bytes() == made.read_bytes()
    text = (tmp_path / "out" / "README.md").read_text()
    assert yaml.safe_load(text.split("---\n")[1])["pipeline_tag"] == "image-feature-extraction"
    assert '(small-cnn, settings {"width": 64})' in text
    assert "trained on faces that were drawn by some-generate" in text
    accuracy = next(line for line in text.splitlines() if line.startswith("| fw-lfw (%)"))
    assert "over identities" in accuracy
    assert "over seeds" in accuracy


def refused(group: Any, *args: object) -> str:
    with pytest.raises(HarnessError) as caught:
        CliRunner().invoke(group, [str(arg) for arg in args], catch_exceptions=False)
    return f"{type(caught.value).__name__} {caught.value}"


def test_what_cannot_be_exported_is_refused_in_one_line(workdir: Path, tmp_path: Path) -> None:
    out, here = tmp_path / "out", ("--workdir", workdir)
    assert "unknown row 'demo/nobody'" in refused(data, "export", "demo/nobody", out, *here)
    assert "has the seeds 0, 1, 2" in refused(data, "export", "mine", out, "--seed", 5, *here)
    assert "seed 1 has no stage of kind align or generate" in refused(data, "export", "mine", out, "--seed", 1, *here)
    train = workdir / "store" / "train" / "t1"
    assert "it holds no faces" in refused(data, "export", train, out)
    assert "goes with SUITE/ROW" in refused(data, "export", train, out, "--seed", 0)
    assert "harness data export" in refused(data, "unpack", workdir / "store" / "align" / "a1", out)
    assert "it holds no recognizer" in refused(weights, "export", workdir / "store" / "align" / "a1", out)
    assert "there are no results in" in refused(data, "export", "mine", out, "--workdir", tmp_path / "empty")
    assert not out.exists()


def test_damaged_faces_are_refused_and_leave_nothing(workdir: Path, tmp_path: Path) -> None:
    shard = workdir / "store" / "align" / "a1" / "shards" / "00001.parquet"
    shard.write_bytes(shard.read_bytes()[:-9] + b"x" * 9)
    found = refused(data, "export", "mine", tmp_path / "out", "--format", "lmdb", "--workdir", workdir)
    assert found.startswith("DataError")
    assert "00001.parquet" in found
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_faces_of_two_sizes_are_no_recordio(workdir: Path, tmp_path: Path) -> None:
    add_faces(Store(workdir / "store"), "align", "a2", {}, (16, 16, 16, 16, 24, 16))
    folder = workdir / "store" / "align" / "a2"
    assert "faces of several sizes" in refused(data, "export", folder, tmp_path / "out", "--format", "recordio")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("format_", ["huggingface", "recordio", "lmdb"])
def test_pairs_are_kept_or_refused(workdir: Path, tmp_path: Path, format_: str) -> None:
    store = Store(workdir / "store")
    pairs = pa.table({"a": [0, 0], "b": [1, 2], "same": [True, False]})
    pq.write_table(pairs, store.building("protocol", "p1") / "pairs.parquet")
    add_faces(store, "protocol", "p1", {})
    args = (store.folder("protocol", "p1"), tmp_path / "out", "--format", format_)
    if format_ == "huggingface":
        call(data, "export", *args)
        assert (tmp_path / "out" / "pairs.csv").read_text() == "a,b,same\n3/0.png,3/1.png,1\n3/0.png,7/2.png,0\n"
    else:
        assert "has no place for its pairs" in refused(data, "export", *args)


@pytest.mark.parametrize("format_", ["folders", "huggingface", "recordio", "lmdb"])
def test_a_killed_export_leaves_nothing_that_passes_for_whole(workdir: Path, tmp_path: Path, format_: str) -> None:
    code = """
import os, sys
from pathlib import Path
from harness.data import exports
exports.GROUP_IMAGES = 2
told = lambda done, total: os._exit(9) if done == total else None
exports.export(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], told=told)
"""
    folder = workdir / "store" / "align" / "a1"
    done = subprocess.run([sys.executable, "-c", code, str(folder), str(tmp_path / "out"), format_], check=False)
    assert done.returncode == 9
    assert not (tmp_path / "out").exists()
    export(workdir, "mine", tmp_path / "out", "--format", format_)  # and the next one is not in its way


def test_a_missing_package_is_named(workdir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lmdb", None)
    text = refused(data, "export", "mine", tmp_path / "out", "--format", "lmdb", "--workdir", workdir)
    assert text.startswith(InputError.__name__)
    assert "facegen-harness[lmdb]" in text
    assert DataError.__name__ not in text
