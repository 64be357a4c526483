"""Conversion between the formats; the encoded bytes of every image are kept."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import numpy as np

from harness.coding import kept_suffix
from harness.components.base import Crop
from harness.data.bins import Dialect, write_bin
from harness.data.datasets import BinData, DataSet, FolderData, IJBData, PairFolderData, RecordData, open_dataset
from harness.data.pairlists import CSV_COLUMNS
from harness.data.pictures import SUFFIX_OF, SUFFIXES, read_file, read_header
from harness.data.recordio import MAX_LABEL, RecordWriter
from harness.errors import DataError, InputError
from harness.faces.faceset import FaceSet

STORED = "items.parquet"  # of a face set in the store
SHARD_IMAGES = 10_000  # per parquet file
GROUP_IMAGES = 256  # per row group: what a reader holds at once


def convert(source: Path, folder: Path) -> int:
    """Write a data set as a folder of parquet files, with ``pairs.csv`` where it has pairs; the number of images.

    Columns: identity, sample, image {bytes, path}. Sources of kind ``images`` read it.

    Raises:
        InputError: the folder is not empty, or the data set pairs templates, which parquet has no place for.
        DataError: the data set is damaged.
    """
    dataset = open_dataset(source)
    if isinstance(dataset, IJBData):
        raise InputError(f"{source}: its templates and landmarks would be lost; use the {dataset.kind} folder as it is")
    with _new_folder(folder) as made:
        (made / "shards").mkdir()
        names = _write_shards(dataset, made / "shards")
        if len(dataset.a):
            _write_pairs(made, dataset, names)
    return len(dataset)


def _write_shards(dataset: DataSet, folder: Path) -> list[str]:
    """Write the images; their names, which ``image.path`` holds."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema([("identity", pa.int64()), ("sample", pa.int64()), ("image", image)])
    names: list[str] = []
    named = _named(dataset)
    for shard, start in enumerate(range(0, len(dataset), SHARD_IMAGES)):
        count = min(SHARD_IMAGES, len(dataset) - start)
        with pq.ParquetWriter(folder / f"{shard:05d}.parquet", schema) as writer:
            for first in range(start, start + count, GROUP_IMAGES):
                group = [next(named) for _ in range(min(GROUP_IMAGES, start + count - first))]
                names += [name for name, _ in group]
                rows = slice(first, first + len(group))
                columns = {
                    "identity": dataset.identities[rows],
                    "sample": dataset.samples[rows],
                    "image": [{"bytes": data, "path": name} for name, data in group],
                }
                writer.write_table(pa.table(columns, schema=schema))
    return names


def _named(dataset: DataSet) -> Iterator[tuple[str, bytes]]:
    """(name with suffix, encoded bytes) of every image."""
    for index, data in enumerate(dataset.encoded()):
        suffix = SUFFIX_OF[read_header(data, dataset.place(index)).format]
        yield dataset.name(index) + suffix, data


def unpack(source: Path, folder: Path) -> int:
    """Write the images of a ``.bin`` or RecordIO file as files; the number of images.

    A ``.bin`` becomes ``images/INDEX.*`` and ``pairs.csv``, RecordIO becomes ``IDENTITY/KEY.*``.

    Raises:
        InputError: the source is of another kind, or the folder is not empty.
        DataError: the source is damaged, or an image has no known format.
    """
    if (source / STORED).is_file():
        raise InputError(f"{source}: a stored face set; its faces as files: harness data export {source} {folder}")
    dataset = open_dataset(source)
    if not isinstance(dataset, BinData | RecordData):
        raise InputError(f"{source}: it is a {dataset.kind} data set; expected a .bin or .rec file to unpack")
    names: list[str] = []
    with _new_folder(folder) as made:
        for name, data in _named(dataset):
            target = made / name
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(data)
            names.append(name)
        if isinstance(dataset, BinData):
            _write_pairs(made, dataset, names)
    return len(names)


def export(artifact: Path, folder: Path) -> int:
    """Write the faces of a stored face set as files, under the names they were read from; the number of files.

    Those that were drawn are called ``IDENTITY/SAMPLE``. A protocol's faces come with ``pairs.csv``.

    Args:
        artifact: its folder in the store: a source, a row's images, aligned faces, or a protocol with faces of its own.

    Raises:
        InputError: it holds no faces, or the folder is not empty.
        DataError: it is damaged, or two faces would have one name.
    """
    import pyarrow.parquet as pq

    if not (artifact / STORED).is_file():
        raise InputError(f"{artifact}: it holds no faces; expected a folder such as runs/store/align/KEY")
    faces = FaceSet(artifact, Crop("raw", 0))
    read_from, names = faces.names, list[str]()
    with _new_folder(folder) as made:
        for start in range(0, len(faces), GROUP_IMAGES):
            positions = np.arange(start, min(start + GROUP_IMAGES, len(faces)))
            for position, (data, _) in zip(positions.tolist(), faces.encoded(positions), strict=True):
                name = read_from[faces.rows[position]] or f"{faces.identities[position]}/{faces.samples[position]}"
                names.append(_file_name(name, kept_suffix(data)))
                target = made / names[-1]
                if target.exists():
                    raise DataError(
                        f"{artifact}: two faces were read from {names[-1]!r}, and one file cannot hold both"
                    )
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
        if (artifact / "pairs.parquet").is_file():
            columns = pq.read_table(artifact / "pairs.parquet", columns=["a", "b", "same"]).to_pydict()
            _write_rows(made, columns["a"], columns["b"], columns["same"], names)
    return len(faces)


def _file_name(text: str, suffix: str) -> str:
    """Where a face is written, below the new folder: what it was read from, with the suffix of what it is now."""
    name = PurePosixPath(text.replace("\\", "/"))
    if not name.name or name.is_absolute() or ".." in name.parts or "\0" in text:
        raise DataError(f"a face was read from {text[:80]!r}, which is no path within a folder")
    return str(name.with_suffix(suffix) if name.suffix.lower() in SUFFIXES else f"{name}{suffix}")


def pack(source: Path, target: Path, dialect: Dialect = "python3") -> int:
    """Write a folder as a ``.bin`` or ``.rec`` file, by the suffix of ``target``; the number of images.

    A ``.bin`` needs a list of pairs in the folder, ``.rec`` a folder per identity. Folders whose names are all numbers
    of at most ``MAX_LABEL`` keep them as labels; else labels count the folders in numeric order.

    Raises:
        InputError: folder and suffix do not fit, or ``target`` exists.
        DataError: the folder's list or images are damaged.
    """
    if target.exists():
        raise InputError(f"{target} exists; remove it or choose another name")
    if not target.parent.is_dir():
        raise InputError(f"{target}: there is no folder {target.parent}; make it first")
    dataset = open_dataset(source)
    if target.suffix == ".bin" and isinstance(dataset, PairFolderData):
        order = np.stack([dataset.a, dataset.b], axis=1).reshape(-1)
        write_bin(target, (_image(dataset.list.files[index]) for index in order), dataset.same, dialect)
        return len(order)
    if target.suffix == ".rec" and isinstance(dataset, FolderData):
        _pack_records(dataset, target)
        return len(dataset)
    text = f"{source}: it is a {dataset.kind} data set and the target is {target.name}"
    raise InputError(f"{text}; expected a folder with pairs for .bin, or a folder per identity for .rec")


def _pack_records(dataset: FolderData, target: Path) -> None:
    numbers = [int(label) if label.isascii() and label.isdigit() else -1 for label in dataset.labels]
    if min(numbers) < 0 or max(numbers) > MAX_LABEL or len(set(numbers)) < len(numbers):
        numbers = list(range(len(numbers)))
    with RecordWriter(target) as writer:
        for identity, file in zip(dataset.identities.tolist(), dataset.files, strict=True):
            writer.add(numbers[identity], _image(file), f"{file.parent.name}/{file.name}")


def _image(path: Path) -> bytes:
    """The bytes of a file that is an image."""
    data = read_file(path)
    read_header(data, str(path))
    return data


def _write_pairs(folder: Path, dataset: DataSet, names: list[str]) -> None:
    _write_rows(folder, dataset.a, dataset.b, dataset.same, names)


def _write_rows(folder: Path, a: Iterable[int], b: Iterable[int], same: Iterable[bool], names: list[str]) -> None:
    with (folder / "pairs.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(CSV_COLUMNS)
        for first, second, alike in zip(a, b, same, strict=True):
            writer.writerow([names[first], names[second], int(alike)])


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """A folder beside it to write into, which takes its place when all is written; else nothing is left.

    Who is killed leaves ``.NAME.partial-PID``, which nobody takes for whole.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists and is not an empty folder; remove it or choose another name")
    folder = folder.absolute()
    made = folder.with_name(f".{folder.name}.partial-{os.getpid()}")
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    try:
        yield made
        made.replace(folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)
