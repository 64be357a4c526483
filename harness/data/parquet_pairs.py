"""Pairs of images in parquet files, one pair per row, as Hugging Face publishes them.

Letters: P pairs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

import numpy as np

from harness.arrays import Bools
from harness.data.bins import bin_content
from harness.data.folders import parquet_files
from harness.data.parquet import ParquetImages
from harness.errors import DataError

SIDES = ("image1", "image2")


class ParquetPairFile:
    """Parquet files with the columns image1, image2 {bytes, path} and label (1 or true: the same person).

    Images 2k and 2k + 1 are those of row k, as in a ``.bin`` file.

    Raises:
        DataError: there is no such file, a file is damaged or lacks a column, or a label is neither 0 nor 1.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        files = parquet_files(path) if path.is_dir() else [path]
        if not files:
            raise DataError(f"{path}: no parquet file in it; expected some with image1, image2 and label")
        self.sides = [ParquetImages(files, ("label",), image=side) for side in SIDES]

    def __len__(self) -> int:
        return 2 * len(self.sides[0])

    @cached_property
    def same(self) -> Bools:
        """Whether each pair is genuine, bool [P]."""
        labels = self.sides[0].column("label")
        if not np.isin(labels, (0, 1)).all():
            raise DataError(f"{self.path}: label {labels[~np.isin(labels, (0, 1))][0]}; expected 1 (same person) or 0")
        return labels.astype(bool)

    def place(self, index: int) -> str:
        """Names image ``index`` in messages."""
        return f"{self.sides[index % 2].place(index // 2)}: {SIDES[index % 2]}"

    def encoded(self, indices: Iterable[int] | None = None) -> Iterator[bytes]:
        """The encoded bytes of images (default: all), one at a time."""
        wanted = list(range(len(self)) if indices is None else indices)
        rows = [[index // 2 for index in wanted if index % 2 == side] for side in (0, 1)]
        readers = [side.encoded(of_side) for side, of_side in zip(self.sides, rows, strict=True)]
        for index in wanted:
            yield next(readers[index % 2])

    def content(self) -> str:
        """Digest of labels and encoded images, that of a ``.bin`` file which holds the same."""
        return bin_content(self.encoded(), self.same)
