"""What the margin trainer refuses to go on with: each fault is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from harness.builtin.margin import MarginTrainer
from harness.components import Given, Recognizer, Run
from harness.errors import StageError
from harness.faces.faceset import FaceSet
from harness.training.settings import MarginSettings

MakeFaces = Callable[..., FaceSet]
Colored = tuple[np.ndarray, np.ndarray]
ONE_LOOK = {"epochs": 1, "batch_size": 3, "warmup": 0, "backbone_settings": {"width": 16}}  # 32 steps


def train(faces: FaceSet, run: Run | None = None, **settings: Any) -> Recognizer:
    return MarginTrainer(MarginSettings(**(ONE_LOOK | settings))).train(Given(dataset=faces), run or Run(0))


def test_labels_of_their_own_are_above_chance(make_faces: MakeFaces, colored: Colored) -> None:
    train(make_faces(*colored))


def test_shuffled_labels_are_at_chance(make_faces: MakeFaces, colored: Colored) -> None:
    images, identities = colored
    shuffled = np.random.default_rng(0).permutation(identities)
    with pytest.raises(StageError, match=r"after 32 steps the loss is at chance: \d+ of 96 .* 8 would be.*shuffled"):
        train(make_faces(images, shuffled))


def test_a_rate_that_teaches_nothing_is_at_chance(make_faces: MakeFaces, colored: Colored) -> None:
    with pytest.raises(StageError, match="the loss is at chance"):
        train(make_faces(*colored), lr=1e-9)


def test_nothing_is_said_within_the_warm_up(make_faces: MakeFaces, colored: Colored) -> None:
    train(make_faces(*colored), lr=1e-9, warmup=0.1)


def test_a_rate_that_diverges_is_named_and_its_batch_kept(
    make_faces: MakeFaces, colored: Colored, tmp_path: Path
) -> None:
    folder = tmp_path / "stage"
    with pytest.raises(StageError, match=r"the loss is (nan|inf) at step \d+ of 32; .* lower lr \(now 1e\+?30\)"):
        train(make_faces(*colored), Run(0, folder=folder), lr=1e30, clip_norm=1e9, head="arcface")
    assert [path.name for path in folder.iterdir()] == ["not-finite.safetensors"]


def spoil(faces: FaceSet, positions: list[int]) -> FaceSet:
    """Overwrite the encoded images of faces by position."""
    for position in positions:
        row = faces.rows[position]
        shard, place = (int(faces.items[name][int(row)].as_py()) for name in ("shard", "row"))
        path = faces.folder / "shards" / f"{shard:05d}.parquet"
        table = pq.read_table(path)
        images = table["image"].to_pylist()
        images[place]["bytes"] = b"no picture"
        column = table.schema.get_field_index("image")
        pq.write_table(table.set_column(column, table.schema.field("image"), [images]), path)
    return FaceSet(faces.folder, faces.crop)


def test_few_unreadable_images_are_counted_and_left_out(
    make_faces: MakeFaces, colored: Colored, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.training.arrays.UNREADABLE_SHARE", 0.03)
    logged: dict[str, float] = {}

    def emit(kind: str, data: dict[str, Any]) -> None:
        if kind == "log":
            logged[data["name"]] = data["value"]

    images, identities = colored
    trained = train(spoil(make_faces(images, identities), [3, 50]), Run(0, emit=emit), batch_size=47, epochs=2)
    assert logged["unreadable_images"] == 2
    kept = np.setdiff1d(np.arange(96), [3, 50])
    alone = train(make_faces(images[kept], identities[kept]), batch_size=47, epochs=2)
    pairs = zip(trained.state().values(), alone.state().values(), strict=True)
    assert all(np.array_equal(a.numpy(), b.numpy()) for a, b in pairs)


def test_many_unreadable_images_stop_the_training(make_faces: MakeFaces, colored: Colored) -> None:
    with pytest.raises(
        StageError, match=r"2 of 96 images cannot be read, at most 0.1% may; the first: .*00000\.parquet"
    ):
        train(spoil(make_faces(*colored), [3, 50]))
