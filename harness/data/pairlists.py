"""Lists of pairs over image files, in the formats in which benchmarks publish them; see :func:`read_pairs`.

Letters: N images, P pairs, K folds.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.arrays import Bools, Ints
from harness.data.bins import contiguous_folds
from harness.data.finders import Files, Finder, Within
from harness.errors import DataError, InputError

LISTS = ("pairs.txt", "pairs.csv")
CSV_COLUMNS = ["a", "b", "same"]
GROUP = "group"  # a further column
_LFW_HEAD = re.compile(r"[0-9]{1,12}(\s+[0-9]{1,12})?")
_NUMBERED = re.compile(r"_?[0-9]+$")  # the number of a picture, behind a person's name
_MAX_BYTES = 1 << 28


@dataclass
class PairList:
    """Pairs over files.

    ``files``: the N images in the order in which the list first names them; ``a``, ``b`` int64 [P] index them;
    ``same`` bool [P]; ``fold`` int64 [P]; ``identities``, ``samples`` int64 [N]; ``group`` text [P], None where the
    list has no groups.
    """

    files: list[Path]
    a: Ints
    b: Ints
    same: Bools
    fold: Ints
    identities: Ints
    samples: Ints
    group: NDArray[Any] | None = None


@dataclass
class _Listed:
    """What a list says, before it is numbered: one entry per pair."""

    files: dict[Path, int] = field(default_factory=dict)
    people: list[str] = field(default_factory=list)  # per file, where the list names them
    pairs: list[tuple[int, int, bool]] = field(default_factory=list)
    fold: list[int] = field(default_factory=list)  # per pair, where the list has folds
    group: list[str] = field(default_factory=list)  # per pair, where the list has groups

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


def read_pairs(where: Path | Finder, path: Path | None = None, folds: int = 10) -> PairList:
    """Read a list of pairs; its format is recognized.

    - A ``.csv`` file has the columns a, b, same, and may have a fourth, group.
    - LFW's format (tech. report 07-49): a first line of one or two numbers, then ``NAME N1 N2`` or ``NAME1 N1 NAME2
      N2``. Two numbers are folds, and pairs per fold and kind; one number (``pairsDevTest.txt``) brings no folds. RFW's
      lists (arXiv 1812.00194) are such lines without the first one.
    - CALFW's and CPLFW's lists (arXiv 1708.08197; Zheng and Deng, tech. report 18-01, 2018): two lines with a file and
      a number for each pair, 0 for different people. Files are called after people: ``NAME_0001.jpg``.
    - CFP's protocols (Sengupta et al., WACV 2016) are a folder, such as ``Protocol/Split/FP``, with ``same.txt`` and
      ``diff.txt`` for each fold, which number the lines of ``Protocol/Pair_list_F.txt`` and ``Pair_list_P.txt``.
    - RFW as a whole is a folder, such as ``txts``, with ``GROUP/GROUP_pairs.txt`` for each group, whose pictures lie in
      the folder GROUP. Folds are parts of each group's pairs.
    - Else every line holds two paths and 1 (same person) or 0, separated by tabs, or by spaces where there are no tabs.

    Paths are relative to the folder of the images; files are not opened.

    Args:
        where: the folder of the images, or what finds them.
        path: the list; default, for a folder, ``pairs.txt`` or ``pairs.csv`` in it.
        folds: K, for formats without folds: contiguous parts of the genuine and of the impostor pairs.

    Raises:
        DataError: a line is not understood, names a file that is not there, or one that lies outside of the folder; or
            there are fewer pairs than folds.
    """
    finder, listed = Files(where) if isinstance(where, Path) else where, _Listed()
    if path is None:
        assert isinstance(where, Path)
        path = find_list(where)
    if path.is_dir() and (of_groups := sorted(path.glob("*/*_pairs.txt"))):
        _read_groups(of_groups, listed, finder, folds)
    elif path.is_dir():
        _read_cfp(path, listed, finder)
    else:
        _read_file(path, listed, finder)
    if not listed.pairs:
        raise DataError(f"{path}: it lists no pair; expected at least one")
    a, b, same = (np.array(column) for column in zip(*listed.pairs, strict=True))
    fold = np.array(listed.fold, dtype=np.int64)
    if not len(fold):
        if len(a) < folds:
            raise DataError(f"{path}: {len(a)} pairs do not fill {folds} folds; give fewer folds or more pairs")
        fold = balanced_folds(same, folds)
    identities = _by_name(listed.people) if all(listed.people) else _components(len(listed.files), a[same], b[same])
    group = np.array(listed.group) if listed.group else None
    return PairList(
        list(listed.files), a.astype(np.int64), b.astype(np.int64), same, fold, identities, _counters(identities), group
    )


def list_content(path: Path) -> str:
    """Digest of a list's files: of one, or of all that belong to one of CFP's protocols."""
    files = (
        sorted(path.rglob("*.txt")) + sorted(path.parent.parent.glob("Pair_list_*.txt")) if path.is_dir() else [path]
    )
    lines = [_read_lines(file) for file in files]
    return hashlib.sha256(repr(lines).encode()).hexdigest()


def balanced_folds(same: Bools, folds: int) -> Ints:
    """Fold of every pair, int64 [P]: contiguous parts of the genuine pairs and of the impostor pairs.

    Where both are listed fold by fold these are the folds of the list, and where all genuine pairs come first, each
    fold still has both kinds. With fewer pairs of a kind than folds, the folds are contiguous parts of the list.
    """
    if min(same.sum(), (~same).sum()) < folds:
        return contiguous_folds(len(same), folds)
    fold = np.empty(len(same), dtype=np.int64)
    for kind in (same, ~same):
        fold[kind] = contiguous_folds(int(kind.sum()), folds)
    return fold


def _read_file(path: Path, listed: _Listed, finder: Finder) -> None:
    lines = _read_lines(path)
    if not lines:
        raise DataError(f"{path}: it lists no pair; expected at least one")
    first = _fields(lines[0][1])
    if path.suffix.lower() == ".csv":
        _read_csv(lines, path, listed, finder)
    elif _LFW_HEAD.fullmatch(lines[0][1].strip()):
        _read_lfw(lines, path, listed, finder)
    elif len(first) in (3, 4) and all(map(_is_number, first[1::2])):
        _add_people(lines, path, listed, finder)
    elif len(first) == 2 and _is_number(first[1]) and len(lines) > 1:
        _read_halves(lines, path, listed, finder)
    else:
        for number, line in lines:
            _add_paths(_fields(line), f"{path}: line {number}", listed, finder)


def _read_groups(files: Sequence[Path], listed: _Listed, finder: Finder, folds: int) -> None:
    """Read a list for each group, whose pictures lie in the folder that is called like the group."""
    for file in files:
        group, first = file.parent.name, len(listed.pairs)
        _read_file(file, listed, Within(finder, group))
        same = np.array([pair[2] for pair in listed.pairs[first:]], dtype=bool)
        if len(same) < folds:
            raise DataError(f"{file}: {len(same)} pairs do not fill {folds} folds; give fewer folds or more pairs")
        listed.fold[first:] = balanced_folds(same, folds).tolist()
        listed.group += [group] * len(same)


def _fields(line: str) -> list[str]:
    return [item.strip() for item in (line.split("\t") if "\t" in line else line.split())]


def read_named_pairs(path: Path, names: Sequence[str]) -> tuple[Ints, Ints, Bools]:
    """Read a ``pairs.csv`` over images that are no files: places of both in ``names``, and whether they are the same.

    Raises:
        DataError: a line is not understood or names an image that is not there.
    """
    place = {name: index for index, name in enumerate(names)}
    lines = _read_lines(path)
    rows, _ = _csv_rows(lines, path)
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


def _read_csv(lines: list[tuple[int, str]], path: Path, listed: _Listed, finder: Finder) -> None:
    rows, listed.group = _csv_rows(lines, path)
    for (number, _), row in zip(lines[1:], rows, strict=True):
        _add_paths(row, f"{path}: line {number}", listed, finder)


def _csv_rows(lines: list[tuple[int, str]], path: Path) -> tuple[list[list[str]], list[str]]:
    """The rows after the header, and the group of each where there is such a column."""
    try:
        rows = list(csv.reader([line for _, line in lines], strict=True))
    except csv.Error as error:
        raise DataError(f"{path}: not a CSV file ({error})") from error
    if len(rows) != len(lines):
        raise DataError(f"{path}: a quoted field spans lines; file names must not")
    head = [cell.strip().lower() for cell in rows[0]] if rows else []
    if head not in (CSV_COLUMNS, [*CSV_COLUMNS, GROUP]):
        text = f"expected {','.join(CSV_COLUMNS)} and perhaps {GROUP}"
        raise DataError(f"{path}: its first line is {lines[0][1][:80] if lines else ''!r}; {text}")
    if GROUP not in head:
        return rows[1:], []
    for (number, line), row in zip(lines, rows, strict=True):
        if len(row) != len(head):
            raise DataError(
                f"{path}: line {number}: {line.strip()[:80]!r}; expected {len(head)} fields, the last a group"
            )
    return [row[:3] for row in rows[1:]], [row[3].strip() for row in rows[1:]]


def _add_paths(fields: list[str], where: str, listed: _Listed, finder: Finder) -> None:
    first, second, same = _triple(fields, where)
    numbers = [listed.number(finder.path(item, where)) for item in (first, second)]
    listed.pairs.append((numbers[0], numbers[1], same))


def _triple(fields: list[str], where: str) -> tuple[str, str, bool]:
    fields = [item.strip() for item in fields]
    if len(fields) != 3 or fields[2].lower() not in ("0", "1", "true", "false"):
        raise DataError(f"{where}: {' '.join(fields)[:80]!r}; expected two paths and 1 (same person) or 0")
    return fields[0], fields[1], fields[2].lower() in ("1", "true")


def _read_lfw(lines: list[tuple[int, str]], path: Path, listed: _Listed, finder: Finder) -> None:
    """Read LFW's format, whose first line has the number of folds (none: no folds) and of pairs per fold and kind."""
    head = [int(item) for item in lines[0][1].split()]
    folds, each = head if len(head) == 2 else (1, head[0])
    if folds < 1 or each < 1:
        raise DataError(
            f"{path}: its first line says {folds} folds of {each} + {each} pairs; expected at least 1 of each"
        )
    expected, rest = 2 * folds * each, lines[1:]
    if expected != len(rest):
        raise DataError(f"{path}: {len(rest)} pairs; its first line says {folds} folds of {each} + {each} pairs")
    _add_people(rest, path, listed, finder)
    if len(head) == 2:
        listed.fold = contiguous_folds(expected, folds).tolist()


def _add_people(lines: list[tuple[int, str]], path: Path, listed: _Listed, finder: Finder) -> None:
    """``NAME N1 N2`` or ``NAME1 N1 NAME2 N2``."""
    for number, line in lines:
        where, fields = f"{path}: line {number}", _fields(line)
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


def _read_halves(lines: list[tuple[int, str]], path: Path, listed: _Listed, finder: Finder) -> None:
    """Read CALFW's and CPLFW's format: each line has one image of a pair and the pair's label."""
    if len(lines) % 2:
        raise DataError(f"{path}: {len(lines)} lines; expected two for every pair")
    for (number, line), (_, other) in zip(lines[::2], lines[1::2], strict=True):
        where, fields = f"{path}: line {number}", [*_fields(line), *_fields(other)]
        if len(fields) != 4 or fields[1] != fields[3] or not _is_number(fields[1]):
            text = "expected a file and a number, the same in the next line"
            raise DataError(f"{where}: {' '.join(fields)[:80]!r}; {text}")
        first, second = (
            listed.number(finder.path(name, where), _NUMBERED.sub("", Path(name).stem)) for name in fields[::2]
        )
        listed.pairs.append((first, second, int(fields[1]) != 0))


def _read_cfp(path: Path, listed: _Listed, finder: Finder) -> None:
    """Read CFP's format; the folder of a picture's folder is called after the person."""
    lists = path.parent.parent
    frontal = _numbered_files(lists / "Pair_list_F.txt")
    second = _numbered_files(lists / "Pair_list_P.txt") if path.name.endswith("P") else frontal
    folders = sorted(folder for folder in path.iterdir() if folder.is_dir())
    for fold, (folder, name) in enumerate((folder, name) for folder in folders for name in ("same.txt", "diff.txt")):
        for number, line in _read_lines(folder / name):
            where, fields = f"{folder / name}: line {number}", [item.strip() for item in line.split(",")]
            if len(fields) != 2 or fields[0] not in frontal or fields[1] not in second:
                raise DataError(f"{where}: {line.strip()[:80]!r}; expected two numbers of the lists in {lists}")
            files = [finder.path(frontal[fields[0]], where), finder.path(second[fields[1]], where)]
            one, other = (listed.number(file, file.parent.parent.name) for file in files)
            listed.pairs.append((one, other, name == "same.txt"))
            listed.fold.append(fold // 2)


def _numbered_files(path: Path) -> dict[str, str]:
    """``NUMBER PATH`` per line; paths are relative to the list's folder, which lies in the data set's."""
    found = {}
    for number, line in _read_lines(path):
        fields = _fields(line)
        if len(fields) != 2 or not _is_number(fields[0]):
            raise DataError(f"{path}: line {number}: {line.strip()[:80]!r}; expected a number and a path")
        found[fields[0]] = fields[1].replace("\\", "/").removeprefix("../")
    return found


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 9


def _by_name(people: Sequence[str]) -> Ints:
    return np.unique(np.array(people), return_inverse=True)[1].astype(np.int64)


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
