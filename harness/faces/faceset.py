"""Face sets: images with identities in an artifact folder, as parquet that any reader opens.

``shards/*.parquet`` hold identity, sample and image {bytes, path}; ``items.parquet`` has one row per planned image, the
failed ones included: identity, sample, name (of the file it was read from), status, reason, kept, shard, row, pixels
(digest), landmarks, box, score, faces (how many were found), off_center (whether the middle of the picture lies outside
the box) and attributes. A face set's *faces* are the items that are ok and kept.

Letters: N faces, H, W pixels.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from harness.arrays import Bools, Floats, Images, Ints
from harness.coding import decode_image, encode_png, kept_suffix, pixel_digest, to_unit
from harness.components.base import Crop
from harness.components.images import ImageBatch
from harness.errors import DataError

if TYPE_CHECKING:
    import torch

OK, FAILED = "ok", "failed"
ITEM_TABLES = "work/items"  # folder of the shards' item tables while an artifact is built
# Hugging Face `datasets` reads this key and decodes the column as images.
_HUGGING_FACE = {
    "huggingface": json.dumps(
        {
            "info": {
                "features": {
                    "identity": {"dtype": "int64", "_type": "Value"},
                    "sample": {"dtype": "int64", "_type": "Value"},
                    "image": {"_type": "Image"},
                }
            }
        }
    )
}
_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_SHARD = pa.schema([("identity", pa.int64()), ("sample", pa.int64()), ("image", _IMAGE)], metadata=_HUGGING_FACE)
_ITEM = {
    "identity": pa.int64(),
    "sample": pa.int64(),
    "status": pa.string(),
    "reason": pa.string(),
    "pixels": pa.binary(),
    "landmarks": pa.list_(pa.float32()),
    "box": pa.list_(pa.float32()),
    "score": pa.float32(),
    "faces": pa.int32(),
    "off_center": pa.bool_(),
    "kept": pa.bool_(),
    "shard": pa.int32(),
    "row": pa.int32(),
    "name": pa.string(),
}  # every further column is an attribute


class FaceSet:
    """The faces of one artifact folder.

    Args:
        folder: the artifact's folder.
        crop: the image contract of its images.
    """

    def __init__(self, folder: Path, crop: Crop) -> None:
        self.folder, self.crop = folder, crop
        self.items: pa.Table = pq.read_table(folder / "items.parquet")
        status = np.asarray(self.items["status"].to_pylist(), dtype=object)
        self.rows: Ints = np.flatnonzero((status == OK) & self._column("kept").astype(bool))
        self.identities: Ints = self._column("identity")[self.rows]
        self.samples: Ints = self._column("sample")[self.rows]

    def _column(self, name: str) -> NDArray[Any]:
        return np.asarray(self.items[name].to_numpy(zero_copy_only=False))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def labels(self) -> Ints:
        """Class index of every face, int64 [N], identities in ascending order from 0."""
        return np.unique(self.identities, return_inverse=True)[1].astype(np.int64)

    @property
    def attributes(self) -> dict[str, Floats]:
        """Attributes of every face, float32 [N] each; NaN where unknown."""
        names = [name for name in self.items.column_names if name not in _ITEM]
        return {name: self._column(name)[self.rows].astype(np.float32) for name in names}

    @property
    def places(self) -> Ints:
        """Where each planned picture stands among the faces, int64 [items]; -1 where it is not."""
        places = np.full(len(self.items), -1, dtype=np.int64)
        places[self.rows] = np.arange(len(self))
        return places

    @property
    def planned_identities(self) -> Ints:
        """Whom each planned picture shows, int64 [items]."""
        return self._column("identity")

    @property
    def names(self) -> list[str]:
        """The file that each planned picture was read from, below its data set's folder; empty where there is none.

        It has one entry per item, those included that were not found.
        """
        return self._names(np.arange(len(self.items)))

    def _names(self, items: Ints) -> list[str]:
        if "name" not in self.items.column_names:
            return [""] * len(items)
        return [name or "" for name in self.items["name"].take(pa.array(items)).to_pylist()]

    @property
    def landmarks(self) -> Floats | None:
        """Five points (x, y) of every face in pixels, float32 [N, 5, 2]; None when some face has none."""
        column = self.items["landmarks"].take(pa.array(self.rows))
        if column.null_count:
            return None
        return np.asarray(column.to_pylist(), dtype=np.float32).reshape(-1, 5, 2)

    def images(self, which: Sequence[int] | Ints | slice | None = None) -> Images:
        """Read faces by position (default: all), uint8 RGB [N, H, W, 3].

        Raises:
            DataError: an image is damaged, or the sizes differ.
        """
        images = self._read(np.arange(len(self))[which if which is not None else slice(None)])
        sizes = {image.shape for image in images}
        if len(sizes) > 1:
            raise DataError(f"{self.folder}: images of different sizes {sorted(sizes)}; give the source a size_px")
        return np.stack(images) if images else np.zeros((0, self.crop.size_px, self.crop.size_px, 3), np.uint8)

    def encoded(self, positions: Ints) -> list[tuple[bytes, str]]:
        """Encoded images by position, and what names each in errors.

        Raises:
            DataError: a shard is damaged.
        """
        rows = self.rows[positions]
        shards, places = self._column("shard")[rows], self._column("row")[rows]
        out: dict[int, tuple[bytes, str]] = {}
        for shard in np.unique(shards):
            path = self.folder / "shards" / f"{shard:05d}.parquet"
            here = np.flatnonzero(shards == shard)
            try:
                column = pq.read_table(path, columns=["image"])["image"].take(pa.array(places[here]))
            except (OSError, pa.ArrowInvalid) as error:
                raise DataError(f"{path}: damaged shard ({error}); delete its artifact folder and run again") from error
            for position, image in zip(here, column.to_pylist(), strict=True):
                out[int(position)] = image["bytes"], f"{path}: {image['path']}"
        return [out[position] for position in range(len(rows))]

    def _read(self, positions: Ints) -> list[Images]:
        return [decode_image(data, where) for data, where in self.encoded(positions)]

    def batches(self, size: int, which: Ints | None = None) -> Iterator[ImageBatch]:
        """Faces by position (default: all) in order, at most ``size`` at a time and of one image size per batch."""
        landmarks, attributes = self.landmarks, self.attributes
        positions = np.arange(len(self)) if which is None else which
        for begin in range(0, len(positions), size):
            chunk = positions[begin : begin + size]
            images = self._read(chunk)
            cuts = [i for i in range(1, len(images)) if images[i].shape != images[i - 1].shape]
            for first, last in zip([0, *cuts], [*cuts, len(images)], strict=True):
                part = chunk[first:last]
                yield ImageBatch(
                    self.identities[part],
                    self.samples[part],
                    np.stack(images[first:last]),
                    None if landmarks is None else landmarks[part],
                    {name: column[part] for name, column in attributes.items()},
                    self._names(self.rows[part]),
                )

    def dataset(self) -> torch.utils.data.Dataset[tuple[torch.Tensor, int]]:
        """A torch dataset of (image float32 [3, H, W] in [-1, 1], label)."""
        from torch.utils.data import Dataset

        faces, labels = self, self.labels

        class Faces(Dataset[tuple["torch.Tensor", int]]):
            def __len__(self) -> int:
                return len(faces)

            def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
                return to_unit(faces.images([index]))[0], int(labels[index])

        return Faces()


class ShardWriter:
    """Writes one shard of a face set; a shard is there when its parquet file is.

    Args:
        folder: the artifact folder under construction.
        index: the shard's number.
    """

    def __init__(self, folder: Path, index: int) -> None:
        self.folder, self.index = folder, index
        self._items: list[dict[str, Any]] = []
        self._images: list[dict[str, Any]] = []

    def add(
        self,
        identity: int,
        sample: int,
        image: Images | None,
        reason: str | None = None,
        landmarks: Floats | None = None,
        box: Floats | None = None,
        score: float | None = None,
        faces: int | None = None,
        off_center: bool | None = None,
        attributes: dict[str, float] | None = None,
        name: str = "",
        encoded: bytes = b"",
    ) -> None:
        """Add one item; ``image`` is None when it failed, and then ``reason`` says why.

        ``encoded`` are the bytes that ``image`` was decoded from; JPEG, PNG and WebP are kept as they are, so that
        a data set takes no more room here than before.
        """
        kept = kept_suffix(encoded)
        self._items.append(
            {
                "identity": int(identity),
                "sample": int(sample),
                "status": FAILED if image is None else OK,
                "reason": reason,
                "pixels": None if image is None else pixel_digest(image),
                "landmarks": None if landmarks is None else np.asarray(landmarks, np.float32).ravel().tolist(),
                "box": None if box is None else np.asarray(box, np.float32).tolist(),
                "score": score,
                "faces": faces,
                "off_center": off_center,
                "kept": image is not None,
                "shard": self.index,
                "row": -1 if image is None else len(self._images),
                "name": name or None,
                **(attributes or {}),
            }
        )
        if image is not None:
            data, path = encoded if kept else encode_png(image), f"{identity}/{sample}{kept or '.png'}"
            record = {"identity": int(identity), "sample": int(sample)}
            self._images.append({**record, "image": {"bytes": data, "path": path}})

    def close(self) -> None:
        """Write both files; the image file last, by an atomic rename."""
        (self.folder / "shards").mkdir(parents=True, exist_ok=True)
        (self.folder / ITEM_TABLES).mkdir(parents=True, exist_ok=True)
        pq.write_table(_item_table(self._items), self.folder / ITEM_TABLES / f"{self.index:05d}.parquet")
        final = self.folder / "shards" / f"{self.index:05d}.parquet"
        partial = final.with_suffix(".partial")
        pq.write_table(pa.Table.from_pylist(self._images, schema=_SHARD), partial)
        partial.replace(final)


def _item_table(items: list[dict[str, Any]]) -> pa.Table:
    attributes = {name: pa.float32() for item in items for name in item if name not in _ITEM}
    return pa.Table.from_pylist(items, schema=pa.schema(list((_ITEM | attributes).items())))


def shard_is_whole(folder: Path, index: int) -> bool:
    """Whether both files of shard ``index`` were written to the end and can be read."""
    files = (folder / "shards" / f"{index:05d}.parquet", folder / ITEM_TABLES / f"{index:05d}.parquet")
    try:
        return all(pq.read_table(file).num_rows >= 0 for file in files)
    except (OSError, pa.ArrowException):  # missing, or half of it lost with the power
        return False


def write_items(folder: Path, shards: int, keep: Bools | None = None) -> pa.Table:
    """Join the shards' item tables into ``items.parquet``.

    Args:
        keep: one flag per item in order; default: every item that is ok.
    """
    parts = [pq.read_table(folder / ITEM_TABLES / f"{index:05d}.parquet") for index in range(shards)]
    table = pa.concat_tables(parts, promote_options="default")
    if keep is not None:
        table = table.set_column(table.column_names.index("kept"), "kept", pa.array(keep))
    pq.write_table(table, folder / "items.parquet")
    return table


def content_digest(items: pa.Table) -> str:
    """Digest of (identity, sample, status, kept, decoded pixels) of every item in order."""
    state = hashlib.sha256()
    columns = [items[name].to_pylist() for name in ("identity", "sample", "status", "kept", "pixels")]
    for identity, sample, status, kept, pixels in zip(*columns, strict=True):
        state.update(f"{identity},{sample},{status},{kept},".encode() + (pixels or b""))
    return state.hexdigest()
