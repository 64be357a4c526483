"""Images that exist: a folder per identity, or parquet with the columns identity, sample and image."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from harness.components import ImageBatch, License, Run, SamplePlan, Settings, Source
from harness.components.data import Images
from harness.errors import DataError, InputError
from harness.faces.coding import decode_image

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".pgm", ".ppm", ".tif", ".tiff"})
BATCH = 64


class ImagesSettings(Settings):
    """Where the images lie and which of them to take."""

    path: Path = Field(description="a folder with one folder of images per identity, or with parquet files")
    identities: tuple[int, int] | None = Field(
        None, description="take identities from this place to before that place, in numeric order; default: all"
    )
    size_px: int | None = Field(
        None, ge=16, le=1024, description="cut the central square and resize it to this side in pixels; default: as is"
    )
    commercial_use: str = Field("unknown", pattern="^(yes|no|unknown)$", description="whether the terms allow it")


class ImagesSource(Source):
    """A dataset on disk. Identities are numbered by the numeric order of their folders' names."""

    Settings = ImagesSettings
    license = License("the dataset's own terms")
    code = ("harness.builtin.images",)

    @cached_property
    def files(self) -> list[tuple[int, int, Path]]:
        """(identity, sample, file) of a folder tree, in order.

        Raises:
            InputError: no image is there, or a range of identities is empty.
        """
        root: Path = self.settings.path
        if not root.is_dir():
            raise InputError(f"{root}: expected a folder with one folder of images per identity, or with parquet files")
        people = sorted((folder for folder in root.iterdir() if folder.is_dir()), key=numeric_order)
        listed = [
            (identity, sample, file)
            for identity, folder in enumerate(people)
            for sample, file in enumerate(
                sorted((f for f in folder.iterdir() if f.suffix.lower() in SUFFIXES), key=numeric_order)
            )
        ]
        if not listed:
            raise InputError(f"{root}: no image found; expected NAME/IMAGE with one of {', '.join(sorted(SUFFIXES))}")
        wanted = [item for item in listed if self._wanted(item[0])]
        if not wanted:
            raise InputError(f"{root}: identities {list(self.settings.identities)} of {len(people)} hold no image")
        return wanted

    @cached_property
    def table(self) -> pa.Table | None:
        """The table of a parquet dataset, or None for a folder tree."""
        paths = sorted(self.settings.path.glob("*.parquet")) or sorted(self.settings.path.glob("shards/*.parquet"))
        if not paths:
            return None
        try:
            table = pa.concat_tables([pq.read_table(path, columns=["identity", "sample", "image"]) for path in paths])
        except (OSError, KeyError, pa.ArrowInvalid) as error:
            raise DataError(f"{self.settings.path}: expected columns identity, sample, image ({error})") from error
        wanted = [self._wanted(int(identity)) for identity in table["identity"].to_pylist()]
        return table.filter(pa.array(wanted))

    def _wanted(self, identity: int) -> bool:
        if self.settings.identities is None:
            return True
        first, last = self.settings.identities
        return bool(first <= identity < last)

    def identity(self) -> dict[str, Any]:
        """The files' bytes instead of their place."""
        state = hashlib.sha256()
        if self.table is None:
            for identity, sample, path in self.files:
                state.update(f"{identity},{sample},".encode() + hashlib.sha256(path.read_bytes()).digest())
        else:
            for row in self.table.to_pylist():
                state.update(f"{row['identity']},{row['sample']},".encode() + row["image"]["bytes"])
        return {"content": state.hexdigest(), "size_px": self.settings.size_px}

    def plan(self, run: Run) -> SamplePlan:
        """Every image, by identity and sample."""
        if self.table is not None:
            return SamplePlan(self.table["identity"].to_numpy(), self.table["sample"].to_numpy())
        listed = np.array([(identity, sample) for identity, sample, _ in self.files], dtype=np.int64).reshape(-1, 2)
        return SamplePlan(listed[:, 0], listed[:, 1])

    def sample(self, plan: SamplePlan, run: Run) -> Iterator[ImageBatch]:
        """Read the planned images; consecutive ones of one size share a batch."""
        read = self._reader()
        at: int = 0
        pending: list[Images] = []
        for row in range(len(plan)):
            image = read(int(plan.identities[row]), int(plan.samples[row]))
            if pending and (pending[0].shape != image.shape or len(pending) == BATCH):
                yield _batch(plan.rows(at, row), pending)
                at, pending = row, []
            pending.append(image)
        if pending:
            yield _batch(plan.rows(at, len(plan)), pending)

    def _reader(self) -> Callable[[int, int], Images]:
        if self.table is None:
            places = {(identity, sample): path for identity, sample, path in self.files}

            def fetch(key: tuple[int, int]) -> tuple[bytes, str]:
                return places[key].read_bytes(), str(places[key])
        else:
            columns = zip(self.table["identity"].to_pylist(), self.table["sample"].to_pylist(), strict=True)
            rows = {key: row for row, key in enumerate(columns)}
            images, where = self.table["image"], self.settings.path

            def fetch(key: tuple[int, int]) -> tuple[bytes, str]:
                return images[rows[key]].as_py()["bytes"], f"{where}: identity {key[0]}, sample {key[1]}"

        def read(identity: int, sample: int) -> Images:
            image = decode_image(*fetch((identity, sample)))
            return image if self.settings.size_px is None else square(image, self.settings.size_px)

        return read


def numeric_order(path: Path) -> list[tuple[int, int | str]]:
    """Sort key: numbers in a name compare as numbers, so 2 comes before 10 (methods: trap E7)."""
    parts = re.split(r"(\d+)", path.name)
    return [(0, int(part)) if part.isdigit() else (1, part) for part in parts if part]


def square(image: Images, size_px: int) -> Images:
    """The central square of an image, resized (Lanczos)."""
    from PIL import Image

    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    cut = Image.fromarray(image[top : top + side, left : left + side])
    return np.asarray(cut.resize((size_px, size_px), Image.Resampling.LANCZOS))


def _batch(plan: SamplePlan, images: list[Images]) -> ImageBatch:
    return ImageBatch(plan.identities, plan.samples, np.stack(images))
