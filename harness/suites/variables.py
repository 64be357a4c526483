"""``${NAME}`` in a suite, the only substitution, and which of the values that it put in are not to be stored."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import InputError
from harness.suites.text import UNPRINTABLE

MAX_CHARACTERS = 1 << 20  # that variables put into one suite
MIN_PART = 4  # characters: a shorter secret is hidden where it is the whole value, else half the text would be

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SECRET = re.compile("KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL", re.IGNORECASE)
_USER = re.compile(r"(?<=://)[^/\s]+(?=@)")  # user and password of a URL


@dataclass(frozen=True)
class Secrets:
    """What is not stored: the values of variables whose names look secret or that hold a URL's user and password.

    Attributes:
        written: (value, ``${NAME}``), the longest value first.
    """

    written: tuple[tuple[str, str], ...] = ()

    @classmethod
    def among(cls, names: Iterable[str]) -> Secrets:
        """Those of the named environment variables."""
        values = {name: os.environ[name] for name in names if os.environ[name]}
        secret = {
            value: f"${{{name}}}" for name, value in values.items() if _SECRET.search(name) or _USER.search(value)
        }
        return cls(tuple(sorted(secret.items(), key=lambda item: -len(item[0]))))

    def hide(self, value: Any) -> Any:
        """A copy of plain values with ``${NAME}`` where a secret stood, and without users and passwords of URLs."""
        if isinstance(value, dict):
            return {key: self.hide(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.hide(item) for item in value]
        for secret, name in self.written:
            if str(value) == secret:
                return name
            if isinstance(value, str) and len(secret) >= MIN_PART:
                value = value.replace(secret, name)
        return _USER.sub("***", value) if isinstance(value, str) else value


class Variables:
    """Puts environment variables into a suite's values, and keeps their names in ``used``.

    ``lenient`` leaves in place what names a variable that is not set.
    """

    def __init__(self, path: Path, lenient: bool = False) -> None:
        self.path, self.lenient = path, lenient
        self.used: dict[str, None] = {}
        self.characters = 0

    def put_in(self, value: Any, key: str = "") -> Any:
        """The value with every ``${NAME}`` in it replaced; ``key`` is where it stands.

        Raises:
            InputError: a variable is not set or holds what is no text, or together they are too long.
        """
        if isinstance(value, dict):
            return {name: self.put_in(item, f"{key}.{name}".lstrip(".")) for name, item in value.items()}
        if isinstance(value, list):
            return [self.put_in(item, f"{key}.{index}") for index, item in enumerate(value)]
        if not isinstance(value, str):
            return value
        return _VARIABLE.sub(lambda match: self._value(match[1], value, f"{self.path}: {key}"), value)

    def _value(self, name: str, text: str, where: str) -> str:
        if name not in os.environ and self.lenient:
            return f"${{{name}}}"
        if name not in os.environ:
            raise InputError(f"{where}: {text[:80]!r} needs the environment variable {name}, which is not set")
        value = os.environ[name]
        if UNPRINTABLE.search(value):
            raise InputError(f"{where}: the environment variable {name} holds control characters or no UTF-8")
        self.used[name] = None
        self.characters += len(value)
        if self.characters > MAX_CHARACTERS:
            raise InputError(f"{where}: variables put more than {MAX_CHARACTERS:,} characters into the suite")
        return value
