"""Image coding: PNG bytes, uint8 arrays and model inputs.

Letters: N images, H, W height and width in pixels, S side of a square in pixels.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

from harness.arrays import Images
from harness.errors import DataError

if TYPE_CHECKING:
    import torch

_PNG_SIGNATURE, _JPEG_SIGNATURE = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
# Fast PNG: the images are small and the store is local; content digests are over pixels, not over these bytes.
_PNG_LEVEL = 1


def encode_png(image: Images) -> bytes:
    """Encode one uint8 RGB image [H, W, 3]."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", compress_level=_PNG_LEVEL)
    return buffer.getvalue()


def kept_suffix(data: bytes) -> str:
    """The suffix of encoded images that are stored as they are: JPEG, PNG and WebP, which are small; else empty."""
    if data.startswith(_JPEG_SIGNATURE):
        return ".jpg"
    if data.startswith(_PNG_SIGNATURE):
        return ".png"
    return ".webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else ""


def decode_image(data: bytes, where: str) -> Images:
    """Decode image bytes of any common format to uint8 RGB [H, W, 3].

    Args:
        where: names the image in the error.

    Raises:
        DataError: the bytes are not a readable image.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{where}: not a readable image ({error}); remove it or write it again") from error


def pixel_digest(image: Images) -> bytes:
    """16 bytes that identify the pixels and the shape of one image."""
    state = hashlib.blake2b(repr(image.shape).encode(), digest_size=16)
    state.update(np.ascontiguousarray(image).data)
    return state.digest()


def to_unit(images: Images, size_px: int | None = None) -> torch.Tensor:
    """uint8 RGB [N, H, W, 3] to float32 [N, 3, S, S] in [-1, 1]; other sizes are resized (bilinear, antialiased)."""
    import torch
    from torch.nn import functional as F

    x = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 127.5 - 1.0
    if size_px is not None and tuple(x.shape[-2:]) != (size_px, size_px):
        x = F.interpolate(x, size=(size_px, size_px), mode="bilinear", align_corners=False, antialias=True)
    return x.contiguous()


def from_unit(x: torch.Tensor) -> Images:
    """Float [N, 3, S, S] in [-1, 1], clamped, to uint8 RGB [N, S, S, 3]."""
    import torch

    levels = ((x.detach().float().clamp(-1, 1) + 1.0) * 127.5).round().to(torch.uint8)
    return levels.permute(0, 2, 3, 1).contiguous().cpu().numpy()


def alike(images: Sequence[Images]) -> Images:
    """Images in one array [N, H, W, 3]; where their sizes differ, the central square of each at 64 px."""
    if len({image.shape for image in images}) > 1:
        images = [np.asarray(ImageOps.fit(Image.fromarray(image), (64, 64))) for image in images]
    return np.stack(images)


def contact_sheet(images: Images, columns: int, scale: int = 1) -> bytes:
    """Tile images [N, H, W, 3] row by row into one PNG, each pixel ``scale`` times enlarged."""
    count, height, width, _ = images.shape
    rows = -(-count // columns)
    sheet = np.zeros((rows * height, columns * width, 3), dtype=np.uint8)
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        sheet[row * height : (row + 1) * height, column * width : (column + 1) * width] = image
    return encode_png(sheet.repeat(scale, axis=0).repeat(scale, axis=1))
