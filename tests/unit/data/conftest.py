"""Small faces, encoded."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Encode = Callable[..., bytes]


@pytest.fixture(scope="session")
def encode() -> Encode:
    """Encode an image whose pixels are a function of a number."""

    def make(number: int, format: str = "PNG", size_px: int = 16) -> bytes:
        pixels = np.random.default_rng(number).integers(0, 256, (size_px, size_px, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, format)
        return buffer.getvalue()

    return make


@pytest.fixture(scope="session")
def faces(encode: Encode) -> list[bytes]:
    """24 encoded images, some of them JPEG."""
    return [encode(number, "JPEG" if number % 3 == 0 else "PNG") for number in range(24)]


@pytest.fixture
def tree(tmp_path: Path, encode: Encode) -> Path:
    """Aligned crops of three people in LFW's layout, one with a name that is not ASCII."""
    root = tmp_path / "lfw"
    for person in ("Ann_Lee", "Bo", "Zoë_Müller"):
        (root / person).mkdir(parents=True)
        for number in range(1, 5):
            file = root / person / f"{person}_{number:04d}.png"
            file.write_bytes(encode(len(person) * 100 + number))
    return root
