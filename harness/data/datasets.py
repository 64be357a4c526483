"""One view of every format: the encoded images of a ``.bin``, RecordIO, parquet or folder, in order and one at a time.

Letters: N images, P pairs.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from harness.arrays import Bools, Images, Ints
from harness.data.bins import BinFile, pair_identities
from harness.data.folders import numeric_order, parquet_files
from harness.data.ijb import IJBFolder, Release, find_release
from harness.data.pairlists import LISTS, PairList, read_named_pairs, read_pairs
from harness.data.parquet import ParquetImages
from harness.data.pictures import SUFFIXES, read_file
from harness.data.recordio import RecordFile
from harness.errors import DataError, InputError

T = TypeVar("T")


class DataSet(ABC):
    """Encoded images with their identities, and pairs of them where the format has pairs.

    Class attributes:
        kind: the name of the format.
        named: whether identities are people, and not only what the pairs tell.
        aligned: whether images are ArcFace crops.

    Attributes:
        path: the file or folder.
        identities: int64 [N].
        a, b, same: pairs of images (int64 [P] each and bool [P]); empty where there are none.
    """

    kind: ClassVar[str]
    named: bool = True
    aligned: ClassVar[bool] = True

    def __init__(self, path: Path) -> None:
        self.path = path
        self.identities: Ints = np.zeros(0, dtype=np.int64)
        self.a: Ints = np.zeros(0, dtype=np.int64)
        self.b: Ints = np.zeros(0, dtype=np.int64)
        self.same: Bools = np.zeros(0, dtype=bool)

    def __len__(self) -> int:
        return len(self.identities)

    @abstractmethod
    def attempts(self) -> Iterator[bytes | DataError]:
        """The encoded images in order; in the place of one that cannot be read, what is wrong with it."""

    def encoded(self) -> Iterator[bytes]:
        """The encoded images in order.

        Raises:
            DataError: one cannot be read.
        """
        for data in self.attempts():
            if isinstance(data, DataError):
                raise data
            yield data

    @abstractmethod
    def place(self, index: int) -> str:
        """Names image ``index`` in messages."""

    def name(self, index: int) -> str:
        """A file name for image ``index``, without suffix, unique in the data set."""
        return f"{self.identities[index]}/{index}"

    def pair_labels(self) -> Bools:
        """Whether each pair, of images or of whatever the format pairs, is genuine."""
        return self.same

    def further(self) -> dict[str, int]:
        """Further counts to tell, by what is counted."""
        return {}

    def columns(self) -> Iterator[NDArray[Any]]:
        """What besides identities and images makes the data set what it is: part of its content digest."""
        yield from (self.a, self.b, self.same)

    def crop(self, image: Images, index: int) -> Images:
        """The aligned face of decoded image ``index``."""
        return image

    @cached_property
    def samples(self) -> Ints:
        """How many images of its identity come before each image, int64 [N]."""
        order = np.argsort(self.identities, kind="stable")
        _, first, counts = np.unique(self.identities[order], return_index=True, return_counts=True)
        out = np.empty(len(self), dtype=np.int64)
        out[order] = np.arange(len(self)) - np.repeat(first, counts)
        return out


class BinData(DataSet):
    """A verification ``.bin`` file."""

    kind, named = "bin", False

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.file = BinFile(path)
        self.identities, self.same = pair_identities(self.file.same), self.file.same
        self.a = np.arange(0, len(self.file), 2, dtype=np.int64)
        self.b = self.a + 1

    def attempts(self) -> Iterator[bytes | DataError]:
        """The images in the order of the file."""
        with self.file.opened() as file:
            yield from _attempts(lambda index: self.file.read(file, index), range(len(self)))

    def place(self, index: int) -> str:
        """File and index."""
        return self.file.place(index)

    def name(self, index: int) -> str:
        """The index, with zeros so that names sort."""
        return f"images/{index:06d}"


class RecordData(DataSet):
    """A RecordIO file, by identity."""

    kind = "recordio"

    def __init__(self, path: Path, faults: list[str] | None = None) -> None:
        super().__init__(path)
        self.file = RecordFile(path)
        keys, identities, offsets = self.file.images(faults)
        order = np.lexsort((keys, identities))
        self.keys, self.identities, self.offsets = keys[order], identities[order], offsets[order]

    def attempts(self) -> Iterator[bytes | DataError]:
        """The images by identity and key."""
        with self.file.opened() as file:
            yield from _attempts(lambda offset: self.file.record(file, offset).data, self.offsets.tolist())

    def place(self, index: int) -> str:
        """File and key."""
        return f"{self.file.path}: record {self.keys[index]}"

    def name(self, index: int) -> str:
        """Identity and key."""
        return f"{self.identities[index]}/{self.keys[index]}"


class FolderData(DataSet):
    """A folder of images per identity; people are numbered in numeric order of their folders' names.

    ``labels`` gives a person's folder for every identity. ``clashes`` lists names that some file systems cannot tell
    apart: equal but for case or Unicode form; ``empty`` the folders without an image; ``others`` counts what is there
    and is not taken for an image.
    """

    kind = "folder"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        people = sorted((entry for entry in path.iterdir() if entry.is_dir()), key=numeric_order)
        folders = [(person, sorted(filter(_is_image, person.iterdir()), key=numeric_order)) for person in people]
        self.empty = [person for person, files in folders if not files]
        folders = [(person, files) for person, files in folders if files]
        self.labels = [person.name for person, _ in folders]
        self.files = [file for _, files in folders for file in files]
        self.others = sum(1 for person in [path, *people] for _ in person.iterdir()) - len(people) - len(self.files)
        self.identities = np.repeat(np.arange(len(folders)), [len(files) for _, files in folders]).astype(np.int64)
        self.clashes = _clashes(people) + [clash for _, files in folders for clash in _clashes(files)]
        if not self.files:
            text = f"expected NAME/IMAGE with one of {', '.join(sorted(SUFFIXES))}, *.parquet, {' or '.join(LISTS)}"
            raise InputError(f"{path}: no image found; {text}")

    def attempts(self) -> Iterator[bytes | DataError]:
        """The files, by person and number."""
        return _attempts(read_file, self.files)

    def place(self, index: int) -> str:
        """The file."""
        return str(self.files[index])


class PairFolderData(DataSet):
    """A folder with a list of pairs."""

    kind, named = "folder-pairs", False

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.list: PairList = read_pairs(path, folds=1)
        self.identities, self.a, self.b = self.list.identities, self.list.a, self.list.b
        self.same = self.list.same

    def attempts(self) -> Iterator[bytes | DataError]:
        """The listed files in the order of the list."""
        return _attempts(read_file, self.list.files)

    def place(self, index: int) -> str:
        """The file."""
        return str(self.list.files[index])


class ParquetData(DataSet):
    """A folder of parquet files with the columns identity and image {bytes, path}.

    A ``pairs.csv`` beside them names pairs by ``image.path``.
    """

    kind = "parquet"

    def __init__(self, path: Path, faults: list[str] | None = None) -> None:
        super().__init__(path)
        pairs = path / "pairs.csv"
        self.named = not pairs.is_file()
        self.images = ParquetImages(parquet_files(path), ("identity",), faults if self.named else None)
        self.identities = self.images.column("identity")
        if not len(self):
            raise DataError(f"{path}: its parquet files hold no image")
        if not self.named:
            self.a, self.b, self.same = read_named_pairs(pairs, self.images.names())

    def attempts(self) -> Iterator[bytes | DataError]:
        """The images, file by file."""
        return self.images.attempts()

    def place(self, index: int) -> str:
        """File and row."""
        return self.images.place(index)


class IJBData(DataSet):
    """The 1:1 release of IJB-B or IJB-C: loose crops with landmarks, and pairs of templates instead of images."""

    named, aligned = False, False

    def __init__(self, path: Path, release: Release) -> None:
        super().__init__(path)
        self.kind = release  # type: ignore[misc]
        self.folder = IJBFolder(path, release)
        self.identities = self.folder.subjects[self.folder.faces.template]

    def pair_labels(self) -> Bools:
        """Of the pairs of templates."""
        return self.folder.pairs.same

    def further(self) -> dict[str, int]:
        """Templates, their media, and the subjects that genuine pairs tell apart."""
        faces = self.folder.faces
        media = np.unique(np.stack([faces.template, faces.media], axis=1), axis=0)
        subjects = len(np.unique(self.identities))
        return {"templates": len(faces.template_ids), "media": len(media), "subjects": subjects}

    def columns(self) -> Iterator[NDArray[Any]]:
        """Templates, landmarks, scores and pairs."""
        faces, pairs = self.folder.faces, self.folder.pairs
        yield from (faces.template, faces.media, faces.landmarks, faces.score, pairs.a, pairs.b, pairs.same)

    def attempts(self) -> Iterator[bytes | DataError]:
        """The images in the order of the files."""
        return _attempts(read_file, map(self.folder.image, range(len(self))))

    def place(self, index: int) -> str:
        """The file."""
        return str(self.folder.image(index))

    def crop(self, image: Images, index: int) -> Images:
        """Warped by the landmarks that the release gives."""
        from harness.faces.crops import REFERENCE_SIZE_PX, reference_landmarks
        from harness.faces.warp import similarity, warp

        matrix = similarity(self.folder.faces.landmarks[index : index + 1], reference_landmarks(REFERENCE_SIZE_PX))
        out: Images = warp(image[None], matrix, REFERENCE_SIZE_PX)[0]
        return out


def open_dataset(path: Path, faults: list[str] | None = None) -> DataSet:
    """Open a data set; its format is recognized by suffix and content of the folder.

    Args:
        faults: what is wrong with a parquet file or a record is appended, and it is left out; default: it is raised.

    Raises:
        InputError: it is none of the formats.
        DataError: it is damaged.
    """
    if not path.exists():
        raise InputError(f"{path}: there is no such file or folder")
    if path.is_file():
        if path.suffix.lower() == ".bin":
            return BinData(path)
        if path.suffix.lower() == ".rec":
            return RecordData(path, faults)
    if not path.is_dir():
        raise InputError(f"{path}: expected a .bin or .rec file, or a folder")
    if release := find_release(path):
        return IJBData(path, release)
    if any((path / name).is_file() for name in LISTS) and not parquet_files(path):
        return PairFolderData(path)
    if (path / "train.rec").is_file():
        return RecordData(path, faults)
    return ParquetData(path, faults) if parquet_files(path) else FolderData(path)


def _attempts(read: Callable[[T], bytes], places: Iterable[T]) -> Iterator[bytes | DataError]:
    """What lies at each place, or what is wrong with it."""
    for place in places:
        try:
            data: bytes | DataError = read(place)
        except DataError as error:
            data = error
        yield data


def content(dataset: DataSet) -> str:
    """Digest of which images show one identity, of pairs and encoded images: equal for a copy in another format."""
    state = hashlib.sha256()
    people = np.unique(dataset.identities, return_inverse=True)[1].tolist()
    for identity, data in zip(people, dataset.encoded(), strict=True):
        state.update(f"{identity},".encode() + hashlib.sha256(data).digest())
    for column in dataset.columns():
        state.update(np.ascontiguousarray(column).tobytes())
    return state.hexdigest()


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and path.is_file()


def _clashes(paths: list[Path]) -> list[str]:
    """Names in one folder that differ only in case or Unicode form."""
    import unicodedata

    seen: dict[str, Path] = {}
    out: list[str] = []
    for path in paths:
        key = unicodedata.normalize("NFC", path.name).casefold()
        if key in seen:
            out.append(f"{seen[key]} and {path.name} differ only in case or Unicode form")
        seen.setdefault(key, path)
    return out
