"""Text files of any size, line by line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from harness.errors import DataError, InputError

_LINE = 4096  # bytes of the longest line


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines (from 1) that are not empty.

    Raises:
        InputError: there is no such file.
        DataError: a line is too long, or not UTF-8; the message names it.
    """
    if not path.is_file():  # a pipe, say, would be waited for
        raise InputError(f"{path}: cannot be read (it is no file); expected lines of text")
    with path.open("rb") as file:
        number = 0
        while line := file.readline(_LINE):
            number += 1
            if len(line) == _LINE and not line.endswith(b"\n"):
                raise DataError(f"{path}: line {number} is longer than {_LINE} bytes")
            try:
                text = line.decode()
            except UnicodeDecodeError:
                raise DataError(f"{path}: line {number} is not UTF-8 text") from None
            if text.strip():
                yield number, text
