"""Images from untrusted bytes."""

from __future__ import annotations

import struct
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.data.pictures import decode, read_file, read_header
from harness.errors import DataError


def png(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims a size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(60_000, 60_000), (5_000, 1), (2**31 - 1, 2**31 - 1)])
def test_a_few_bytes_that_claim_gigabytes_of_pixels(size: tuple[int, int]) -> None:
    with pytest.raises(DataError, match=r"face 3: (the image claims .* px; at most 4096 px|not a readable image)"):
        decode(png(*size), "face 3")


def test_formats_that_start_other_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow draws EPS with Ghostscript."""
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **options: pytest.fail("a program was started"))
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n%%EOF\n"
    with pytest.raises(DataError, match=r"face 3: not a readable image \(unknown format\)"):
        decode(eps, "face 3")


def test_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_file(tmp_path)
    (tmp_path / "x").write_bytes(b"12345")
    assert read_file(tmp_path / "x") == b"12345"
    monkeypatch.setattr("harness.data.pictures.MAX_BYTES", 4)
    with pytest.raises(DataError, match="5 bytes; images of at most 4 bytes are read"):
        read_file(tmp_path / "x")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), which=st.integers(0, 3))
def test_changed_bytes(data: st.DataObject, which: int, faces: list[bytes]) -> None:
    whole = bytearray(faces[which])
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        header = read_header(bytes(whole), "face 3")
        image = decode(bytes(whole), "face 3")
    except DataError as error:
        named = str(error).startswith("face 3: ")
        assert named
    else:
        assert image.shape == (header.height_px, header.width_px, 3)
        assert image.dtype == np.uint8
