"""Opens the tracking store: MLflow kept quiet, one writer at a time, and a workdir's own database made whole."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from harness import disk
from harness.tracking.uris import STORE_FILE, own_store, sqlite_uri

log = logging.getLogger(__name__)

LOCK_FILE = ".tracking.lock"
LOCK_TIMEOUT_S = 120.0
_SUFFIXES = ("-journal", "-wal", "-shm", "")  # what SQLite keeps beside a database file, and the file itself
_NOISY = ("mlflow", "alembic", "urllib3")
# What says that a file is no sound database, whoever opens it; any other error may pass.
_UNSOUND = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}


def set_environment(workdir: Path) -> None:
    """MLflow's settings for this process, before it is imported; what the user has set stays."""
    settings = {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_LOGGING_LEVEL": "WARNING",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        # A server that does not answer must not be asked for minutes; sync repeats what was missed.
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    }
    if own_store(workdir) is not None:
        # A pooled connection would go on writing into a database that was deleted or set aside.
        settings["MLFLOW_SQLALCHEMYSTORE_POOLCLASS"] = "NullPool"
    for name, value in settings.items():
        os.environ.setdefault(name, value)


def client(uri: str) -> Any:
    """An MLflow client; making one for a database opens it, and makes its tables if it has none."""
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


@contextmanager
def locked(workdir: Path) -> Iterator[None]:
    """One process at a time writes into the store of a workdir: two would both create what is missing.

    What MLflow and the libraries under it log is dropped meanwhile: it can hold the URI with its password, and what
    fails is raised as well.
    """
    from filelock import FileLock

    folder = workdir / "results"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(str(folder / LOCK_FILE), timeout=LOCK_TIMEOUT_S), _quiet():
        yield


@contextmanager
def _quiet() -> Iterator[None]:
    import mlflow  # noqa: F401  its import sets up its loggers, and would undo this

    loggers = [logging.getLogger(name) for name in _NOISY]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def make_database(workdir: Path, fill: Callable[[str], object] | None = None) -> bool:
    """Make the workdir's own database if there is none, and anew if it is not whole; use it under the lock.

    MLflow makes some 60 tables one after another, and cannot go on where a process that did so was killed. So they
    are made in a file of another name, which is there from one moment to the next. A database that is not whole is
    kept under a name that says so.

    Args:
        fill: given the URI of a new database, fills it before it gets its name; that is many times faster.

    Returns:
        whether a database was made.
    """
    path = own_store(workdir)
    if path is None:
        return False
    if path.exists():
        fault = database_fault(path)
        if not fault:
            return False
        aside = _set_aside(path)
        log.warning("%s %s; it is now %s, and `harness sync` fills a new one", path, fault, aside.name)
    for left in (*path.parent.glob(f".{STORE_FILE}.new-*"), *path.parent.glob(f"{STORE_FILE}-*")):
        left.unlink()  # of a process that was killed, and journals without their database: SQLite would apply them
    new = path.with_name(f".{STORE_FILE}.new-{uuid.uuid4().hex[:8]}")  # MLflow remembers the names that it opened
    with _not_durable(new):
        client(sqlite_uri(new))
        if fill is not None:
            fill(sqlite_uri(new))
    disk.flush(new)
    new.replace(path)
    return True


@contextmanager
def _not_durable(path: Path) -> Iterator[None]:
    """SQLite does not wait for the disk after each change of a file that is thrown away unless it becomes whole."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    def ask(connection: Any, _record: object) -> None:
        if isinstance(connection, sqlite3.Connection):
            ((_, _, opened),) = connection.execute("PRAGMA database_list")
            if opened and Path(opened).name == path.name:
                connection.execute("PRAGMA synchronous=OFF")

    event.listen(Engine, "connect", ask)
    try:
        yield
    finally:
        event.remove(Engine, "connect", ask)


def database_fault(path: Path) -> str:
    """Why a database file cannot be MLflow's, as far as that is certain; empty if it can be."""
    if not path.is_file():
        return ""
    if not path.stat().st_size:
        return "is empty"
    try:
        with contextlib.closing(sqlite3.connect(f"file:{quote(str(path))}?mode=rw", uri=True)) as database:
            (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                return "is damaged"
            # The first experiment is made when all tables are there.
            made = database.execute("SELECT 1 FROM experiments LIMIT 1").fetchone()
    except sqlite3.Error as error:
        code = error.sqlite_errorcode & 0xFF  # without the details
        if code not in _UNSOUND:
            return ""
        return "is half made" if code == sqlite3.SQLITE_ERROR else "is damaged"
    return "" if made else "is half made"


def _set_aside(path: Path) -> Path:
    """Rename a database that is not whole, with its journal: SQLite would apply that to the next one."""
    number = 1
    while (aside := path.with_name(f"{path.name}.unusable-{number}")).exists():
        number += 1
    for suffix in _SUFFIXES:
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
    return aside
