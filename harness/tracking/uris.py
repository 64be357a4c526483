"""Where MLflow's store of a workdir is, and what may be said of it: a tracking URI can hold a password or a token."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import quote, unquote

from harness.errors import InputError

STORE_FILE = "mlflow.db"
ARTIFACTS = "mlartifacts"
HIDDEN = "***"
MAX_ERROR_CHARS = 200
MIN_SECRET_CHARS = 4  # a shorter secret cannot be told from the words around it


def own_store(workdir: Path) -> Path | None:
    """The database in the workdir; None where MLFLOW_TRACKING_URI names another store."""
    return None if os.environ.get("MLFLOW_TRACKING_URI") else workdir.resolve() / STORE_FILE


def store_uri(workdir: Path) -> str:
    """The tracking store of a workdir: MLFLOW_TRACKING_URI, else a database in the workdir. Say ``shown`` of it."""
    return os.environ.get("MLFLOW_TRACKING_URI") or sqlite_uri(workdir.resolve() / STORE_FILE)


def shown_store(workdir: Path) -> str:
    """What may be said of the tracking store of a workdir."""
    return shown(store_uri(workdir))


def sqlite_uri(path: Path) -> str:
    """The URI of a database file, whatever characters its path has.

    Raises:
        InputError: the SQLAlchemy that is installed has no way to write the path.
    """
    text = path.as_posix()
    if not re.search("[%?#]", text):
        return f"sqlite:///{text}"
    from sqlalchemy.engine import make_url

    # With the driver named, MLflow does not make the folder that it would read from a quoted path.
    for written in (quote(text), text):
        uri = f"sqlite+pysqlite:///{written}"
        if make_url(uri).database == text:
            return uri
    raise InputError(f"{path}: a database cannot be kept under this name; choose a --workdir without % ? #")


def is_server(uri: str) -> bool:
    """Whether the URI names a tracking server, which keeps the files too."""
    return uri.lower().startswith(("http:", "https:", "databricks", "uc:"))


def artifact_location(workdir: Path) -> str | None:
    """Where a new experiment puts its files; None lets a tracking server decide.

    MLflow's own default is a folder ``mlruns`` in the current directory.
    """
    return None if is_server(store_uri(workdir)) else (workdir.resolve() / ARTIFACTS).as_uri()


def shown(uri: str) -> str:
    """The URI without credentials: user, password, query and fragment are hidden."""
    scheme, user, place, rest = _parts(uri)
    return scheme + (f"{HIDDEN}@" if user else "") + place + (rest[0] + HIDDEN if rest else "")


def cleaned(text: str, uri: str) -> str:
    """A text that somebody else wrote, without the credentials of the URI."""
    text = text.replace(uri, shown(uri))
    for secret in _secrets(uri):
        if len(secret) < MIN_SECRET_CHARS and secret in text:
            return HIDDEN
        text = text.replace(secret, HIDDEN)
    return text


def one_line(error: BaseException, uri: str) -> str:
    """What an error says, in one line of at most 200 characters and without the credentials of the URI."""
    text = f"{type(error).__name__}: {cleaned((str(error).splitlines() or [''])[0], uri)}"
    return text if len(text) <= MAX_ERROR_CHARS else text[: MAX_ERROR_CHARS - 1] + "…"


def has_secrets(uri: str) -> bool:
    """Whether the URI holds what must not be said."""
    return shown(uri) != uri


def _parts(uri: str) -> tuple[str, str, str, str]:
    """Scheme with its ``://``, user and password, host and path, and the query or fragment with its mark.

    A password may hold any character unquoted, so all up to the last ``@`` counts as one. Where no host is, as in
    ``sqlite:////folder/mlflow.db``, nobody logs in, and an ``@`` is part of the path.
    """
    scheme, mark, body = uri.partition("://")
    if not mark:
        scheme, body = "", uri
    user, at, place = body.rpartition("@") if not body.startswith("/") else ("", "", body)
    end = re.search("[?#]", place)
    cut = end.start() if end else len(place)
    return scheme + mark, user if at else "", place[:cut], place[cut:]


def _secrets(uri: str) -> list[str]:
    """The texts that must not be said, longest first, as written and without quoting."""
    _, user, _, rest = _parts(uri)
    name, colon, password = user.partition(":")
    values = [value for pair in re.split("[?#&;]", rest) if (value := pair.partition("=")[2] or pair)]
    found = {user, password if colon else name, rest[1:], *values}
    found |= {unquote(text) for text in found}
    return sorted(found - {""}, key=len, reverse=True)
