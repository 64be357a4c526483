"""Sources that read training sets of the field which lie in one file: ``recordio`` and ``lmdb``.

Their faces are ArcFace crops already, so each comes with the reference landmarks as its own, as in
:mod:`harness.builtin.files`.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from harness.arrays import Ints
from harness.builtin.files import TERMS
from harness.components import ImageBatch, Run, SamplePlan, Settings, Source
from harness.data.batches import Picture, read_batches
from harness.data.lmdbs import LmdbFile
from harness.data.recordio import RecordFile
from harness.errors import DataError
from harness.faces.landmarks import as_crops


class PackedSettings(Settings):
    """Which file and which part of it."""

    path: Path = Field(description="the file, or the folder that holds it")
    identities: tuple[int, int] | None = Field(
        None, description="take identities from this place to before that place, in numeric order; default: all"
    )
    per_identity: int | None = Field(None, ge=1, description="the first images of each identity; default: all")


class PackedSource(Source):
    """A training set in one file: aligned crops, one identity per label."""

    Settings: ClassVar[type[Settings]] = PackedSettings
    license = TERMS

    @property
    @abstractmethod
    def place(self) -> Path:
        """The file."""

    @abstractmethod
    def labels(self) -> tuple[Ints, Ints]:
        """Labels and places of all images, int64 [N], in the order of the file."""

    @abstractmethod
    def pictures(self, places: list[int]) -> Iterator[tuple[bytes, str]]:
        """The encoded images at places, and where they lie, for errors."""

    def identity(self) -> dict[str, Any]:
        """What the file holds instead of its place."""
        with self.place.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        return {"content": content, **self.settings.model_dump(mode="json", exclude={"path"})}

    def plan(self, run: Run) -> SamplePlan:
        """Every image, by identity and in the order of the file; the column ``offset`` is its place there."""
        labels, places = self.labels()
        order = np.argsort(labels, kind="stable")
        labels, places = labels[order], places[order]
        _, first, people = np.unique(labels, return_index=True, return_inverse=True)
        samples = np.arange(len(labels)) - first[people]
        wanted = np.ones(len(labels), dtype=bool)
        if self.settings.identities is not None:
            start, stop = self.settings.identities
            wanted &= (people >= start) & (people < stop)
        if self.settings.per_identity is not None:
            wanted &= samples < self.settings.per_identity
        if not wanted.any():
            raise DataError(f"{self.place}: no image in identities {self.settings.identities}; it has {len(first)}")
        items: dict[str, Any] = {"offset": places[wanted]}  # int64: float32 would lose bytes
        return SamplePlan(labels[wanted], samples[wanted], items)

    def sample(self, plan: SamplePlan, run: Run) -> Iterator[ImageBatch]:
        """Read the planned images."""
        places = np.asarray(plan.items["offset"]).astype(np.int64).tolist()
        names = [f"{who}/{sample}" for who, sample in zip(plan.identities.tolist(), plan.samples.tolist(), strict=True)]
        named = zip(self.pictures(places), names, strict=True)
        yield from map(as_crops, read_batches(plan, (Picture(data, name, where) for (data, where), name in named)))


class RecordIOSettings(PackedSettings):
    """Which RecordIO file and which part of it."""

    path: Path = Field(description="train.rec, or the folder that holds it, with train.idx beside it if there is one")


class RecordIOSource(PackedSource):
    """A training set in RecordIO, such as insightface publishes: aligned crops, one identity per label."""

    Settings: ClassVar[type[Settings]] = RecordIOSettings

    @cached_property
    def file(self) -> RecordFile:
        """The file."""
        return RecordFile(self.settings.path)

    @property
    def place(self) -> Path:
        """The file's path."""
        return self.file.path

    def labels(self) -> tuple[Ints, Ints]:
        """Identities of all images, and the bytes at which their records start, in the order of keys."""
        _, labels, offsets = self.file.images()
        return labels, offsets

    def pictures(self, places: list[int]) -> Iterator[tuple[bytes, str]]:
        """The images at byte offsets; the index is not needed for it."""
        for record, offset in zip(self.file.read_at(places), places, strict=True):
            yield record.data, self.file.place(offset)


class LmdbSettings(PackedSettings):
    """Which LMDB database and which part of it."""

    path: Path = Field(description="the database in one file, or its folder; of the layout of folder2lmdb")


class LmdbSource(PackedSource):
    """A training set in LMDB, as ``harness data export --format lmdb`` and ``folder2lmdb`` write it: aligned crops."""

    Settings: ClassVar[type[Settings]] = LmdbSettings

    @cached_property
    def file(self) -> LmdbFile:
        """The database."""
        return LmdbFile(self.settings.path)

    @property
    def place(self) -> Path:
        """The database's file."""
        return self.file.file

    def labels(self) -> tuple[Ints, Ints]:
        """Labels of all images, and their keys."""
        labels = self.file.labels()
        return labels, np.arange(len(labels))

    def pictures(self, places: list[int]) -> Iterator[tuple[bytes, str]]:
        """The images of keys."""
        for data, key in zip(self.file.encoded(places), places, strict=True):
            yield data, self.file.place(key)
