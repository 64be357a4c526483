"""Text from files and plugins, made safe to show: in a terminal, in markdown, in a spreadsheet, in a picture."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import IO, Any, TypeVar

# Control characters (among them those that start a terminal's commands, and line ends), marks that turn the direction
# of writing or show nothing at all, and halves of characters, which no encoding knows.
_HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e0fff]"
)
_TAG = re.compile(r"<(?=[A-Za-z/!?])")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")

T = TypeVar("T")


def visible(text: str) -> str:
    """The text on one line, with what a terminal obeys or hides as escapes such as ``\\x1b``."""
    return _HIDDEN.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def all_visible(value: T) -> T:
    """A copy of a dataclass, table or list in which every text, keys included, is :func:`visible`."""
    made: Any = value
    if isinstance(value, str):
        made = visible(value)
    elif is_dataclass(value) and not isinstance(value, type):
        made = replace(value, **{each.name: all_visible(getattr(value, each.name)) for each in fields(value)})
    elif isinstance(value, Mapping):
        made = {all_visible(key): all_visible(item) for key, item in value.items()}
    elif isinstance(value, list | tuple):
        made = type(value)(map(all_visible, value))
    result: T = made
    return result


def markdown_text(text: str) -> str:
    """Text without a meaning in markdown: no table cell, emphasis, link or HTML; line ends are breaks."""
    text = _TAG.sub("&lt;", text.replace("|", r"\|").replace("*", r"\*").replace("](", r"]\("))
    return text.replace("\n", "<br>")


def csv_value(value: T) -> T | str:
    """A value of a CSV file; of text that a spreadsheet would compute, the first character is ``'``."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def json_text(text: str) -> str:
    """JSON in which what a terminal obeys or hides is escaped; it means the same."""
    return "\n".join(_HIDDEN.sub(lambda found: json.dumps(found[0])[1:-1], line) for line in text.split("\n"))


def picture_text(text: str) -> str:
    """A label of a picture, which has no mathematics in it."""
    return visible(text).replace("$", r"\$")


def replace_unknown(stream: IO[str] | None) -> None:
    """Let a stream replace what its encoding lacks, such as ``±`` in ASCII, instead of failing; None: it is closed."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")
