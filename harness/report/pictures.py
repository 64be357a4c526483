"""Pictures of the result folders, made small enough to be embedded."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

WIDTHS = (640, 480, 360, 280, 200)  # pixels, tried in this order until a picture is small enough
QUALITY = 72


@dataclass(frozen=True)
class Picture:
    """An embedded picture: its name, its data URI, and its size in pixels as it is shown."""

    name: str
    uri: str
    width: int
    height: int


def embed(path: Path, most_bytes: int, most_px: int = WIDTHS[0]) -> Picture | None:
    """The picture as WebP; None if it is not there or too large.

    Args:
        most_bytes: length of the data URI.
        most_px: its width, one of ``WIDTHS``.
    """
    try:
        with Image.open(path) as opened:
            image = opened.convert("RGB")
    except (OSError, ValueError):
        return None
    for width in WIDTHS:
        if width <= most_px and (image.width > width or width == most_px):
            small = image.copy()
            small.thumbnail((width, 4 * width))
            made = webp_uri(small)
            if len(made) <= most_bytes:
                return Picture(path.stem, made, small.width, small.height)
    return None


def webp_uri(image: Image.Image) -> str:
    """The picture as a data URI."""
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=QUALITY)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
