"""The source ``images``: folders and parquet that strangers wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.builtin.images import ImagesSettings, ImagesSource
from harness.coding import encode_png
from harness.components import Run
from harness.errors import DataError

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
