"""The source ``images``: folders and parquet that strangers wrote."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from harness.builtin.images import ImagesSettings, ImagesSource
from harness.coding import encode_png
from harness.components import Crop, Run
from harness.errors import DataError, InputError
from harness.faces.faceset import FaceSet, ShardWriter, write_items
from harness.stages.images import add_batch

EXPECTED = "a.parquet: expected parquet with identity, sample and image {bytes, path} ("
FACE = encode_png(np.full((16, 16, 3), 90, np.uint8))


def folder(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(FACE)
    return root


def table(root: Path, **columns: Any) -> Path:
    filled = {"identity": [3, 3], "sample": [0, 1], "image": [{"bytes": FACE, "path": "x"}] * 2} | columns
    pq.write_table(
        pa.table({name: column for name, column in filled.items() if column is not None}), root / "a.parquet"
    )
    return root


def source(path: Path) -> ImagesSource:
    return ImagesSource(ImagesSettings(path=path))


def refused(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        list(source(path).sample(source(path).plan(Run(0)), Run(0)))
    text = str(caught.value)
    assert text.startswith(str(path))
    assert "\n" not in text
    return text.removeprefix(f"{path}").lstrip("/: ")


def test_names_of_any_script_and_numbers_with_zeros(tmp_path: Path) -> None:
    """Digits that are not 0 to 9, such as a superscript, are letters; 01 and 1 have one order everywhere."""
    names = ["1/1.png", "1/01.png", "2/x.png", "²/x.png", "é/x.png", "李/x.png"]
    found = source(folder(tmp_path, *names)).files
    assert [(identity, file.parent.name, file.name) for identity, _, file in found] == [
        (0, "1", "01.png"),
        (0, "1", "1.png"),
        (1, "2", "x.png"),
        (2, "²", "x.png"),
        (3, "é", "x.png"),
        (4, "李", "x.png"),
    ]


def test_an_empty_identity(tmp_path: Path) -> None:
    (folder(tmp_path, "a/1.png", "c/1.png") / "b").mkdir()
    text = refused(tmp_path)
    assert text == "b: no image in it, so the identity is empty (1 of 3 are); remove the folder or add its images"


def test_an_image_that_is_no_image(tmp_path: Path) -> None:
    (folder(tmp_path, "a/1.png") / "a" / "2.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0")
    assert refused(tmp_path) == "a/2.png: not a readable image (unknown format); remove it or write it again"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"sample": [1, 1]}, "sample 1 of identity 3 is there twice; number it anew"),
        (
            {"identity": [3, None]},
            "a.parquet: row 1 lacks its identity",
        ),
        ({"image": [{"bytes": FACE}, None]}, "a.parquet: row 1 lacks its image"),
        ({"image": [{"bytes": None}, {"bytes": FACE}]}, "a.parquet: row 0 lacks its image"),
        ({"image": None}, EXPECTED),
        ({"sample": None}, EXPECTED),
        ({"image": [1.5, 2.5]}, EXPECTED),
        ({"identity": ["x", "y"]}, EXPECTED),
        ({"image": [{"bytes": b"junk"}] * 2}, "identity 3, sample 0: not a readable image (unknown format)"),
    ],
)
def test_damaged_tables(columns: dict[str, Any], message: str, tmp_path: Path) -> None:
    assert refused(table(tmp_path, **columns)).startswith(message)


def test_a_damaged_file(tmp_path: Path) -> None:
    path = table(tmp_path) / "a.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    assert refused(tmp_path).startswith(EXPECTED)


def test_people_with_enough_images(tmp_path: Path) -> None:
    """Places count the people that are left, so groups cut from them have the sizes that were asked for."""
    folder(tmp_path, "a/1.png", "b/1.png", "b/2.png", "c/1.png", "c/2.png", "c/3.png", "d/1.png", "d/2.png")
    chosen = ImagesSource(ImagesSettings(path=tmp_path, min_images=2, identities=(1, 3)))
    assert [(who, file.parent.name) for who, sample, file in chosen.files if sample == 0] == [(1, "c"), (2, "d")]
    assert chosen.identity() != ImagesSource(ImagesSettings(path=tmp_path, identities=(1, 3))).identity()
    with pytest.raises(InputError, match="nobody has 4 images; the most that anybody has is 3"):
        ImagesSource(ImagesSettings(path=tmp_path, min_images=4)).plan(Run(0))
    (tmp_path / "tables").mkdir()
    rows = {
        "identity": [3, 4, 4],
        "sample": [0, 0, 1],
        "image": [{"bytes": FACE, "path": f"{n}.png"} for n in range(3)],
    }
    parquet = ImagesSource(ImagesSettings(path=table(tmp_path / "tables", **rows), min_images=2))
    assert parquet.plan(Run(0)).identities.tolist() == [4, 4]
    (batch,) = parquet.sample(parquet.plan(Run(0)), Run(0))
    assert (list(batch.names), list(batch.encoded)) == (["1.png", "2.png"], [FACE, FACE])


def test_the_central_square(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.png").write_bytes(encode_png(pixels))

    def read(**settings: int) -> np.ndarray:
        found = ImagesSource(ImagesSettings(path=tmp_path, **settings))
        (batch,) = found.sample(found.plan(Run(0)), Run(0))
        assert not batch.encoded, "the file's bytes are not those of these pixels"
        return batch.images[0]

    assert np.array_equal(read(cut_px=20), pixels[10:30, 20:40])
    assert read(cut_px=20, size_px=16).shape == (16, 16, 3)
    assert read(size_px=16).shape == (16, 16, 3)
    with pytest.raises(DataError, match=r"a/1.png: it has 60 x 40 px, less than the square of 50 px; lower cut_px"):
        read(cut_px=50)


@pytest.mark.parametrize(("format", "kept"), [("JPEG", True), ("PNG", True), ("WEBP", True), ("BMP", False)])
def test_small_formats_are_stored_as_they_are(format: str, kept: bool, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)).save(buffer, format)
    file = tmp_path / "in" / "a" / f"1.{format.lower()}"
    file.parent.mkdir(parents=True)
    file.write_bytes(buffer.getvalue())
    photos = source(tmp_path / "in")
    writer = ShardWriter(tmp_path / "out", 0)
    for batch in photos.sample(photos.plan(Run(0)), Run(0)):
        add_batch(writer, batch)
    writer.close()
    write_items(tmp_path / "out", 1)
    stored = FaceSet(tmp_path / "out", Crop("raw", 24))
    with Image.open(file) as image:
        assert np.array_equal(stored.images()[0], np.asarray(image.convert("RGB")))
    ((data, _),) = stored.encoded(np.array([0]))
    assert (data == file.read_bytes()) is kept
    assert stored.names == [f"a/{file.name}"]
