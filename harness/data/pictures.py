"""Encoded images from untrusted files: which format, how large, and their pixels."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from harness.arrays import Images
from harness.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

# Formats that Pillow decodes by itself, with the suffix of their files. Others are refused: for EPS, say, Pillow starts
# another program.
SUFFIX_OF = {"PNG": ".png", "JPEG": ".jpg", "BMP": ".bmp", "WEBP": ".webp", "PPM": ".ppm", "TIFF": ".tif"}
SUFFIXES = frozenset({*SUFFIX_OF.values(), ".jpeg", ".pgm", ".tiff"})
MAX_SIDE_PX = 4096  # a kilobyte of PNG can claim gigabytes of pixels; no face crop comes near this side
MAX_BYTES = 1 << 26  # of one encoded image: as much as MAX_SIDE_PX need without compression
_TIFF_TILE = (322, 323)  # tags of width and length: a small image may lie in a huge tile
BATCH = 64  # images that are decoded at once
MAX_BATCH_PX = 1 << 26  # and their pixels together: 64 of 1024 px a side, 200 MB


@dataclass(frozen=True)
class Header:
    """What an encoded image says of itself: ``format`` of ``SUFFIX_OF``, size in pixels, Pillow's color ``mode``."""

    format: str
    width_px: int
    height_px: int
    mode: str


def read_file(path: Path) -> bytes:
    """The bytes of an image file.

    Raises:
        DataError: it cannot be read, or is larger than ``MAX_BYTES``.
    """
    try:
        if not path.is_file():  # a pipe, say, would be waited for
            raise DataError(f"{path}: cannot be read (it is no file); expected an image")
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise DataError(f"{path}: {size:,} bytes; images of at most {MAX_BYTES:,} bytes are read")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); expected an image") from error


def read_header(data: bytes, where: str) -> Header:
    """Read format and size without decoding the pixels.

    Args:
        where: names the image in the error.

    Raises:
        DataError: the bytes are no image, or it is larger than ``MAX_SIDE_PX``.
    """
    with _opened(data, where) as (_, header):
        return header


def decode(data: bytes, where: str) -> Images:
    """Decode to uint8 RGB [H, W, 3].

    Args:
        where: names the image in the error.

    Raises:
        DataError: the bytes are no readable image, or it is larger than ``MAX_SIDE_PX``.
    """
    with _opened(data, where) as (image, _):
        return np.asarray(image.convert("RGB"))


def batches(images: Iterable[Images]) -> Iterator[list[Images]]:
    """Consecutive images of one size, at most ``BATCH`` and with at most ``MAX_BATCH_PX`` together."""
    pending: list[Images] = []
    for image in images:
        height, width = image.shape[:2]
        full = len(pending) == BATCH or (len(pending) + 1) * height * width > MAX_BATCH_PX
        if pending and (full or pending[0].shape != image.shape):
            yield pending
            pending = []
        pending.append(image)
    if pending:
        yield pending


@contextmanager
def _opened(data: bytes, where: str) -> Iterator[tuple[Image, Header]]:
    from PIL import Image, UnidentifiedImageError

    if not data:
        raise DataError(f"{where}: not a readable image (it has no bytes); remove it or write it again")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # sizes are judged below, damaged metadata does not matter
            with Image.open(io.BytesIO(data), formats=list(SUFFIX_OF)) as image:
                header = Header(str(image.format), image.width, image.height, image.mode)
                if max(image.size) > MAX_SIDE_PX:
                    size = f"{image.width} x {image.height} px"
                    raise DataError(f"{where}: the image claims {size}; at most {MAX_SIDE_PX} px a side are read")
                if max(map(int, (getattr(image, "tag_v2", {}).get(tag, 0) for tag in _TIFF_TILE))) > MAX_SIDE_PX:
                    raise DataError(f"{where}: the image claims larger tiles than {MAX_SIDE_PX} px a side")
                yield image, header
    except DataError:
        raise
    except Exception as error:  # decoders raise whatever damaged bytes lead them to: struct.error, IndexError, ...
        text = "unknown format" if isinstance(error, UnidentifiedImageError) else f"{error}"
        raise DataError(f"{where}: not a readable image ({text}); remove it or write it again") from error
