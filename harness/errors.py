"""The errors a user can meet. Each message says what is wrong, where, what was expected and what to do."""

from __future__ import annotations


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
