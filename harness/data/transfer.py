"""Conversion between the formats; the encoded bytes of every image are kept."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from harness.data.bins import Dialect, write_bin
from harness.data.datasets import BinData, DataSet, FolderData, IJBData, PairFolderData, RecordData, open_dataset
from harness.data.pairlists import CSV_COLUMNS
from harness.data.pictures import SUFFIX_OF, read_file, read_header
from harness.data.recordio import MAX_LABEL, RecordWriter
from harness.errors import InputError

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
    with new_folder(folder) as made:
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
    if (source / "items.parquet").is_file():
        raise InputError(f"{source}: a stored face set; its faces as files: harness data export {source} {folder}")
    dataset = open_dataset(source)
    if not isinstance(dataset, BinData | RecordData):
        raise InputError(f"{source}: it is a {dataset.kind} data set; expected a .bin or .rec file to unpack")
    names: list[str] = []
    with new_folder(folder) as made:
        for name, data in _named(dataset):
            target = made / name
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(data)
            names.append(name)
        if isinstance(dataset, BinData):
            _write_pairs(made, dataset, names)
    return len(names)


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
    write_pair_list(folder, dataset.a, dataset.b, dataset.same, names)


def write_pair_list(
    folder: Path, a: Iterable[int], b: Iterable[int], same: Iterable[bool], names: Sequence[str]
) -> None:
    """Write ``pairs.csv``: the names of the two images of every pair, and whether they show one identity."""
    with (folder / "pairs.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(CSV_COLUMNS)
        for first, second, alike in zip(a, b, same, strict=True):
            writer.writerow([names[first], names[second], int(alike)])


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
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
