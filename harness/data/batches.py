"""Encoded images read as batches, with the names and the bytes of their files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from harness.arrays import Images
from harness.components.images import ImageBatch, SamplePlan
from harness.data.pictures import batches, decode
from harness.errors import DataError


@dataclass(frozen=True)
class Picture:
    """One encoded image: its ``data``, its ``name`` below the data set's folder, and ``where`` it lies, for errors."""

    data: bytes
    name: str
    where: str


def read_batches(
    plan: SamplePlan, pictures: Iterable[Picture], cut: Callable[[Images], Images] | None = None
) -> Iterator[ImageBatch]:
    """Decode the planned images; consecutive ones of one size share a batch.

    Args:
        plan: names the images, in order.
        cut: changes every image, or raises a ``DataError``; then the file's bytes are not those of its pixels, and are
            left out.

    Raises:
        DataError: an image is damaged or too large.
    """
    read: list[Picture] = []

    def images() -> Iterator[Images]:
        for picture in pictures:
            read.append(picture)
            image = decode(picture.data, picture.where)
            yield image if cut is None else _cut(cut, image, picture.where)

    start = 0
    for several in batches(images()):
        rows = plan.rows(start, start + len(several))
        these, read[: len(several)] = read[: len(several)], []
        yield ImageBatch(
            rows.identities,
            rows.samples,
            np.stack(several),
            names=[picture.name for picture in these],
            encoded=[] if cut else [picture.data for picture in these],
        )
        start += len(several)


def _cut(cut: Callable[[Images], Images], image: Images, where: str) -> Images:
    try:
        return cut(image)
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
