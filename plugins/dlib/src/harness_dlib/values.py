"""dlib's serialized values, read one after another: numbers, text and tables. Nothing is executed.

The format, as dlib's documentation of ``serialize`` and the files themselves have it:

- an integer is one byte that holds its sign (bit 7) and the number of bytes that follow (bits 0 to 3), then these, the
  least significant first;
- a real number is two integers m and e, and its value m * 2**e;
- a truth value is the character 0 or 1; text is an integer, its length, and that many bytes;
- a tensor is the integer 2 (its version), four integers (samples, channels, rows, columns), then float32 values, little
  endian.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np

from harness import DataError
from harness.arrays import Floats

_MAX_BYTES = 8  # of an integer
_MAX_TEXT = 64  # characters of a layer's name
_MAX_EXPONENT = 1000  # of a real number; dlib writes infinities with 32,000
_TENSOR_VERSION = 2


class Values:
    """A file of serialized values with a place in it.

    Args:
        path: the file.

    Raises:
        DataError: it cannot be read. Every method raises it with the place for a value that is not as expected.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.at = path, 0
        try:
            self.data = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror})") from error

    def fault(self, text: str) -> DataError:
        """The error for what stands at the place."""
        return DataError(f"{self.path}: byte {self.at:,}: {text}; install the package that ships the file again")

    def take(self, count: int) -> bytes:
        """The next bytes."""
        if count > len(self.data) - self.at:
            raise self.fault(f"expected {count:,} more bytes, found {len(self.data) - self.at:,}")
        self.at += count
        return self.data[self.at - count : self.at]

    def integer(self) -> int:
        """The next integer."""
        head = self.take(1)[0]
        count = head & 0x0F
        if head & 0x70 or not 1 <= count <= _MAX_BYTES:
            raise self.fault(f"0x{head:02x} starts no integer")
        value = int.from_bytes(self.take(count), "little")
        return -value if head & 0x80 else value

    def integers(self, count: int) -> tuple[int, ...]:
        """The next so many integers."""
        return tuple(self.integer() for _ in range(count))

    def real(self) -> float:
        """The next real number, finite."""
        mantissa, exponent = self.integers(2)
        if abs(exponent) > _MAX_EXPONENT:
            raise self.fault(f"a number with the exponent {exponent:,}")
        return math.ldexp(mantissa, exponent)

    def truth(self) -> bool:
        """The next truth value."""
        value = self.take(1)
        if value not in b"01":
            raise self.fault(f"{value!r} is no truth value")
        return value == b"1"

    def text(self) -> str:
        """The next text, printable ASCII."""
        count = self.integer()
        if not 0 < count <= _MAX_TEXT:
            raise self.fault(f"a text of {count:,} bytes")
        data = self.take(count)
        if not (data.isascii() and data.decode("latin-1").isprintable()):
            raise self.fault("a text with bytes that are no letters")
        return data.decode("ascii")

    def tensor(self) -> Floats:
        """The next tensor, float32 [samples, channels, rows, columns], finite."""
        self.expect(_TENSOR_VERSION, self.integer(), "the version of a tensor")
        shape = self.integers(4)
        if any(side < 0 for side in shape):
            raise self.fault(f"a tensor of shape {shape}")
        count = math.prod(shape)
        values = np.frombuffer(self.take(count * struct.calcsize("<f")), "<f4").reshape(shape)
        if not np.isfinite(values).all():
            raise self.fault("a tensor with values that are not finite")
        return values.astype(np.float32)

    def expect(self, expected: object, got: object, what: str) -> None:
        """Refuse a value that is another than the network has."""
        if got != expected:
            raise self.fault(f"{what} is {got!r}, expected {expected!r}")

    def end(self) -> None:
        """Refuse bytes that are left over."""
        if self.at != len(self.data):
            raise self.fault(f"{len(self.data) - self.at:,} bytes more than the network has")
