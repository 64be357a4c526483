"""A face set in the formats that FR trainers and Hugging Face open; the encoded bytes of every image are kept.

Letters: N faces, I identities.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np

from harness.arrays import Ints
from harness.coding import kept_suffix
from harness.components.base import Crop
from harness.data.pictures import SUFFIXES, read_header
from harness.data.recordio import RecordWriter
from harness.data.transfer import GROUP_IMAGES, SHARD_IMAGES, new_folder, write_pair_list
from harness.errors import DataError, InputError
from harness.faces.faceset import FaceSet

Format = Literal["folders", "huggingface", "recordio", "lmdb"]
CARD = "README.md"
HF_FILES = "data/train-*.parquet"
_LMDB_BYTES = 1 << 28  # of the map at first; it grows
_HF_FEATURES = {name: {"dtype": "int64", "_type": "Value"} for name in ("label", "identity", "sample")}

Told = Callable[[int, int], object]  # of how many images are read, and how many there are


def export(
    artifact: Path, folder: Path, format_: Format = "folders", *, card: str = "", told: Told = lambda done, total: None
) -> int:
    """Write the faces of a stored face set into a new folder; the number of images.

    ``folders``: files under the names they were read from, or ``IDENTITY/SAMPLE`` where they were drawn, with
    ``pairs.csv`` where the set is a protocol's. ``huggingface``: the same names in ``data/train-*.parquet`` with label,
    identity, sample and image. ``recordio``: ``train.rec``, ``.idx``, ``.lst`` and ``property`` as insightface lays
    them out. ``lmdb``: ``train.lmdb`` as ``ImageFolderLMDB`` reads it. Labels count the identities from 0.

    Args:
        artifact: its folder in the store: a source, a row's images, aligned faces, or a protocol with faces of its own.
        card: the text of ``README.md``; none is written where it is empty.
        told: called with the number of images that are read, and of all.

    Raises:
        InputError: it holds no faces, the folder is not empty, a package is missing, or the format has no place for
            its pairs.
        DataError: it is damaged, two faces would have one name, or RecordIO would hold faces of two sizes.
    """
    faces, pairs = open_faces(artifact), artifact / "pairs.parquet"
    if pairs.is_file() and format_ in ("recordio", "lmdb"):
        raise InputError(f"{artifact}: --format {format_} has no place for its pairs; use folders or huggingface")
    with new_folder(folder) as made:
        if card:
            (made / CARD).write_text(card, encoding="utf-8")
        names = _WRITERS[format_](faces, made, told)
        if pairs.is_file():
            _write_pairs(pairs, made, names)
    return len(faces)


def open_faces(artifact: Path) -> FaceSet:
    """The face set in a folder of the store.

    Raises:
        InputError: it holds none.
        DataError: its table is damaged.
    """
    import pyarrow as pa

    items = artifact / "items.parquet"
    if not items.is_file():
        raise InputError(f"{artifact}: it holds no faces; expected a folder such as runs/store/align/KEY")
    try:
        return FaceSet(artifact, Crop("raw", 0))
    except (OSError, KeyError, pa.ArrowException) as error:
        raise DataError(f"{items}: damaged ({' '.join(str(error).split())}); run its suite again") from error


def _encoded(faces: FaceSet, order: Ints, told: Told) -> Iterator[tuple[int, bytes]]:
    """(position, encoded bytes) of faces in order; a group of them is in memory at a time."""
    for start in range(0, len(order), GROUP_IMAGES):
        group = order[start : start + GROUP_IMAGES]
        told(start + len(group), len(order))
        for position, (data, _) in zip(group.tolist(), faces.encoded(group), strict=True):
            yield position, data


def _named(faces: FaceSet, told: Told) -> Iterator[tuple[int, str, bytes]]:
    """(position, file name, encoded bytes) of all faces."""
    read_from = faces.names
    for position, data in _encoded(faces, np.arange(len(faces)), told):
        name = read_from[faces.rows[position]] or f"{faces.identities[position]}/{faces.samples[position]}"
        yield position, _file_name(name, kept_suffix(data)), data


def _file_name(text: str, suffix: str) -> str:
    """Where a face is written, below the new folder: what it was read from, with the suffix of what it is now."""
    name = PurePosixPath(text.replace("\\", "/"))
    if not name.name or name.is_absolute() or ".." in name.parts or "\0" in text:
        raise DataError(f"a face was read from {text[:80]!r}, which is no path within a folder")
    return str(name.with_suffix(suffix) if name.suffix.lower() in SUFFIXES else f"{name}{suffix}")


def _write_pairs(pairs: Path, folder: Path, names: list[str]) -> None:
    import pyarrow.parquet as pq

    columns = pq.read_table(pairs, columns=["a", "b", "same"]).to_pydict()
    write_pair_list(folder, columns["a"], columns["b"], columns["same"], names)


# --- one function per format: what it calls the faces, in their order -------------------------------------------------


def _folders(faces: FaceSet, folder: Path, told: Told) -> list[str]:
    names = []
    for _, name, data in _named(faces, told):
        target = folder / name
        if target.exists():
            raise DataError(f"{faces.folder}: two faces were read from {name!r}, and one file cannot hold both")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        names.append(name)
    return names


def _huggingface(faces: FaceSet, folder: Path, told: Told) -> list[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    features = {"info": {"features": {**_HF_FEATURES, "image": {"_type": "Image"}}}}
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    fields = [*((name, pa.int64()) for name in _HF_FEATURES), ("image", image)]
    schema = pa.schema(fields, metadata={"huggingface": json.dumps(features)})
    shards, labels, named = -(-len(faces) // SHARD_IMAGES), faces.labels, _named(faces, told)
    names: list[str] = []
    (folder / HF_FILES).parent.mkdir()
    for shard in range(shards):
        path = folder / HF_FILES.replace("*", f"{shard:05d}-of-{shards:05d}")
        end = min((shard + 1) * SHARD_IMAGES, len(faces))
        with pq.ParquetWriter(path, schema) as writer:
            for first in range(shard * SHARD_IMAGES, end, GROUP_IMAGES):
                rows = slice(first, min(first + GROUP_IMAGES, end))
                group = [next(named) for _ in range(rows.start, rows.stop)]
                names += [name for _, name, _ in group]
                columns: dict[str, Any] = {"label": labels[rows]}
                columns |= {"identity": faces.identities[rows], "sample": faces.samples[rows]}
                columns["image"] = [{"bytes": data, "path": name} for _, name, data in group]
                writer.write_table(pa.table(columns, schema=schema))
    if len(set(names)) < len(names):
        raise DataError(f"{faces.folder}: two faces were read from files of one name, so pairs could not name them")
    return names


def _recordio(faces: FaceSet, folder: Path, told: Told) -> list[str]:
    labels = faces.labels
    sizes: set[tuple[int, int]] = set()
    with RecordWriter(folder / "train.rec") as writer:
        for position, data in _encoded(faces, np.argsort(labels, kind="stable"), told):
            name = f"{faces.identities[position]}/{faces.samples[position]}"
            header = read_header(data, f"{faces.folder}: {name}")
            sizes.add((header.height_px, header.width_px))
            if len(sizes) > 1:
                raise DataError(f"{faces.folder}: faces of several sizes {sorted(sizes)} (px); RecordIO names one")
            writer.add(int(labels[position]), data, name)
    height, width = sizes.pop() if sizes else (0, 0)
    (folder / "property").write_text(f"{labels.max(initial=-1) + 1},{height},{width}\n", encoding="ascii")
    return []


def _lmdb(faces: FaceSet, folder: Path, told: Told) -> list[str]:
    try:
        import lmdb
    except ModuleNotFoundError as error:
        raise InputError("--format lmdb needs the package lmdb: pip install 'facegen-harness[lmdb]'") from error

    def put(entries: list[tuple[bytes, bytes]]) -> None:
        while True:
            try:
                with env.begin(write=True) as transaction:
                    for key, value in entries:
                        transaction.put(key, value)
                return
            except lmdb.MapFullError:
                env.set_mapsize(2 * env.info()["map_size"])

    labels, keys, group = faces.labels, [f"{place}".encode() for place in range(len(faces))], []
    with lmdb.open(str(folder / "train.lmdb"), subdir=False, lock=False, sync=False, map_size=_LMDB_BYTES) as env:
        for place, (position, data) in enumerate(_encoded(faces, np.arange(len(faces)), told)):
            group.append((keys[place], pickle.dumps((data, int(labels[position])), protocol=4)))
            if len(group) == GROUP_IMAGES:
                put(group)
                group = []
        ends = {b"__keys__": keys, b"__len__": len(keys)}
        put([*group, *((key, pickle.dumps(value, protocol=4)) for key, value in ends.items())])
        env.sync(True)
    return []


_WRITERS: dict[Format, Callable[[FaceSet, Path, Told], list[str]]] = {
    "folders": _folders,
    "huggingface": _huggingface,
    "recordio": _recordio,
    "lmdb": _lmdb,
}
