"""Files that are there for good: what was announced survives a power cut, and what was written is what is read.

A rename is atomic, yet after a power cut the name can be there and the bytes not. So bytes are flushed to the disk
before the rename that announces them, and the folder after it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

_BLOCK = 1 << 20  # bytes read at once


def flush(path: Path) -> None:
    """Have a file's bytes, or a folder's names, on the disk before this returns."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write or replace a text file, durably and in one step."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(text, encoding="utf-8")
    flush(partial)
    partial.replace(path)
    flush(path.parent)


def link(origin: Path, target: Path) -> None:
    """The same bytes under another name, whose folder is made; a copy where the file system has no links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(origin, target)
    except OSError:
        shutil.copyfile(origin, target)


def seal(folder: Path, skip: Callable[[Path], bool]) -> dict[str, tuple[int, str]]:
    """Flush everything below a folder; its files by relative path, each with its size in bytes and its sha256.

    Args:
        skip: paths that have no part in it.

    Raises:
        OSError: a file is no regular file.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        if skip(path):
            continue
        if path.is_dir() and not path.is_symlink():
            flush(path)
            continue
        found[path.relative_to(folder).as_posix()] = _measure(path)
        flush(path)
    flush(folder)
    return found


def fault(folder: Path, files: dict[str, tuple[int, str]], skip: Callable[[Path], bool], read: bool = True) -> str:
    """In what a folder differs from its seal: one file and how; empty if it does not.

    Args:
        read: compare the bytes of files as well, beside their names and sizes.
    """
    for name, (size, digest) in files.items():
        try:
            now = _size(folder / name)
            same = now == size and (not read or _measure(folder / name) == (size, digest))
        except OSError as error:
            return f"{name}: {error.strerror or error}"
        if not same:
            return f"{name}: " + (
                f"{now:,} bytes instead of {size:,}" if now != size else "other bytes than were written"
            )
    added = [
        path.relative_to(folder).as_posix()
        for path in sorted(folder.rglob("*"))
        if not skip(path) and (path.is_symlink() or not path.is_dir())
    ]
    extra = next((name for name in added if name not in files), "")
    return f"{extra}: was not there when it was made" if extra else ""


def _size(path: Path) -> int:
    """Size of a regular file."""
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        raise OSError(f"{path.name} is no regular file")
    return found.st_size


def _measure(path: Path) -> tuple[int, str]:
    """Size and sha256 of a regular file, read in blocks."""
    _size(path)  # nothing but a regular file is opened
    state = hashlib.sha256()
    size = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            state.update(block)
            size += len(block)
    return size, state.hexdigest()
