"""Damaged and hostile weights files end in one line, and their size is not believed before it was checked."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from harness.errors import DataError
from harness.store.weights import load_tensors, read_header, weights_content

ONE = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
INFO = {"harness": '{"role": "model", "kind": "toy/1", "settings": {}}'}


def written(path: Path, header: Any, data: bytes = bytes(8), length: int | None = None) -> Path:
    """A safetensors file by hand; ``header`` is JSON or plain values, ``length`` what it claims to have."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


BROKEN: dict[str, tuple[Any, int | None]] = {
    "a header longer than the file": ({"a": ONE}, 1 << 20),
    "a header of 2^63 bytes": ({"a": ONE}, 1 << 63),
    "deep JSON": (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", None),
    "deep JSON of tables": (b'{"a": ' * 100_000 + b"0" + b"}" * 100_000, None),
    "a list": ([ONE], None),
    "no JSON": (b"\x80\x02}.", None),
    "no text": (b'{"\xff": 1}', None),
    "a key twice": (b'{"a": %b, "a": %b}' % ((json.dumps(ONE).encode(),) * 2), None),
    "a number instead of a tensor": ({"a": 1}, None),
    "nothing but a shape": ({"a": {"shape": [2]}}, None),
    "more than the format has": ({"a": {**ONE, "strides": [1]}}, None),
    "a negative offset": ({"a": {**ONE, "data_offsets": [-8, 0]}}, None),
    "offsets the wrong way round": ({"a": {**ONE, "data_offsets": [8, 0]}}, None),
    "a huge offset": ({"a": {**ONE, "data_offsets": [0, 1 << 62]}}, None),
    "an offset of 5,000 digits": (b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, ' + b"9" * 5000, None),
    "offsets that are text": ({"a": {**ONE, "data_offsets": ["0", "8"]}}, None),
    "three offsets": ({"a": {**ONE, "data_offsets": [0, 4, 8]}}, None),
    "an infinite offset": (b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, Infinity]}}', None),
    "overlapping tensors": ({"a": ONE, "b": ONE}, None),
    "a hole": ({"a": {**ONE, "shape": [1], "data_offsets": [4, 8]}}, None),
    "bytes after the last tensor": ({"a": {**ONE, "shape": [1], "data_offsets": [0, 4]}}, None),
    "an unknown dtype": ({"a": {**ONE, "dtype": "F33"}}, None),
    "a dtype that is a list": ({"a": {**ONE, "dtype": ["F32"]}}, None),
    "another dtype than the bytes": ({"a": {**ONE, "dtype": "F64"}}, None),
    "a huge shape": ({"a": {**ONE, "shape": [1 << 40, 1 << 40]}}, None),
    "a negative shape": ({"a": {**ONE, "shape": [-1, -2]}}, None),
    "a shape of 100,000 sides": ({"a": {**ONE, "shape": [1] * 100_000}}, None),
    "a shape of truth values": ({"a": {**ONE, "shape": [True, 2]}}, None),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a_malformed_header_is_one_line(tmp_path: Path, case: str) -> None:
    header, length = BROKEN[case]
    path = written(tmp_path / "w.safetensors", header, length=length)
    for read in (read_header, weights_content, load_tensors):
        with pytest.raises(DataError) as caught:
            read(path)
        message = str(caught.value)
        assert message.startswith(f"{path}: not a safetensors file (")
        assert "\n" not in message
        assert len(message) < 1000


def test_what_others_write_is_read(tmp_path: Path) -> None:
    arrays = {"b": np.arange(3), "a": np.ones((2, 2), dtype=np.float16), "none": np.zeros((0, 3)), "one": np.array(2.0)}
    save_file(arrays, tmp_path / "w.safetensors", metadata=INFO)
    header, start = read_header(tmp_path / "w.safetensors")
    assert set(header) == {*arrays, "__metadata__"}
    assert start % 8 == 0
    for name, tensor in load_tensors(tmp_path / "w.safetensors").items():
        assert np.array_equal(tensor.numpy(), arrays[name])


def test_the_content_is_read_block_by_block(tmp_path: Path) -> None:
    """400 MB of weights, digested within 160 MB of memory beyond what Python has at its start."""
    path = tmp_path / "w.safetensors"
    size = 400 << 20
    text = json.dumps({"a": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + size)
    code = f"""
import resource, psutil
from pathlib import Path
from harness.store.weights import weights_content
limit = psutil.Process().memory_info().vms + (160 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
print(weights_content(Path({str(path)!r})))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.strip()) == 64


def test_a_pipe_is_no_weights_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "w.safetensors")
    with pytest.raises(DataError, match="it is no file"):
        read_header(tmp_path / "w.safetensors")
    with pytest.raises(DataError, match="there is no such file"):
        read_header(tmp_path / "v.safetensors")
