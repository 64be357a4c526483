"""Nothing that is said of a tracking URI holds its credentials."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.tracking.uris import cleaned, has_secrets, is_server, one_line, shown, sqlite_uri


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("http://tracking.example:5000", "http://tracking.example:5000"),
        ("https://me:hunter22@tracking.example/a", "https://***@tracking.example/a"),
        ("https://token1234@tracking.example", "https://***@tracking.example"),
        ("https://tracking.example/?token=abcd1234&x=1", "https://tracking.example/?***"),
        ("https://tracking.example#abcd1234", "https://tracking.example#***"),
        ("postgresql+psycopg2://me:p/w?x#y@z@db:5432/name", "postgresql+psycopg2://***@db:5432/name"),
        ("postgresql://db/name?user=me&password=hunter22", "postgresql://db/name?***"),
        ("sqlite:////home/me@work/runs/mlflow.db", "sqlite:////home/me@work/runs/mlflow.db"),
        ("sqlite+pysqlite:////runs%3F/mlflow.db", "sqlite+pysqlite:////runs%3F/mlflow.db"),
        ("me:hunter22@tracking.example", "***@tracking.example"),
        ("databricks", "databricks"),
    ],
)
def test_what_is_shown(uri: str, said: str) -> None:
    assert shown(uri) == said
    assert has_secrets(uri) == (uri != said)


URI = "postgresql://me:hunt%40r22@db/name?sslpassword=deep%20one"


@pytest.mark.parametrize(
    "text",
    [
        f"cannot open {URI}",
        f"cannot open {URI}/api/2.0",
        "user me:hunt@r22 was refused",
        "password 'hunt%40r22' was refused",
        "sslpassword 'deep one' was refused",
        "sslpassword=deep%20one was refused",
    ],
)
def test_an_error_is_told_without_them(text: str) -> None:
    told = one_line(ValueError(text + "\nsecond line"), URI)
    assert told.startswith("ValueError: ")
    assert not [secret for secret in ("hunt", "r22", "deep") if secret in told]
    assert "second" not in told


def test_a_text_is_dropped_where_a_secret_cannot_be_told_from_words() -> None:
    assert cleaned("no access", "http://me:a@host") == "***"
    assert cleaned("no access", "http://host") == "no access"


@pytest.mark.parametrize("uri", ["http://h", "HTTPS://h", "databricks://profile", "uc:x"])
def test_servers(uri: str) -> None:
    assert is_server(uri)
    assert not is_server("sqlite:///http:/x")


@pytest.mark.parametrize("name", ["plain", "a b", "ü@x:y", "50%", "%41", "a#b", "a?b=c"])
def test_a_database_is_where_its_uri_says(name: str) -> None:
    from sqlalchemy.engine import make_url

    path = Path("/runs") / name / "mlflow.db"
    assert make_url(sqlite_uri(path)).database == str(path)
