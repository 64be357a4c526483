"""Images that exist: a folder per identity, or parquet with the columns identity, sample and image."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from harness.arrays import Images, Ints
from harness.components import ImageBatch, License, Run, SamplePlan, Settings, Source
from harness.data.batches import Picture, read_batches
from harness.data.folders import numeric_order, parquet_files
from harness.data.parquet import ParquetImages
from harness.data.pictures import SUFFIXES, read_file
from harness.errors import DataError, InputError


class ImagesSettings(Settings):
    """Where the images lie and which of them to take."""

    path: Path = Field(description="a folder with one folder of images per identity, or with parquet files")
    identities: tuple[int, int] | None = Field(
        None,
        description="take identities from this place to before that place, in numeric order, of those with enough "
        "images; default: all",
    )
    min_images: int = Field(1, ge=1, description="leave out identities with fewer images than this")
    cut_px: int | None = Field(
        None, ge=16, le=4096, description="cut the central square of this side in pixels; default: the largest, or none"
    )
    size_px: int | None = Field(
        None, ge=16, le=1024, description="resize the central square to this side in pixels; default: as is"
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
        folders = [
            sorted((file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES), key=numeric_order)
            for folder in people
        ]
        if not any(folders):
            raise InputError(f"{root}: no image found; expected NAME/IMAGE with one of {', '.join(sorted(SUFFIXES))}")
        empty = [folder for folder, files in zip(people, folders, strict=True) if not files]
        if empty:
            text = f"{empty[0]}: no image in it, so the identity is empty ({len(empty)} of {len(people)} are)"
            raise DataError(f"{text}; remove the folder or add its images")
        enough = [files for files in folders if len(files) >= self.settings.min_images]
        if not enough:
            most = max(map(len, folders))
            raise InputError(
                f"{root}: nobody has {self.settings.min_images} images; the most that anybody has is {most}"
            )
        first, last = self.settings.identities or (0, len(enough))
        listed = [
            (identity, sample, file)
            for identity, files in enumerate(enough)
            for sample, file in enumerate(files)
            if first <= identity < last
        ]
        if not listed:
            raise InputError(f"{root}: identities {list(self.settings.identities)} of {len(enough)} hold no image")
        return listed

    @cached_property
    def parquet(self) -> ParquetImages | None:
        """The images of a parquet dataset, or None for a folder tree.

        Raises:
            DataError: it is no such dataset.
        """
        paths = parquet_files(self.settings.path)
        return ParquetImages(paths, ("identity", "sample")) if paths else None

    @cached_property
    def rows(self) -> tuple[Ints, Ints, Ints]:
        """Identity, sample and row in the files of every image that is wanted of a parquet dataset, int64 [N] each.

        Raises:
            DataError: a value is missing, or an image is there twice.
        """
        assert self.parquet is not None
        identities, samples = self.parquet.column("identity"), self.parquet.column("sample")
        order = np.lexsort((samples, identities))
        ordered = np.stack([identities[order], samples[order]], axis=1)
        twice = np.flatnonzero((ordered[1:] == ordered[:-1]).all(axis=1))
        if len(twice):
            identity, sample = ordered[twice[0]].tolist()
            text = f"sample {sample} of identity {identity} is there twice; number it anew"
            raise DataError(f"{self.settings.path}: {text}")
        first, last = self.settings.identities or (-np.inf, np.inf)
        _, person, counts = np.unique(identities, return_inverse=True, return_counts=True)
        enough = counts[person] >= self.settings.min_images
        wanted = np.flatnonzero((identities >= first) & (identities < last) & enough)
        return identities[wanted], samples[wanted], wanted

    def identity(self) -> dict[str, Any]:
        """The files' bytes instead of their place."""
        state = hashlib.sha256()
        for identity, sample, data in self._encoded():
            state.update(f"{identity},{sample},".encode() + data)
        return {"content": state.hexdigest(), "cut_px": self.settings.cut_px, "size_px": self.settings.size_px}

    def _encoded(self) -> Iterator[tuple[int, int, bytes]]:
        """What stands for each image in the digest."""
        if self.parquet is None:
            for identity, sample, path in self.files:
                yield identity, sample, hashlib.sha256(read_file(path)).digest()
            return
        identities, samples, rows = (column.tolist() for column in self.rows)
        yield from zip(identities, samples, self.parquet.encoded(rows), strict=True)

    def plan(self, run: Run) -> SamplePlan:
        """Every image, by identity and sample."""
        if self.parquet is not None:
            return SamplePlan(*self.rows[:2])
        listed = np.array([(identity, sample) for identity, sample, _ in self.files], dtype=np.int64).reshape(-1, 2)
        return SamplePlan(listed[:, 0], listed[:, 1])

    def sample(self, plan: SamplePlan, run: Run) -> Iterator[ImageBatch]:
        """Read the planned images; consecutive ones of one size share a batch."""
        cut_px, size_px = self.settings.cut_px, self.settings.size_px
        as_is = cut_px is None and size_px is None
        cut = None if as_is else partial(square, size_px=size_px, cut_px=cut_px)
        yield from read_batches(plan, self._read(plan), cut)

    def _read(self, plan: SamplePlan) -> Iterator[Picture]:
        """The encoded images."""
        keys = list(zip(plan.identities.tolist(), plan.samples.tolist(), strict=True))
        if self.parquet is None:
            files = {(identity, sample): path for identity, sample, path in self.files}
            for file in (files[key] for key in keys):
                yield Picture(read_file(file), file.relative_to(self.settings.path).as_posix(), str(file))
            return
        identities, samples, rows = (column.tolist() for column in self.rows)
        places = dict(zip(zip(identities, samples, strict=True), rows, strict=True))
        wanted = [places[key] for key in keys]
        named = zip(keys, self.parquet.names(wanted), self.parquet.encoded(wanted), strict=True)
        for (identity, sample), name, data in named:
            yield Picture(data, name, f"{self.settings.path}: identity {identity}, sample {sample}")


def square(image: Images, size_px: int | None, cut_px: int | None = None) -> Images:
    """The central square of an image, of ``cut_px`` or as large as it can be, resized to ``size_px`` (Lanczos).

    Raises:
        DataError: the image is smaller than the square.
    """
    from PIL import Image

    height, width = image.shape[:2]
    side = cut_px or min(height, width)
    if side > min(height, width):
        raise DataError(f"it has {width} x {height} px, less than the square of {side} px; lower cut_px")
    top, left = (height - side) // 2, (width - side) // 2
    part = image[top : top + side, left : left + side]
    if size_px is None:
        return part
    return np.asarray(Image.fromarray(part).resize((size_px, size_px), Image.Resampling.LANCZOS))
