"""IJB-B and IJB-C as released for 1:1 verification: loose crops, their templates, landmarks, and pairs of templates.

::

    FOLDER/loose_crop/                        images
    FOLDER/meta/ijbc_face_tid_mid.txt         image, template, medium
    FOLDER/meta/ijbc_name_5pts_score.txt      image, x1 y1 .. x5 y5 in pixels of the image, detector score; same order
    FOLDER/meta/ijbc_template_pair_label.txt  template, template, 1 (same person) or 0

Rows are separated by single spaces. IJB-B has ``ijbb`` in the names. IJB-C has 469,375 images and 15.7 million pairs,
so files are read as a stream into integers; no row becomes a Python object.

Letters: N images, T templates, P pairs.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from harness.arrays import Bools, Floats, Ints
from harness.errors import DataError, InputError

if TYPE_CHECKING:
    import pyarrow as pa

Release = Literal["ijbb", "ijbc"]
RELEASES: tuple[Release, ...] = ("ijbb", "ijbc")
IMAGES, META = "loose_crop", "meta"
MEDIA_FILE, POINTS_FILE, PAIRS_FILE = "face_tid_mid.txt", "name_5pts_score.txt", "template_pair_label.txt"
_BLOCK_BYTES = 1 << 22
_POINTS = [f"{axis}{point}" for point in range(1, 6) for axis in "xy"]

Int32s = NDArray[np.int32]


@dataclass(frozen=True)
class IJBFaces:
    """What the files say of each image.

    Attributes:
        names: file names in ``loose_crop``, N strings.
        template: template of each image, an index from 0, int32 [N].
        media: medium of each image as the file numbers it, int64 [N].
        landmarks: float32 [N, 5, 2], (x, y) in pixels of the image.
        score: of the detector, float32 [N].
        template_ids: the file's number of each template, ascending, int64 [T].
    """

    names: pa.StringArray
    template: Int32s
    media: Ints
    landmarks: Floats
    score: Floats
    template_ids: Ints


@dataclass(frozen=True)
class TemplatePairs:
    """Pairs of templates: ``a``, ``b`` int32 [P] index templates, ``same`` bool [P]."""

    a: Int32s
    b: Int32s
    same: Bools


def find_release(folder: Path) -> Release | None:
    """Which release a folder holds, by the names in ``meta``; None if it is no IJB folder.

    Raises:
        InputError: it holds both.
    """
    found = [name for name in RELEASES if any((folder / META).glob(f"{name}_*.txt"))]
    if len(found) > 1:
        raise InputError(f"{folder / META}: holds files of both ijbb and ijbc; give each release a folder of its own")
    return found[0] if found else None


class IJBFolder:
    """A release on disk; each file is read on first use.

    Args:
        path: the folder with ``loose_crop`` and ``meta``.
        release: ``ijbb`` or ``ijbc``.

    Raises:
        InputError: a file or folder is missing.
    """

    def __init__(self, path: Path, release: Release) -> None:
        self.path, self.release = path, release
        for needed in (path / IMAGES, path / META):
            if not needed.is_dir():
                raise InputError(f"{needed}: there is no such folder; expected the {release} release, unpacked")
        for file in self.files():
            if not file.is_file():
                raise InputError(f"{file}: there is no such file; expected the {release} release, unpacked")

    def files(self) -> list[Path]:
        """The three text files."""
        return [self.path / META / f"{self.release}_{name}" for name in (MEDIA_FILE, POINTS_FILE, PAIRS_FILE)]

    def image(self, index: int) -> Path:
        """The file of an image."""
        return self.path / IMAGES / str(self.faces.names[index])

    @cached_property
    def faces(self) -> IJBFaces:
        """Images, templates, media, landmarks and scores.

        Raises:
            DataError: a file is damaged, or the two are out of step.
        """
        import pyarrow as pa

        media_file, points_file, _ = self.files()
        media = _table(media_file, {"image": pa.string(), "template": pa.int32(), "medium": pa.int64()})
        numbers = dict.fromkeys([*_POINTS, "score"], pa.float32())
        points = _table(points_file, {"image": pa.string(), **numbers})
        names = media["image"].combine_chunks()
        _check_names(names, media_file)
        _check_step(names, points["image"].combine_chunks(), media_file, points_file)
        landmarks = np.stack([points[name].to_numpy() for name in _POINTS], axis=1).reshape(-1, 5, 2)
        score = points["score"].to_numpy()
        _check_points(landmarks, score, points_file)
        ids, template = np.unique(media["template"].to_numpy().astype(np.int64), return_inverse=True)
        return IJBFaces(names, template.astype(np.int32), media["medium"].to_numpy(), landmarks, score, ids)

    @cached_property
    def pairs(self) -> TemplatePairs:
        """The pairs of templates.

        Raises:
            DataError: the file is damaged, names a template that has no image, or lists pairs of one kind only.
        """
        import pyarrow as pa

        file, ids = self.files()[2], self.faces.template_ids
        columns = {"template 1": pa.int32(), "template 2": pa.int32(), "label": pa.int8()}
        parts: list[tuple[Int32s, Int32s, Bools]] = []
        row = 0
        for first, second, label in _blocks(file, columns):
            parts.append(_pairs_block(first, second, label, ids, file, row))
            row += len(label)
        a, b, same = (np.concatenate(column) for column in zip(*parts, strict=True))
        del parts
        genuine = int(same.sum())
        if genuine in (0, len(same)):
            text = f"{genuine:,} genuine and {len(same) - genuine:,} impostor pairs; expected both kinds"
            raise DataError(f"{file}: {text}")
        return TemplatePairs(a, b, same)

    @cached_property
    def subjects(self) -> Ints:
        """Whom each template shows, int64 [T]: templates that genuine pairs connect show one subject.

        The files name no people. In the released protocols every probe template is paired with the gallery templates of
        its subject, so this finds them.
        """
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        a, b = (side[self.pairs.same] for side in (self.pairs.a, self.pairs.b))
        count = len(self.faces.template_ids)
        links = coo_array((np.ones(len(a), dtype=bool), (a, b)), shape=(count, count))
        return np.asarray(connected_components(links, directed=False)[1], dtype=np.int64)

    def content(self) -> str:
        """Digest of the text files and of the encoded images in order."""
        from harness.data.pictures import read_file

        state = hashlib.sha256()
        for file in self.files():
            with file.open("rb") as opened:
                state.update(hashlib.file_digest(opened, "sha256").digest())
        for index in range(len(self.faces.template)):
            state.update(hashlib.sha256(read_file(self.image(index))).digest())
        return state.hexdigest()


def _blocks(file: Path, columns: dict[str, pa.DataType]) -> Iterator[list[Any]]:
    """Columns of consecutive blocks of rows, as arrays.

    Raises:
        DataError: a row has another number of fields or a field is no such number; or the file is empty.
    """
    for batch in _batches(file, columns):
        yield [column.to_numpy(zero_copy_only=False) for column in batch.columns]


def _table(file: Path, columns: dict[str, pa.DataType]) -> pa.Table:
    import pyarrow as pa

    return pa.Table.from_batches(list(_batches(file, columns)))


def _batches(file: Path, columns: dict[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa
    from pyarrow import csv

    rows = 0
    try:
        # one thread: only then does an error name the row
        reading = csv.ReadOptions(column_names=list(columns), block_size=_BLOCK_BYTES, use_threads=False)
        parsing = csv.ParseOptions(delimiter=" ", quote_char=False)
        converting = csv.ConvertOptions(column_types=columns, null_values=[], strings_can_be_null=False)
        with csv.open_csv(file, reading, parsing, converting) as reader:
            for batch in reader:
                rows += len(batch)
                yield batch
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{file}: {_explain(error, list(columns))}") from error
    if rows == 0:
        raise DataError(f"{file}: it is empty; expected rows of {' '.join(columns)}")


def _explain(error: Exception, columns: list[str]) -> str:
    """One line from what the reader says."""
    text = " ".join(str(error).split())
    expected = f"expected {' '.join(columns)}, separated by single spaces"
    if text.startswith("Empty CSV"):
        return f"it is empty; expected rows of {' '.join(columns)}"
    if found := re.search(r"CSV column #(\d+): Row #(\d+): CSV conversion error to (\w+): (.*)", text):
        column, row, kind, what = found.groups()
        return f"row {row}, {columns[int(column)]}: {what[:80]}; expected {_KINDS.get(kind, kind)}"
    if found := re.search(r"Row #(\d+): Expected \d+ columns, got (\d+): (.*)", text):
        row, count, what = found.groups()
        return f"row {row}: {count} fields, {what[:80]!r}; {expected}"
    if "straddl" in text:
        return f"a row is longer than {_BLOCK_BYTES:,} bytes; {expected}"
    return f"cannot be read ({text[:120]}); {expected}"


_KINDS = {
    "int8": "0 or 1",
    "int32": "a whole number below 2^31",
    "int64": "a whole number",
    "float": "a number",
    "string": "a name in UTF-8",
}


def _check_names(names: pa.StringArray, file: Path) -> None:
    """Names stay within the folder, and none comes twice."""
    import pyarrow.compute as pc

    plain = pc.match_substring_regex(names, pattern=r"^[^/\\\x00]+$").to_numpy(zero_copy_only=False)
    plain &= ~pc.match_substring_regex(names, pattern=r"^\.{1,2}$").to_numpy(zero_copy_only=False)
    if not plain.all():
        row = int(np.flatnonzero(~plain)[0])
        text = f"{str(names[row])[:80]!r}; expected the name of a file in {IMAGES}"
        raise DataError(f"{file}: row {row + 1}, image: {text}")
    codes = names.dictionary_encode()
    if len(codes.dictionary) < len(names):
        place = codes.indices.to_numpy()
        row = int(np.flatnonzero(place != np.maximum.accumulate(np.append(-1, place))[:-1] + 1)[0])
        first = int(np.flatnonzero(place == place[row])[0])
        text = f"{str(names[row])!r} stands in row {first + 1} already; expected each image once"
        raise DataError(f"{file}: row {row + 1}, image: {text}")


def _check_step(names: pa.StringArray, others: pa.StringArray, file: Path, other: Path) -> None:
    """Both files list the same images in the same order."""
    import pyarrow.compute as pc

    common = min(len(names), len(others))
    apart = pc.not_equal(names.slice(0, common), others.slice(0, common)).to_numpy(zero_copy_only=False)
    if apart.any():
        row = int(np.flatnonzero(apart)[0])
        text = f"row {row + 1} is of image {str(others[row])[:80]!r}, and of {str(names[row])[:80]!r} in {file.name}"
        raise DataError(f"{other}: {text}; expected the same images in the same order")
    if len(names) != len(others):
        text = f"{len(others):,} rows, and {len(names):,} in {file.name}; expected the same images in the same order"
        raise DataError(f"{other}: {text}")


def _check_points(landmarks: Floats, score: Floats, file: Path) -> None:
    finite = np.isfinite(landmarks).all(axis=(1, 2))
    apart = np.ptp(landmarks, axis=1).max(axis=1) > 0
    for fine, text in (
        (finite, "a landmark is not a finite number; expected x1 y1 .. x5 y5 in pixels"),
        (apart | ~finite, "all landmarks lie in one point; expected eyes, nose and mouth corners"),
        (np.isfinite(score) & (score >= 0), "the detector score is negative or not finite; expected 0 to 1"),
    ):
        if not fine.all():
            raise DataError(f"{file}: row {int(np.flatnonzero(~fine)[0]) + 1}: {text}")


def _pairs_block(first: Any, second: Any, label: Any, ids: Ints, file: Path, row: int) -> tuple[Int32s, Int32s, Bools]:
    """One block of pairs, checked; ``row`` is how many rows came before."""
    sides = []
    for column, name in ((first, "template 1"), (second, "template 2")):
        place = np.minimum(np.searchsorted(ids, column), len(ids) - 1)
        known = ids[place] == column
        if not known.all():
            bad = int(np.flatnonzero(~known)[0])
            text = f"template {column[bad]} has no image in {file.name.partition('_')[0]}_{MEDIA_FILE}"
            raise DataError(f"{file}: row {row + bad + 1}, {name}: {text}; expected a template that has")
        sides.append(place.astype(np.int32))
    for wrong, text in (
        ((label != 0) & (label != 1), "the label is {label}; expected 1 (same person) or 0"),
        (first == second, "template {first} is paired with itself; expected two templates"),
    ):
        if wrong.any():
            bad = int(np.flatnonzero(wrong)[0])
            raise DataError(f"{file}: row {row + bad + 1}: {text.format(label=label[bad], first=first[bad])}")
    return sides[0], sides[1], label == 1
