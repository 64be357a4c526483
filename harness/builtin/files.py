"""Protocols that read the field's files: ``bin``, ``parquet-pairs`` and ``folder-pairs``.

Their faces are ArcFace crops already, so each comes with the reference landmarks as its own: the warp to the suite's
crop is then the identity, or a resize, and nothing is detected.

Letters: B images of a batch, P pairs, S side of an image in pixels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from harness.components import FaceProtocol, ImageBatch, License, PairSet, Run, SamplePlan, Settings
from harness.data.batches import Picture, read_batches
from harness.data.bins import BinFile, contiguous_folds, pair_identities
from harness.data.pairlists import PairList, balanced_folds, read_pairs
from harness.data.parquet_pairs import ParquetPairFile
from harness.data.pictures import read_file
from harness.errors import DataError
from harness.stats.intervals import PairIdentities

if TYPE_CHECKING:
    from harness.faces.faceset import FaceSet

TERMS = License("the data set's own terms")


class BinSettings(Settings):
    """Which ``.bin`` file."""

    path: Path = Field(description="the verification file, such as lfw.bin, of aligned square crops")
    folds: int = Field(10, ge=2, le=100, description="contiguous parts in file order; the published protocol has 10")


class BinProtocol(FaceProtocol):
    """A verification ``.bin`` file: aligned crops with genuine and impostor pairs, in contiguous folds.

    The file does not say who is shown. The two images of a genuine pair get one identity, every other image one of its
    own. People who occur in several pairs are not recognized as such, so pairs, not people, are what is resampled for
    an interval.
    """

    Settings: ClassVar[type[Settings]] = BinSettings
    license = TERMS

    @cached_property
    def file(self) -> BinFile | ParquetPairFile:
        """The file, opened."""
        file, folds = self.open(), self.settings.folds
        if len(file.same) < folds:
            text = f"{len(file.same)} pairs do not fill {folds} folds; give fewer folds or more pairs"
            raise DataError(f"{file.path}: {text}")
        return file

    def open(self) -> BinFile | ParquetPairFile:
        """Open the file."""
        path = self.settings.path
        state = (path.stat().st_size, path.stat().st_mtime_ns) if path.is_file() else (0, 0)
        return _open_bin(path, *state)

    def identity(self) -> dict[str, Any]:
        """What the file holds instead of its place."""
        return {"content": self.file.content(), "folds": self.settings.folds}

    def size(self) -> tuple[int, int]:
        """The pairs of the file, of people it does not name."""
        return len(self.file.same), 0

    def plan(self, run: Run) -> SamplePlan:
        """Every image, in the order of the file."""
        identities = pair_identities(self.file.same)
        return SamplePlan(identities, np.arange(len(identities)) - identities)

    def sample(self, plan: SamplePlan, run: Run) -> Iterator[ImageBatch]:
        """Read the planned images."""
        indices = (plan.identities + plan.samples).tolist()
        images = zip(indices, self.file.encoded(indices), strict=True)
        yield from read_batches(
            plan, (Picture(data, f"images/{index:06d}", self.file.place(index)) for index, data in images)
        )

    def pairs(self, faces: FaceSet, run: Run) -> PairSet:
        """Images 2k and 2k + 1 are pair k."""
        first = np.arange(0, len(self.file), 2, dtype=np.int64)
        return PairSet(first, first + 1, self.file.same, contiguous_folds(len(first), self.settings.folds))


class ParquetPairsSettings(Settings):
    """Which parquet files."""

    path: Path = Field(description="a parquet file, or a folder of such, with the columns image1, image2 and label")
    folds: int = Field(10, ge=2, le=100, description="parts of the genuine and of the impostor pairs, in file order")


class ParquetPairs(BinProtocol):
    """Pairs of images in parquet, one per row, as on Hugging Face; of who is shown it says as little as a ``.bin``."""

    Settings: ClassVar[type[Settings]] = ParquetPairsSettings

    def open(self) -> ParquetPairFile:
        """Open the files."""
        return ParquetPairFile(self.settings.path)

    def pairs(self, faces: FaceSet, run: Run) -> PairSet:
        """Images 2k and 2k + 1 are pair k; the rows may be ordered by label."""
        pairs = super().pairs(faces, run)
        return replace(pairs, fold=balanced_folds(pairs.same, self.settings.folds))


class FolderPairsSettings(Settings):
    """Which folder and list."""

    path: Path = Field(
        description="the folder of the images: aligned square crops, or photographs if the protocol has an aligner"
    )
    pairs: Path | None = Field(None, description="the list of pairs; default pairs.txt or pairs.csv in the folder")
    folds: int = Field(10, ge=2, le=100, description="parts of a list that brings no folds of its own")


class FolderPairs(FaceProtocol):
    """A folder of images with a list of pairs, in the formats in which benchmarks publish them.

    Some formats name the people. From paths and labels alone, images that genuine pairs connect are one identity;
    where an impostor pair contradicts that, evaluators see it and take the pairs as independent.
    """

    Settings: ClassVar[type[Settings]] = FolderPairsSettings
    license = TERMS

    @cached_property
    def listed(self) -> PairList:
        """The list, read."""
        return read_pairs(self.settings.path, self.settings.pairs, self.settings.folds)

    def identity(self) -> dict[str, Any]:
        """What list and images hold instead of their place."""
        listed, state = self.listed, hashlib.sha256()
        for column in (listed.a, listed.b, listed.same, listed.fold, listed.identities, listed.samples):
            state.update(np.ascontiguousarray(column).tobytes())
        if listed.group is not None:
            state.update(repr(listed.group.tolist()).encode())
        for path in listed.files:
            state.update(hashlib.sha256(read_file(path)).digest())
        return {"content": state.hexdigest()}

    def size(self) -> tuple[int, int]:
        """The pairs of the list, and the people if it tells who is who."""
        a, b = (self.listed.identities[side] for side in (self.listed.a, self.listed.b))
        identities = PairIdentities.known(a, b, self.listed.same)
        return len(a), identities.count if identities else 0

    def plan(self, run: Run) -> SamplePlan:
        """Every image that occurs in a pair, in the order of the list."""
        return SamplePlan(self.listed.identities, self.listed.samples)

    def sample(self, plan: SamplePlan, run: Run) -> Iterator[ImageBatch]:
        """Read the planned images."""
        listed = self.listed
        keys = zip(listed.identities.tolist(), listed.samples.tolist(), strict=True)
        place = dict(zip(keys, listed.files, strict=True))
        files = [place[key] for key in zip(plan.identities.tolist(), plan.samples.tolist(), strict=True)]
        root: Path = self.settings.path
        yield from read_batches(
            plan, (Picture(read_file(file), file.relative_to(root).as_posix(), str(file)) for file in files)
        )

    def pairs(self, faces: FaceSet, run: Run) -> PairSet:
        """The pairs of the list."""
        return PairSet(self.listed.a, self.listed.b, self.listed.same, self.listed.fold, group=self.listed.group)


@lru_cache(maxsize=4)
def _open_bin(path: Path, size: int, changed_ns: int) -> BinFile:
    """A worker draws many shards of one protocol and lists the file's images once; size and time tell a new file."""
    return BinFile(path)
