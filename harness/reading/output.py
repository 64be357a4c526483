"""Where boards and lines are printed: consoles that lose nothing to a poor encoding and end quietly."""

from __future__ import annotations

import os
import sys

from rich.console import Console

from harness.reading.escape import replace_unknown

FILE_WIDTH = 160  # columns of a table that goes to a file


class Output(Console):
    """A console on stdout or stderr whose reader may go away, as ``| head -1`` does: then it is quiet."""

    def on_broken_pipe(self) -> None:
        """Write to nowhere from now on."""
        self.quiet = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.file.fileno())
        os.close(nowhere)


def stdout() -> Console:
    """A console on stdout; as wide as the terminal, or as a file may be."""
    replace_unknown(sys.stdout)
    on_terminal = sys.stdout is not None and sys.stdout.isatty()
    return Output(highlight=False, width=None if on_terminal else file_width())


def stderr() -> Console:
    """A console on stderr."""
    replace_unknown(sys.stderr)
    return Output(stderr=True, highlight=False)


def file_width() -> int:
    """Columns of a table that goes to a file: COLUMNS if it is set."""
    columns = os.environ.get("COLUMNS", "")
    return int(columns) if columns.isdecimal() and len(columns) < 6 and int(columns) else FILE_WIDTH
