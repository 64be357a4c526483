"""The errors a user can meet. Each message says what is wrong, where, what was expected and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class HarnessError(Exception):
    """Root of every error the harness raises on purpose; the command line prints it as one line."""

    exit_status = 1


class InputError(HarnessError):
    """What the user gave is wrong (suite file, settings, paths, plugins): nothing was started."""

    exit_status = 2


class StageError(HarnessError):
    """A stage could not produce its artifact; the rows that need it fail and the others go on."""


class DataError(HarnessError):
    """Data on disk is damaged or not in the format it claims."""


class Stopped(HarnessError):
    """The user asked a run to stop; finished shards and checkpoints are kept."""


def unknown(what: str, name: object, known: Iterable[object]) -> str:
    """The text for a name that nobody knows: ``unknown key 'sourse', expected one of ...; did you mean 'source'?``.

    Args:
        what: what the name was to be, such as ``key`` or ``row``.
        name: what was given.
        known: the names that would have done.
    """
    names = sorted(map(str, known))
    near = difflib.get_close_matches(str(name), names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"unknown {what} {str(name)!r}, expected one of {', '.join(names) or 'none'}{hint}"


def first_fault(error: ValidationError) -> str:
    """The first of the faults that a schema found, as ``key.key: what is wrong``."""
    fault = error.errors()[0]
    return f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
