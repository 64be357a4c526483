"""Images that exist: a folder per identity, or parquet with the columns identity, sample and image."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field

from harness.arrays import Images
from harness.components import ImageBatch, License, Run, SamplePlan, Settings, Source
from harness.data.folders import numeric_order, parquet_files
from harness.data.pictures import SUFFIXES, decode, read_file
from harness.errors import DataError, InputError

BATCH = 64
_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_SCHEMA = pa.schema([("identity", pa.int64()), ("sample", pa.int64()), ("image", _IMAGE)])


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

    @cached_property
    def files(self) -> list[tuple[int, int, Path]]:
        """(identity, sample, file) of a folder tree, in order.

        Raises:
            InputError: no image is there, or a range of identities is empty.
            DataError: a folder holds none, though it counts as an identity.
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
        filled = {identity for identity, _, _ in listed}
        empty = [folder for identity, folder in enumerate(people) if identity not in filled]
        if empty:
            text = f"{empty[0]}: no image in it, so the identity is empty ({len(empty)} of {len(people)} are)"
            raise DataError(f"{text}; remove the folder or add its images")
        wanted = [item for item in listed if self._wanted(item[0])]
        if not wanted:
            raise InputError(f"{root}: identities {list(self.settings.identities)} of {len(people)} hold no image")
        return wanted

    @cached_property
    def table(self) -> pa.Table | None:
        """The table of a parquet dataset, or None for a folder tree.

        Raises:
            DataError: it is no such table, a value is missing, or an image is there twice.
        """
        paths = parquet_files(self.settings.path)
        if not paths:
            return None
        try:
            table = pa.concat_tables([pq.read_table(path, schema=_SCHEMA) for path in paths])
        except (OSError, pa.ArrowException) as error:
            text = " ".join(f"expected columns identity, sample, image {{bytes, path}} ({error})".split())
            raise DataError(f"{self.settings.path}: {text}") from error
        self._check(table)
        wanted = [self._wanted(int(identity)) for identity in table["identity"].to_pylist()]
        return table.filter(pa.array(wanted))

    def _check(self, table: pa.Table) -> None:
        places = list(zip(table["identity"].to_pylist(), table["sample"].to_pylist(), strict=True))
        filled = pc.is_valid(pc.struct_field(table["image"], "bytes")).to_pylist()
        missing = [row for row, place in enumerate(places) if None in place or not filled[row]]
        if missing:
            text = f"row {missing[0]} lacks its identity, sample or image"
            raise DataError(f"{self.settings.path}: {text}; expected columns identity, sample, image {{bytes, path}}")
        if len(set(places)) < len(places):
            identity, sample = next(place for place, count in Counter(places).items() if count > 1)
            raise DataError(
                f"{self.settings.path}: sample {sample} of identity {identity} is there twice; number it anew"
            )

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
                state.update(f"{identity},{sample},".encode() + hashlib.sha256(read_file(path)).digest())
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
                return read_file(places[key]), str(places[key])
        else:
            columns = zip(self.table["identity"].to_pylist(), self.table["sample"].to_pylist(), strict=True)
            rows = {key: row for row, key in enumerate(columns)}
            images, where = self.table["image"], self.settings.path

            def fetch(key: tuple[int, int]) -> tuple[bytes, str]:
                return images[rows[key]].as_py()["bytes"], f"{where}: identity {key[0]}, sample {key[1]}"

        def read(identity: int, sample: int) -> Images:
            image = decode(*fetch((identity, sample)))
            return image if self.settings.size_px is None else square(image, self.settings.size_px)

        return read


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
