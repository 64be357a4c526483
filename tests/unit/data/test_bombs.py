"""A few kilobytes that stand for gigabytes: what is read of them takes a bounded share of memory."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from harness.data.pages import page_sizes
from harness.data.parquet import ParquetImages
from harness.data.pictures import decode
from harness.errors import DataError, InputError

# What a process does, with a limit so that a fault cannot take the machine; prints the error and how many MB it took.
CHILD = """
import resource, sys
from pathlib import Path
import numpy, pyarrow.parquet, PIL.Image
from harness.builtin.files import BinProtocol, BinSettings
from harness.builtin.packed import RecordIOSettings, RecordIOSource
from harness.builtin.images import ImagesSettings, ImagesSource
from harness.components import Run
from harness.data.datasets import open_dataset
from harness.errors import HarnessError

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10

def drawn(component):
    for batch in component.sample(component.plan(Run(0)), Run(0)):
        pass

path, before = Path(sys.argv[1]), peak()
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
try:
    {work}
except HarnessError as error:
    print(error)
print(peak() - before)
"""
SOURCE = "drawn(ImagesSource(ImagesSettings(path=path)))"
DATASET = "len(next(open_dataset(path).encoded()))"


def run(work: str, path: Path) -> tuple[str, int]:
    """What the work said, and how many MB it took beyond what was there."""
    command = [sys.executable, "-c", CHILD.format(work=work), str(path)]
    env = os.environ | {"ARROW_DEFAULT_MEMORY_POOL": "system", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=env)
    assert done.returncode == 0, done.stderr
    *said, peak = done.stdout.splitlines()
    return "\n".join(said), int(peak)


def black(side: int = 4096) -> bytes:
    """A PNG without content: 50 kB for 50 MB."""
    buffer = io.BytesIO()
    Image.new("RGB", (side, side)).save(buffer, "PNG")
    return buffer.getvalue()


def images(folder: Path) -> str:
    (folder / "a").mkdir()
    image = black()
    for number in range(16):
        (folder / "a" / f"{number}.png").write_bytes(image)
    return ""


def repeats(count: int) -> Callable[[Path], str]:
    """A pickle, by hand, that keeps one image and lists it many times."""

    def write(path: Path) -> str:
        image = black()
        path.write_bytes(
            b"\x80\x03](B" + struct.pack("<I", len(image)) + image + b"q\x01" + b"h\x01" * (count - 1) + b"e]("
            + b"\x88" * (count // 2) + b"e\x86."
        )  # fmt: skip
        return "" if count < 65 else f"{count:,} images of"

    return write


def rows(folder: Path) -> str:
    """A hundred million rows of one identity."""
    schema = pa.schema(
        [("identity", pa.int64()), ("sample", pa.int64()), ("image", pa.struct([("bytes", pa.binary())]))]
    )
    count = 1 << 20
    part = pa.table(
        [np.zeros(count, np.int64), np.zeros(count, np.int64), pa.nulls(count, schema.field(2).type)], schema
    )
    with pq.ParquetWriter(folder / "a.parquet", schema, compression="zstd") as writer:
        for _ in range(100):
            writer.write_table(part, row_group_size=count)
    return "104,857,600 rows in"


def dictionary(folder: Path) -> str:
    """One value of 40 MB, compressed, which a hundred rows name."""
    values = pa.DictionaryArray.from_arrays(pa.array([0] * 100, pa.int32()), pa.array([bytes(40 << 20)], pa.binary()))
    table = {"identity": range(100), "sample": range(100), "image": pa.StructArray.from_arrays([values], ["bytes"])}
    pq.write_table(
        pa.table(table), folder / "a.parquet", compression="zstd", store_schema=False, dictionary_pagesize_limit=1 << 30
    )
    return ""


def page(folder: Path) -> str:
    """One value of 150 MB, compressed."""
    table = {"identity": [0], "sample": [0], "image": [{"bytes": bytes(150 << 20)}]}
    pq.write_table(pa.table(table), folder / "a.parquet", compression="zstd", use_dictionary=False)
    return "bytes of image.bytes claim to hold"


def labels(path: Path) -> str:
    """A record with fifteen million labels and no image."""
    count = 15_000_000
    with path.open("wb") as file:
        file.write(struct.pack("<II", 0xCED7230A, 24 + 4 * count) + struct.pack("<IfQQ", count, 0.0, 0, 0))
        file.truncate(8 + 24 + 4 * count)
    return "15,000,000 labels are declared; at most 1,024 are read"


BOMBS: dict[str, tuple[str, Callable[[Path], str], str, int, int]] = {
    # how it is written, its name, what reads it, its largest size in kB, the most MB that may be taken
    "images": ("", images, SOURCE, 3000, 800),
    "a .bin of one image": ("a.bin", repeats(16), "drawn(BinProtocol(BinSettings(path=path, folds=2)))", 110, 800),
    "a .bin of one image, many times": ("a.bin", repeats(20_000), "open_dataset(path)", 110, 100),
    "parquet of many rows": ("", rows, SOURCE, 1300, 200),
    "parquet of many rows, inspected": ("", rows, DATASET, 1300, 200),
    "parquet of one image": ("", dictionary, SOURCE, 60, 700),
    "parquet of one image, inspected": ("", dictionary, DATASET, 60, 700),
    "parquet with a large page": ("", page, SOURCE, 60, 100),
    "labels": ("a.rec", labels, "open_dataset(path)", 60_000, 100),
}  # fmt: skip


@pytest.mark.parametrize("case", BOMBS)
def test_memory_is_bounded(tmp_path: Path, case: str) -> None:
    name, write, work, most_kb, most_mb = BOMBS[case]
    folder = tmp_path / "data"
    folder.mkdir()
    says = write(folder / name if name else folder)
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) < most_kb << 10
    said, taken = run(work, folder / name if name else folder)
    assert says in said
    assert said.count("\n") == 0
    assert taken < most_mb


def test_a_small_image_in_a_huge_tile() -> None:
    """A TIFF, by hand, of 16 x 16 px in one tile of 16,384 x 16,384."""
    packer = zlib.compressobj(9)
    data = b"".join([*(packer.compress(bytes(1 << 20)) for _ in range(256)), packer.flush()])
    tags = [(256, 16), (257, 16), (258, 8), (259, 8), (262, 1), (277, 1), (322, 16384), (323, 16384), (324, 134)]
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in [*tags, (325, len(data))]]
    tiff = b"II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(entries) + bytes(4) + data
    with pytest.raises(DataError, match="claims larger tiles than 4096 px a side"):
        decode(tiff, "a.tif")


def made(path: Path, count: int = 3000, **options: Any) -> list[bytes]:
    rng = np.random.default_rng(0)
    data = [rng.bytes(int(size)) for size in rng.integers(1, 3000, count)]
    image = [{"bytes": each, "path": f"{number}.png"} for number, each in enumerate(data)]
    table = pa.table(
        {"identity": [n // 5 for n in range(count)], "sample": [n % 5 for n in range(count)], "image": image}
    )
    pq.write_table(table, path, **options)
    return data


OPTIONS: dict[str, dict[str, Any]] = {
    "the default": {},
    "not compressed": {"compression": "none"},
    "pages of version 2": {"data_page_version": "2.0", "compression": "zstd"},
    "no dictionary": {"use_dictionary": False, "compression": "gzip"},
    "checksums and statistics": {"write_page_checksum": True, "write_statistics": True, "write_page_index": True},
    "small groups": {"row_group_size": 7},
    "small pages": {"data_page_size": 100, "dictionary_pagesize_limit": 1000},
}


@pytest.mark.parametrize("case", OPTIONS)
def test_what_pyarrow_writes_is_read_whole(tmp_path: Path, case: str) -> None:
    path = tmp_path / "a.parquet"
    data = made(path, **OPTIONS[case])
    found = ParquetImages([path, path], ("identity", "sample"))
    assert list(found.encoded(range(6000))) == data + data
    assert list(found.encoded([2, 1000, 999, 5999, 3000])) == [data[n % 3000] for n in (2, 1000, 999, 5999, 3000)]
    assert found.column("identity").tolist() == [n // 5 for n in range(3000)] * 2
    assert found.names() == [f"{n}.png" for n in range(3000)] * 2
    assert found.place(3001) == f"{path}: row 1"
    group = pq.read_metadata(path).row_group(0)
    for number in range(group.num_columns):
        chunk = group.column(number)
        sizes = list(page_sizes(path, chunk))
        assert 0 <= chunk.total_uncompressed_size - sum(sizes) < 8000 * len(sizes)  # the rest: headers


def test_a_page_that_claims_more_than_the_file_says(tmp_path: Path) -> None:
    """What the footer says stays; the header of the page says that 128 MB must be reserved."""
    path = tmp_path / "a.parquet"
    image = [{"bytes": bytes(3 << 20)}]
    pq.write_table(pa.table({"identity": [0], "sample": [0], "image": image}), path, use_dictionary=False)
    chunk = pq.read_metadata(path).row_group(0).column(2)
    data = bytearray(path.read_bytes())
    (size,) = page_sizes(path, chunk)
    at = data.index(bytes([0x15, *varint(2 * size)]), chunk.data_page_offset)
    data[at + 1 : at + 5] = varint(2 * ((1 << 27) - 1))
    path.write_bytes(data)
    assert list(page_sizes(path, chunk)) == [(1 << 27) - 1]
    with pytest.raises(DataError, match="claim to hold 134,217,727 and more; at most 67,108,864 are read"):
        list(ParquetImages([path], ("identity",)).encoded([0]))


def varint(value: int) -> bytes:
    out = []
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


@pytest.mark.parametrize("seed", range(40))
def test_changed_bytes_of_parquet_are_one_line(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "a.parquet"
    made(path, count=50)
    data = bytearray(path.read_bytes())
    rng = np.random.default_rng(seed)
    for at in rng.integers(4, len(data) if seed % 2 else len(data) // 2, 3):
        data[at] = rng.integers(256)
    path.write_bytes(data)
    fault = ""
    try:
        found = ParquetImages([path], ("identity", "sample"))
        list(found.encoded(range(min(len(found), 100))))
        found.column("identity")
        found.names()
    except DataError as error:
        fault = str(error)
    assert fault.startswith(str(tmp_path) if fault else "")
    assert "\n" not in fault


def test_pipes_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.parquet")
    for work in (SOURCE, DATASET):
        assert "a.parquet: it is no file; expected parquet" in run(work, tmp_path)[0]
    (tmp_path / "a.parquet").unlink()
    data = struct.pack("<IfQQ", 0, 0.0, 0, 0) + b"face"
    (tmp_path / "a.rec").write_bytes(struct.pack("<II", 0xCED7230A, len(data)) + data)
    os.mkfifo(tmp_path / "a.idx")
    assert "a.idx: cannot be read (it is no file)" in run("open_dataset(path)", tmp_path / "a.rec")[0]


def test_devices_are_no_files(tmp_path: Path) -> None:
    for name in ("a.bin", "a.rec"):
        (tmp_path / name).symlink_to("/dev/zero")
        with pytest.raises(InputError):
            run_here(tmp_path / name)


def run_here(path: Path) -> None:
    from harness.data.datasets import open_dataset

    open_dataset(path)
