"""A pickle reader that cannot execute anything, for verification ``.bin`` files.

It interprets the instructions that such files need itself, and builds lists, tuples, numbers and *stand-ins*: a byte
string becomes its place in the file, an array the place of its bytes. Nothing is imported or called by name, so there
is nothing that a hostile file could reach, and a file of any size costs no more memory than its list of places.
"""

from __future__ import annotations

import enum
import pickletools
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO, NoReturn

from harness.errors import DataError

# Memory grows with the number of instructions. A file of 14,000 images as arrays takes 300,000.
MAX_INSTRUCTIONS = 2_000_000
MAX_WORD = 128  # bytes of a module name, a dtype and other words; longer ones are images


@dataclass(frozen=True, slots=True)
class Blob:
    """A byte string or text in the file, at ``offset``; ``latin1`` bytes are stored as UTF-8 text of one sign each."""

    offset: int
    length: int
    text: bool = False
    latin1: bool = False


@dataclass(slots=True)
class Array:
    """A NumPy array of uint8 (``u1``) or bool (``b1``), not built."""

    dtype: str = ""
    shape: tuple[int, ...] = ()
    data: Blob | None = None


@dataclass(frozen=True, slots=True)
class DType:
    """A NumPy dtype, not built."""

    code: str


class Name(enum.Enum):
    """The only names that a file may mention; they stand for what this module does itself."""

    NDARRAY = enum.auto()
    DTYPE = enum.auto()
    RECONSTRUCT = enum.auto()
    SCALAR = enum.auto()
    FROMBUFFER = enum.auto()
    ENCODE = enum.auto()
    BYTES = enum.auto()


ALLOWED = {
    ("numpy", "ndarray"): Name.NDARRAY,
    ("numpy", "dtype"): Name.DTYPE,
    ("numpy.core.multiarray", "_reconstruct"): Name.RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): Name.RECONSTRUCT,
    ("numpy.core.multiarray", "scalar"): Name.SCALAR,
    ("numpy._core.multiarray", "scalar"): Name.SCALAR,
    ("numpy.core.numeric", "_frombuffer"): Name.FROMBUFFER,
    ("numpy._core.numeric", "_frombuffer"): Name.FROMBUFFER,
    ("_codecs", "encode"): Name.ENCODE,  # Python 3 writes bytes so at protocol 2
    ("__builtin__", "bytes"): Name.BYTES,  # and empty ones so
    ("builtins", "bytes"): Name.BYTES,
}

_U1, _U2, _U4, _U8, _I4 = (struct.Struct(f"<{kind}") for kind in "BHIQi")
_STRINGS = {b"U": _U1, b"T": _I4, b"C": _U1, b"B": _U4, b"\x8e": _U8, b"\x96": _U8}
_TEXTS = {b"\x8c": _U1, b"X": _U4, b"\x8d": _U8}
_NUMBERS = {b"K": _U1, b"M": _U2, b"J": _I4}
_PUTS = {b"q": _U1, b"r": _U4}
_GETS = {b"h": _U1, b"j": _U4}
_CONSTANTS: dict[bytes, Any] = {b"N": None, b"\x88": True, b"\x89": False, b")": ()}
_TUPLES = {b"\x85": 1, b"\x86": 2, b"\x87": 3}
_NAMES = {item.code.encode("latin-1"): item.name for item in pickletools.opcodes}
_TEXT_PROTOCOL = frozenset(b"SVFLpgild")  # instructions of protocol 0, which holds bytes as escaped text


def read_pickle(file: BinaryIO, size: int, where: str) -> Any:
    """Read the value of a pickle.

    Args:
        file: the open file, at its start.
        size: the file's size in bytes; nothing may reach beyond it.
        where: names the file in errors.

    Returns:
        Lists, tuples, numbers, True, False and None, with :class:`Blob`, :class:`Array` and :class:`DType` in them.

    Raises:
        DataError: the file is cut or damaged, or asks for anything else; the message says for what and at which byte.
    """
    return _Machine(file, size, where).run()


def read_blob(file: BinaryIO, blob: Blob, where: str) -> bytes:
    """The bytes of a blob of an open file.

    Raises:
        DataError: the file was cut since it was read, or text does not hold one byte per sign.
    """
    file.seek(blob.offset)
    data = file.read(blob.length)
    if len(data) < blob.length:
        raise DataError(f"{where}: the file ends within it; it was changed while it was read")
    if not blob.latin1:
        return data
    try:
        return data.decode("utf-8", "surrogatepass").encode("latin-1")
    except UnicodeError as error:
        raise DataError(f"{where}: its text does not hold bytes ({error}); write the file again") from error


class _Machine:
    """Pickle's stack machine, as far as a ``.bin`` file needs it."""

    def __init__(self, file: BinaryIO, size: int, where: str) -> None:
        self.file, self.size, self.where = file, size, where
        self.at = 0  # byte of the current instruction
        self.position = 0  # byte that is read next; asking the file costs a system call
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # the stacks beneath the marks
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        for _ in range(MAX_INSTRUCTIONS):
            self.at = self.position
            op = self.take(1)
            if op == b".":
                break
            if op not in _STEPS:
                self.refuse(op)
            do, *argument = _STEPS[op]
            do(self, *argument)
        else:
            self.fail(f"more than {MAX_INSTRUCTIONS:,} instructions, which no list of images needs")
        if rest := self.size - self.position:
            self.fail(f"{rest:,} bytes follow the end of the pickle")
        return self.pop()

    def fail(self, text: str) -> NoReturn:
        raise DataError(f"{self.where}: byte {self.at:,}: {text}")

    def refuse(self, op: bytes) -> NoReturn:
        if self.at == 0 and op not in _NAMES:
            self.fail("not a pickle, as .bin files are")
        if op[0] in _TEXT_PROTOCOL:
            self.fail("pickle protocol 0, which stores images as text, is not read; write it with protocol 2 or higher")
        self.fail(f"refused pickle instruction {_NAMES.get(op, op.hex())}, which no list of images needs")

    # Reading

    def take(self, count: int) -> bytes:
        data = self.file.read(count)
        if len(data) < count:
            self.fail(f"the file ends after {self.size:,} bytes, within the pickle; it is cut, so copy it again")
        self.position += count
        return data

    def number(self, layout: struct.Struct) -> int:
        value: int = layout.unpack(self.take(layout.size))[0]
        return value

    def length(self, layout: struct.Struct) -> int:
        """A length of what follows, which must be there."""
        length = self.number(layout)
        left = self.size - self.position
        if not 0 <= length <= left:
            self.fail(f"{length:,} bytes are declared and {left:,} are left in the file; it is cut or damaged")
        return length

    def line(self) -> bytes:
        data = self.file.readline(MAX_WORD)
        if not data.endswith(b"\n"):
            self.fail("a line does not end, or the file is cut")
        self.position += len(data)
        return data[:-1]

    def word(self, value: Any) -> str:
        """A short string, such as the name of a dtype."""
        if not isinstance(value, Blob) or value.length > MAX_WORD:
            self.fail(f"damaged pickle: it takes {_kind(value)} as a word")
        self.file.seek(value.offset)
        data = self.file.read(value.length)
        self.file.seek(self.position)
        return data.decode("utf-8", "replace")

    # The stack

    def pop(self) -> Any:
        if not self.stack:
            self.fail("damaged pickle: it takes a value that is not there")
        return self.stack.pop()

    def top(self) -> Any:
        if not self.stack:
            self.fail("damaged pickle: it uses a value that is not there")
        return self.stack[-1]

    def since_mark(self) -> list[Any]:
        if not self.below:
            self.fail("damaged pickle: a mark is missing")
        items, self.stack = self.stack, self.below.pop()
        return items

    # Instructions

    def op_constant(self, value: Any) -> None:
        self.stack.append(value)

    def op_number(self, layout: struct.Struct) -> None:
        self.stack.append(self.number(layout))

    def op_blob(self, layout: struct.Struct, text: bool) -> None:
        length = self.length(layout)
        self.stack.append(Blob(self.position, length, text))
        self.position += length
        self.file.seek(self.position)

    def op_put(self, layout: struct.Struct) -> None:
        self.memo[self.number(layout)] = self.top()

    def op_get(self, layout: struct.Struct) -> None:
        index = self.number(layout)
        if index not in self.memo:
            self.fail(f"damaged pickle: it recalls value {index}, which it never kept")
        self.stack.append(self.memo[index])

    def op_tuple_of(self, count: int) -> None:
        items = [self.pop() for _ in range(count)]
        self.stack.append(tuple(reversed(items)))

    def op_mark(self) -> None:
        self.below.append(self.stack)
        self.stack = []

    def op_list(self) -> None:
        self.stack.append([])

    def op_tuple(self) -> None:
        items = self.since_mark()
        self.stack.append(tuple(items))

    def op_append(self) -> None:
        item = self.pop()
        self.extend([item])

    def op_appends(self) -> None:
        self.extend(self.since_mark())

    def extend(self, items: list[Any]) -> None:
        target = self.top()
        if not isinstance(target, list):
            self.fail(f"damaged pickle: it appends to {_kind(target)}")
        target.extend(items)

    def op_memoize(self) -> None:
        self.memo[len(self.memo)] = self.top()

    def op_proto(self) -> None:
        version = self.number(_U1)
        if version > 5:
            self.fail(f"pickle protocol {version} is not known; expected 5 at most")

    def op_frame(self) -> None:
        self.length(_U8)

    def op_int(self) -> None:
        line = self.line()
        if line not in (b"00", b"01"):
            self.fail("a number is stored as text; expected 00 or 01, as protocol 1 writes False and True")
        self.stack.append(line == b"01")

    def op_long(self) -> None:
        length = self.number(_U1)
        if length > 8:
            self.fail(f"a number of {length} bytes; expected 8 at most")
        self.stack.append(int.from_bytes(self.take(length), "little", signed=True))

    def op_global(self) -> None:
        module, name = self.line(), self.line()
        self.name(module.decode("utf-8", "replace"), name.decode("utf-8", "replace"))

    def op_stack_global(self) -> None:
        name, module = self.word(self.pop()), self.word(self.pop())
        self.name(module, name)

    def name(self, module: str, name: str) -> None:
        if (module, name) not in ALLOWED:
            self.fail(f"the pickle asks for {f'{module}.{name}'!r}, which is refused and was not executed")
        self.stack.append(ALLOWED[module, name])

    def op_reduce(self) -> None:
        args, name = self.pop(), self.pop()
        if not isinstance(name, Name) or not isinstance(args, tuple):
            self.fail(f"damaged pickle: it calls {_kind(name)}")
        try:
            self.stack.append(_CALLS[name](self, *args))
        except (TypeError, KeyError):
            self.fail(f"damaged pickle: it asks for {name.name.lower()} with what no .bin file needs")

    def op_build(self) -> None:
        state, target = self.pop(), self.top()
        if isinstance(target, DType) and isinstance(state, tuple):
            return  # byte order and the like: a byte has none
        if not isinstance(target, Array) or not isinstance(state, tuple) or len(state) != 5:
            self.fail(f"damaged pickle: it sets the state of {_kind(target)}")
        _, shape, dtype, _, data = state
        made = self.frombuffer(data, dtype, shape)
        target.dtype, target.shape, target.data = made.dtype, made.shape, made.data

    # What the allowed names do

    def reconstruct(self, kind: Any, shape: Any, code: Any) -> Array:
        if kind is not Name.NDARRAY:
            self.fail(f"damaged pickle: it reconstructs {_kind(kind)}")
        return Array()

    def make_dtype(self, code: Any, align: Any = False, copy: Any = False) -> DType:
        name = self.word(code).lstrip("|")
        if name not in ("u1", "b1"):
            self.fail(f"an array of dtype {name!r}; expected uint8 (u1), or bool (b1) for the labels")
        return DType(name)

    def scalar(self, dtype: Any, data: Any) -> bool:
        if dtype != DType("b1") or not isinstance(data, Blob) or data.length != 1:
            self.fail("a NumPy scalar that is not a bool")
        return self.word(data) == "\x01"

    def frombuffer(self, data: Any, dtype: Any, shape: Any, order: Any = None) -> Array:
        plain = isinstance(shape, tuple) and all(type(side) is int and side >= 0 for side in shape)
        if not isinstance(data, Blob) or data.text or not isinstance(dtype, DType) or not plain:
            self.fail("damaged array")
        if len(shape) != 1:
            self.fail(f"an array of shape {shape}; expected [bytes], the encoded image")
        if not data.latin1 and shape[0] != data.length:
            self.fail(f"an array declares {shape[0]:,} bytes and holds {data.length:,}")
        return Array(dtype.code, shape, data)

    def encode(self, text: Any, encoding: Any) -> Blob:
        if not isinstance(text, Blob) or not text.text or self.word(encoding) not in ("latin1", "latin-1"):
            self.fail("damaged byte string")
        return Blob(text.offset, text.length, latin1=True)

    def no_bytes(self) -> Blob:
        return Blob(0, 0)


# How each instruction is carried out: a method and its arguments.
_STEPS: dict[bytes, tuple[Any, ...]] = {
    b"(": (_Machine.op_mark,),
    b"]": (_Machine.op_list,),
    b"t": (_Machine.op_tuple,),
    b"a": (_Machine.op_append,),
    b"e": (_Machine.op_appends,),
    b"\x94": (_Machine.op_memoize,),
    b"\x80": (_Machine.op_proto,),
    b"\x95": (_Machine.op_frame,),
    b"I": (_Machine.op_int,),
    b"\x8a": (_Machine.op_long,),
    b"c": (_Machine.op_global,),
    b"\x93": (_Machine.op_stack_global,),
    b"R": (_Machine.op_reduce,),
    b"b": (_Machine.op_build,),
    **{op: (_Machine.op_constant, value) for op, value in _CONSTANTS.items()},
    **{op: (_Machine.op_number, layout) for op, layout in _NUMBERS.items()},
    **{op: (_Machine.op_blob, layout, False) for op, layout in _STRINGS.items()},
    **{op: (_Machine.op_blob, layout, True) for op, layout in _TEXTS.items()},
    **{op: (_Machine.op_put, layout) for op, layout in _PUTS.items()},
    **{op: (_Machine.op_get, layout) for op, layout in _GETS.items()},
    **{op: (_Machine.op_tuple_of, count) for op, count in _TUPLES.items()},
}
_CALLS: dict[Name, Callable[..., Any]] = {
    Name.RECONSTRUCT: _Machine.reconstruct,
    Name.DTYPE: _Machine.make_dtype,
    Name.SCALAR: _Machine.scalar,
    Name.FROMBUFFER: _Machine.frombuffer,
    Name.ENCODE: _Machine.encode,
    Name.BYTES: _Machine.no_bytes,
}


def _kind(value: Any) -> str:
    if isinstance(value, Name):
        return f"the name {value.name.lower()}"
    return {Blob: "a string", Array: "an array", DType: "a dtype"}.get(type(value), f"a {type(value).__name__}")
