"""Finds what lists of pairs name: files of a folder, or pictures that bear the names of files."""

from __future__ import annotations

import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from harness.data.pictures import SUFFIXES
from harness.errors import DataError


class Finder(ABC):
    """Finds pictures by path, or by a person's name and a number.

    Names that are there in several spellings, or several times, are errors and never a choice.
    """

    @abstractmethod
    def path(self, text: str, where: str) -> Path:
        """The picture, or the folder, of a relative path.

        Args:
            where: names the place in the list, for the error.

        Raises:
            DataError: it is not there, or it is no path within the folder.
        """

    @abstractmethod
    def names_in(self, folder: Path) -> Iterable[str]:
        """What lies in a folder."""

    def numbered(self, person: str, number: int, where: str) -> Path:
        """``NAME/NAME_0001`` or ``NAME/1``, with any suffix of an image."""
        folder = self.path(person, where)
        stems = {_normal(f"{person}_{number:04d}"), str(number), f"{number:04d}"}
        found = [
            name
            for name in self.names_in(folder)
            if Path(name).suffix.lower() in SUFFIXES and _normal(Path(name).stem) in stems
        ]
        if len(found) != 1:
            text = f"is there {len(found)} times ({', '.join(sorted(found)[:3])})" if found else "is not there"
            raise DataError(f"{where}: image {number} of {person!r} {text}; expected {person}/{person}_{number:04d}.*")
        return folder / found[0]


class Files(Finder):
    """The files of a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._listings: dict[Path, dict[str, list[str]]] = {}

    def path(self, text: str, where: str) -> Path:
        """The file or folder as the disk spells it."""
        here = self.folder
        for part in _parts(text, where):
            here /= self._entry(here, part, where)
        return here

    def names_in(self, folder: Path) -> Iterable[str]:
        """The folder's entries."""
        return [name for names in self._listing(folder).values() for name in names]

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


class Named(Finder):
    """Pictures that bear the names of the files they were read from; paths stand for names.

    Args:
        names: paths below a folder, such as ``NAME/NAME_0001.jpg``.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._spelled: dict[str, list[Path]] = {}
        self._folders: dict[Path, list[str]] = {}
        for path in map(Path, names):
            self._spelled.setdefault(_normal(path.as_posix()), []).append(path)
            self._folders.setdefault(Path(_normal(path.parent.as_posix())), []).append(path.name)

    def path(self, text: str, where: str) -> Path:
        """The name as the source spells it, or a folder of names."""
        wanted = Path(_normal("/".join(_parts(text, where))))
        found = self._spelled.get(wanted.as_posix(), [])
        if wanted in self._folders:
            return wanted
        if len(found) != 1:
            text = f"{len(found)} pictures of the source are called {text[:80]!r}" if found else f"no {text[:80]!r}"
            raise DataError(f"{where}: {text} in the source; expected one")
        return found[0]

    def names_in(self, folder: Path) -> Iterable[str]:
        """The names below a folder."""
        return self._folders.get(folder, [])


class Within(Finder):
    """What another finder finds below one of its folders."""

    def __init__(self, finder: Finder, folder: str) -> None:
        self.finder, self.folder = finder, folder

    def path(self, text: str, where: str) -> Path:
        """The picture or folder of a path below the folder."""
        return self.finder.path("/".join((self.folder, *_parts(text, where))), where)

    def names_in(self, folder: Path) -> Iterable[str]:
        """As the other finder has it."""
        return self.finder.names_in(folder)


def _parts(text: str, where: str) -> tuple[str, ...]:
    pure = PurePosixPath(text.replace("\\", "/"))
    if not text or pure.is_absolute() or ".." in pure.parts or "\0" in text:
        raise DataError(f"{where}: {text[:80]!r}; expected a path within the folder of the images")
    return pure.parts


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", name)
