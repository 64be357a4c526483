"""YAML from strangers -> plain values: tables, lists, text, whole and finite numbers, true, false and null.

YAML can name a value and repeat it, so a few lines can stand for gigabytes. Here repeats count as often as they occur,
and reading ends at the limits below, long before that costs time or memory.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import yaml
from yaml.constructor import ConstructorError
from yaml.nodes import CollectionNode, MappingNode, Node, ScalarNode

from harness.errors import InputError

MAX_BYTES = 1 << 18  # of a file: suites have some thousand
MAX_VALUES = 10_000  # values and keys, repeats included; suites have some hundred
MAX_DEPTH = 32  # tables within tables: suites have six
RESOLVED = 8  # times as large may a resolved suite be, which has every default in it
MAX_INTEGER = (1 << 63) - 1  # what an int64 holds
MAX_DIGITS = 40  # more are not even turned into a number
UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")  # what no name, path or note holds

_TEXT = "tag:yaml.org,2002:str"


def read_yaml(path: Path, scale: int = 1) -> Any:
    """The values of a YAML file.

    Args:
        scale: how many times as large as a suite it may be.

    Raises:
        InputError: it is no such file, is beyond the limits, or holds what a suite has no use for.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe, say, would be waited for
            raise InputError(f"{path}: it is no file; expected a YAML file")
        with path.open("rb") as file:
            data = file.read(scale * MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read as YAML ({error.strerror or error})") from error
    if len(data) > scale * MAX_BYTES:
        raise InputError(f"{path}: cannot be read as YAML (it has more than {scale * MAX_BYTES:,} bytes)")
    try:
        return parse_yaml(data.decode(), str(path), scale)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: cannot be read as YAML ({error})") from error


def parse_yaml(text: str, where: str, scale: int = 1) -> Any:
    """The values of a YAML text.

    Args:
        where: names the text in errors.
        scale: how many times as large as a suite it may be.

    Raises:
        InputError: it is beyond the limits, or holds what a suite has no use for.
    """
    try:
        return _Loader(text, scale * MAX_VALUES).get_single_data()
    except (yaml.YAMLError, ValueError, KeyError, IndexError, OverflowError) as error:  # PyYAML's own on odd scalars
        raise InputError(f"{where}: cannot be read as YAML ({' '.join(str(error).split())})") from error


class _Loader(yaml.SafeLoader):
    """YAML with limits; a key given twice, of which the standard keeps the last and says nothing, is an error."""

    yaml_constructors: ClassVar[Any] = {}  # those below, and none of the standard's others

    def __init__(self, text: str, limit: int) -> None:
        super().__init__(text)
        self.limit = limit
        self.depth = 0
        self.total = 0  # values up to here, repeats included
        self.sizes: dict[int, int] = {}  # by node, once it is whole

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        repeated = isinstance(event, yaml.AliasEvent)
        if not repeated and self.depth == MAX_DEPTH:
            raise ConstructorError(None, None, f"more than {MAX_DEPTH} tables within tables", event.start_mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        if node is None:
            return None
        if repeated and id(node) not in self.sizes:
            raise ConstructorError(None, None, f"{event.anchor!r} holds itself", event.start_mark)
        if not repeated:
            self.sizes[id(node)] = 1 + sum(self.sizes[id(child)] for child in _children(node))
        self.total += self.sizes[id(node)] if repeated else 1
        if self.total > self.limit:
            raise ConstructorError(None, None, f"more than {self.limit:,} values, repeats included", event.start_mark)
        if isinstance(node, MappingNode) and not repeated:
            _check_keys(node)
        return node


def _children(node: Node) -> list[Node]:
    if isinstance(node, MappingNode):
        return [part for pair in node.value for part in pair]
    return node.value if isinstance(node, CollectionNode) else []


def _check_keys(node: MappingNode) -> None:
    """Keys are text, and whole numbers as they are written; none comes twice.

    Those that YAML reads as null or as a boolean pass: what holds them tells them better.
    """
    seen = set()
    for index, (key, value) in enumerate(node.value):
        kind = key.tag.rpartition(":")[2]
        if kind == "int":
            node.value[index] = (ScalarNode(_TEXT, key.value, key.start_mark, key.end_mark), value)
        elif kind in ("float", "timestamp"):
            _fail(f"YAML reads the key {key.value[:80]!r} as {_KINDS[kind]}, expected text; put it in quotes", key)
        elif not isinstance(key, ScalarNode) or kind not in ("str", "merge", "null", "bool"):
            _fail("a key is no text; expected the name of a setting", key)
        if key.value in seen and kind != "merge":
            _fail(f"key {key.value[:80]!r} is given twice; rename or remove one", key)
        seen.add(key.value)


def _fail(text: str, node: Node) -> NoReturn:
    raise ConstructorError(None, None, text, node.start_mark)


def _text(loader: _Loader, node: ScalarNode) -> str:
    value: str = loader.construct_yaml_str(node)
    if found := UNPRINTABLE.search(value):
        _fail(f"text with the control character U+{ord(found[0]):04X}", node)
    return value


def _whole_number(loader: _Loader, node: ScalarNode) -> int:
    if len(node.value) <= MAX_DIGITS:
        value: int = loader.construct_yaml_int(node)
        if abs(value) <= MAX_INTEGER:
            return value
    _fail(f"a whole number beyond {MAX_INTEGER:,}", node)


def _number(loader: _Loader, node: ScalarNode) -> float:
    value: float = loader.construct_yaml_float(node)
    if not math.isfinite(value):
        _fail(f"{node.value[:80]} is no finite number", node)
    return value


def _refuse(loader: _Loader, node: Node) -> Any:
    kind = node.tag.rpartition(":")[2]
    what = _KINDS.get(kind, f"{kind[:40]!r}, which no suite holds")
    _fail(f"YAML reads a value as {what}; put text in quotes", node)


_KINDS = {
    "float": "a number",
    "timestamp": "a date",
    "binary": "binary data, which no suite holds",
    "set": "a set, which no suite holds",
}
for _kind in ("null", "bool", "seq", "map"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", getattr(yaml.SafeLoader, f"construct_yaml_{_kind}"))
for _kind, _make in (("str", _text), ("int", _whole_number), ("float", _number)):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _make)
_Loader.add_constructor(None, _refuse)


def check_values(value: Any, where: str, depth: int = 0) -> None:
    """What Python gives for a suite's value is checked as YAML would be, except for its size.

    Raises:
        InputError: it is no plain value, or has more than ``MAX_DEPTH`` tables within tables.
    """
    if depth > MAX_DEPTH:
        raise InputError(f"{where}: more than {MAX_DEPTH} tables within tables")
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise InputError(f"{where}: a key is of type {type(key).__name__}, expected text")
            check_values(item, where, depth + 1)
    elif isinstance(value, list | tuple):
        for item in value:
            check_values(item, where, depth + 1)
    elif isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{where}: {value} is no finite number")
    elif isinstance(value, int) and abs(value) > MAX_INTEGER:
        raise InputError(f"{where}: a whole number beyond {MAX_INTEGER:,}")
