"""Lists of pairs over image files: LFW's ``pairs.txt``, two paths and a label per line, and ``pairs.csv``.

Letters: N images, P pairs, K folds.
"""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from harness.arrays import Bools, Ints
from harness.data.bins import contiguous_folds
from harness.data.pictures import SUFFIXES
from harness.errors import DataError, InputError

LISTS = ("pairs.txt", "pairs.csv")
CSV_COLUMNS = ["a", "b", "same"]
_LFW_HEAD = re.compile(r"[0-9]{1,12}(\s+[0-9]{1,12})?")
_MAX_BYTES = 1 << 28


@dataclass
class PairList:
    """Pairs over files.

    ``files``: the N images in the order in which the list first names them; ``a``, ``b`` int64 [P] index them;
    ``same`` bool [P]; ``fold`` int64 [P]; ``identities``, ``samples`` int64 [N].
    """

    files: list[Path]
    a: Ints
    b: Ints
    same: Bools
    fold: Ints
    identities: Ints
    samples: Ints


@dataclass
class _Listed:
    """What a list says, before it is numbered: one entry per pair."""

    files: dict[Path, int] = field(default_factory=dict)
    people: list[str] = field(default_factory=list)  # per file, where the list names them
    pairs: list[tuple[int, int, bool]] = field(default_factory=list)

    def number(self, file: Path, person: str = "") -> int:
        if file not in self.files:
            self.files[file] = len(self.files)
            self.people.append(person)
        return self.files[file]


def find_list(folder: Path) -> Path:
    """The list of a folder.

    Raises:
        InputError: it has none.
    """
    for name in LISTS:
        if (folder / name).is_file():
            return folder / name
    raise InputError(f"{folder}: no {' or '.join(LISTS)} in it; add one or name the list")


def read_pairs(folder: Path, path: Path | None = None, folds: int = 10) -> PairList:
    """Read a list of pairs; its format is recognized.

    A ``.csv`` file has the columns a, b, same. A first line of one or two numbers starts LFW's format, which brings its
    own folds. Else every line holds two paths and 1 (same person) or 0, separated by tabs, or by spaces where there are
    no tabs. Paths are relative to ``folder``; files are not opened.

    Args:
        folder: where the images lie.
        path: the list; default ``pairs.txt`` or ``pairs.csv`` in ``folder``.
        folds: K, for formats without folds: contiguous parts in the order of the list.

    Raises:
        DataError: a line is not understood, names a file that is not there, or one that lies outside of the folder; or
            there are fewer pairs than folds.
    """
    path = path or find_list(folder)
    lines = _read_lines(path)
    if not lines:
        raise DataError(f"{path}: it lists no pair; expected at least one")
    listed, finder, fold = _Listed(), _Finder(folder), None
    if path.suffix.lower() == ".csv":
        _read_csv(lines, path, listed, finder)
    elif _LFW_HEAD.fullmatch(lines[0][1].strip()):
        fold = _read_lfw(lines, path, listed, finder)
    else:
        for number, line in lines:
            _add_paths(line.split("\t") if "\t" in line else line.split(), f"{path}: line {number}", listed, finder)
    if not listed.pairs:
        raise DataError(f"{path}: it lists no pair; expected at least one")
    a, b, same = (np.array(column) for column in zip(*listed.pairs, strict=True))
    identities = _by_name(listed.people) if fold is not None else _components(len(listed.files), a[same], b[same])
    if fold is None:
        if len(a) < folds:
            raise DataError(f"{path}: {len(a)} pairs do not fill {folds} folds; give fewer folds or more pairs")
        fold = contiguous_folds(len(a), folds)
    return PairList(
        list(listed.files), a.astype(np.int64), b.astype(np.int64), same, fold, identities, _counters(identities)
    )


def read_named_pairs(path: Path, names: Sequence[str]) -> tuple[Ints, Ints, Bools]:
    """Read a ``pairs.csv`` over images that are no files: places of both in ``names``, and whether they are the same.

    Raises:
        DataError: a line is not understood or names an image that is not there.
    """
    place = {name: index for index, name in enumerate(names)}
    lines = _read_lines(path)
    rows = _csv_rows(lines, path)
    out: list[tuple[int, int, bool]] = []
    for (number, _), row in zip(lines[1:], rows, strict=True):
        first, second, same = _triple(row, f"{path}: line {number}")
        if first not in place or second not in place:
            raise DataError(f"{path}: line {number}: no image is called {first if first not in place else second!r}")
        out.append((place[first], place[second], same))
    table = np.array(out, dtype=np.int64).reshape(-1, 3)
    return table[:, 0], table[:, 1], table[:, 2].astype(bool)


def _read_lines(path: Path) -> list[tuple[int, str]]:
    if not path.is_file():  # a pipe, say, would be waited for
        raise InputError(f"{path}: cannot be read (there is no such file); expected a list of pairs")
    try:
        size = path.stat().st_size
        if size > _MAX_BYTES:
            raise DataError(f"{path}: {size:,} bytes; expected a list of pairs of at most {_MAX_BYTES:,}")
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected a list of pairs") from error
    return [(number, line.rstrip("\r")) for number, line in enumerate(text.split("\n"), 1) if line.strip()]


def _read_csv(lines: list[tuple[int, str]], path: Path, listed: _Listed, finder: _Finder) -> None:
    for (number, _), row in zip(lines[1:], _csv_rows(lines, path), strict=True):
        _add_paths(row, f"{path}: line {number}", listed, finder)


def _csv_rows(lines: list[tuple[int, str]], path: Path) -> list[list[str]]:
    """The rows after the header."""
    try:
        rows = list(csv.reader([line for _, line in lines], strict=True))
    except csv.Error as error:
        raise DataError(f"{path}: not a CSV file ({error})") from error
    if len(rows) != len(lines):
        raise DataError(f"{path}: a quoted field spans lines; file names must not")
    if not rows or [cell.strip().lower() for cell in rows[0]] != CSV_COLUMNS:
        first = lines[0][1][:80] if lines else ""
        raise DataError(f"{path}: its first line is {first!r}; expected {','.join(CSV_COLUMNS)}")
    return rows[1:]


def _add_paths(fields: list[str], where: str, listed: _Listed, finder: _Finder) -> None:
    first, second, same = _triple(fields, where)
    numbers = [listed.number(finder.path(item, where)) for item in (first, second)]
    listed.pairs.append((numbers[0], numbers[1], same))


def _triple(fields: list[str], where: str) -> tuple[str, str, bool]:
    fields = [item.strip() for item in fields]
    if len(fields) != 3 or fields[2].lower() not in ("0", "1", "true", "false"):
        raise DataError(f"{where}: {' '.join(fields)[:80]!r}; expected two paths and 1 (same person) or 0")
    return fields[0], fields[1], fields[2].lower() in ("1", "true")


def _read_lfw(lines: list[tuple[int, str]], path: Path, listed: _Listed, finder: _Finder) -> Ints:
    """Read LFW's format; the fold of every pair.

    The first line has the number of folds (none: 1) and of pairs per fold and kind.
    """
    head = [int(item) for item in lines[0][1].split()]
    folds, each = head if len(head) == 2 else (1, head[0])
    if folds < 1 or each < 1:
        raise DataError(
            f"{path}: its first line says {folds} folds of {each} + {each} pairs; expected at least 1 of each"
        )
    expected, rest = 2 * folds * each, lines[1:]
    if expected != len(rest):
        raise DataError(f"{path}: {len(rest)} pairs; its first line says {folds} folds of {each} + {each} pairs")
    for number, line in rest:
        where = f"{path}: line {number}"
        fields = [item.strip() for item in (line.split("\t") if "\t" in line else line.split())]
        numbers = fields[1:] if len(fields) == 3 else fields[1::2]
        if len(fields) not in (3, 4) or not all(map(_is_number, numbers)):
            text = "expected NAME N1 N2 or NAME1 N1 NAME2 N2"
            raise DataError(f"{where}: {line.strip()[:80]!r}; {text}")
        people = (fields[0], fields[0] if len(fields) == 3 else fields[2])
        if len(fields) == 4 and people[0] == people[1]:
            raise DataError(f"{where}: a pair of different people names {people[0]!r} twice")
        first, second = (
            listed.number(finder.numbered(person, int(item), where), person)
            for person, item in zip(people, numbers, strict=True)
        )
        listed.pairs.append((first, second, len(fields) == 3))
    return contiguous_folds(expected, folds)


class _Finder:
    """Finds listed files in a folder, by name or by a person's name and number."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._listings: dict[Path, dict[str, list[str]]] = {}

    def path(self, text: str, where: str) -> Path:
        """The file of a relative path."""
        pure = PurePosixPath(text.replace("\\", "/"))
        if not text or pure.is_absolute() or ".." in pure.parts or "\0" in text:
            raise DataError(f"{where}: {text[:80]!r}; expected a path within the folder of the images")
        here = self.folder
        for part in pure.parts:
            here /= self._entry(here, part, where)
        return here

    def numbered(self, person: str, number: int, where: str) -> Path:
        """``NAME/NAME_0001`` or ``NAME/1``, with any suffix of an image."""
        folder = self.path(person, where)
        stems = {_normal(f"{person}_{number:04d}"), str(number), f"{number:04d}"}
        found = [
            name
            for names in self._listing(folder).values()
            for name in names
            if Path(name).suffix.lower() in SUFFIXES and _normal(Path(name).stem) in stems
        ]
        if len(found) != 1:
            text = f"is there {len(found)} times ({', '.join(sorted(found)[:3])})" if found else "is not there"
            raise DataError(f"{where}: image {number} of {person!r} {text}; expected {person}/{person}_{number:04d}.*")
        return folder / found[0]

    def _entry(self, folder: Path, name: str, where: str) -> str:
        """The name of an entry as the disk has it: systems differ in how they compose accents."""
        names = self._listing(folder).get(_normal(name), [])
        if name in names:
            return name
        if len(names) > 1:
            text = f"{name!r} is there {len(names)} times in {folder}, in other Unicode forms; rename one"
            raise DataError(f"{where}: {text}")
        if not names:
            raise DataError(f"{where}: there is no {name!r} in {folder}")
        return names[0]

    def _listing(self, folder: Path) -> dict[str, list[str]]:
        if folder not in self._listings:
            listing: dict[str, list[str]] = {}
            for entry in folder.iterdir() if folder.is_dir() else ():
                listing.setdefault(_normal(entry.name), []).append(entry.name)
            self._listings[folder] = listing
        return self._listings[folder]


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 9


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _by_name(people: Iterable[str]) -> Ints:
    return np.unique(np.array(list(people)), return_inverse=True)[1].astype(np.int64)


def _components(count: int, a: Ints, b: Ints) -> Ints:
    """Identity of every image where only pairs are known: images that genuine pairs connect are one person."""
    parent = list(range(count))

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    for first, second in zip(a.tolist(), b.tolist(), strict=True):
        low, high = sorted((root(first), root(second)))
        parent[high] = low
    return np.unique([root(place) for place in range(count)], return_inverse=True)[1].astype(np.int64)


def _counters(identities: Ints) -> Ints:
    """How many images of its identity come before each image."""
    seen: dict[int, int] = {}
    out = np.empty(len(identities), dtype=np.int64)
    for place, identity in enumerate(identities.tolist()):
        out[place] = seen.get(identity, 0)
        seen[identity] = out[place] + 1
    return out
