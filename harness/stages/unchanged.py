"""Whether a component left what it was given as it was.

What is shared between the batches and shards of a stage must not be written to: an image would then depend on what was
drawn before it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.components.images import SamplePlan
from harness.errors import StageError

if TYPE_CHECKING:
    import torch

_SAMPLED = 4096  # elements of a tensor that are compared; a network of a gigabyte is looked at for every shard


class Unchanged:
    """Remembers what values looked like, by role; :meth:`check` compares.

    Tensors are compared by torch's own count of writes and by a sample of their elements, arrays as a whole.
    """

    def __init__(self, component: str) -> None:
        self.component = component
        self._seen: list[tuple[str, Any, object]] = []

    def watch(self, role: str, value: Any) -> None:
        """Remember a value: a mapping of tensors, a sample plan, or an array."""
        self._seen.append((role, value, tuple(_marks(value))))

    def check(self) -> None:
        """Compare.

        Raises:
            StageError: a value was changed; the message names component and role.
        """
        for role, value, marks in self._seen:
            if tuple(_marks(value)) != marks:
                raise StageError(f"{self.component} changed the {role} it was given; work on a copy of it")


def _marks(value: Any) -> Iterator[object]:
    if isinstance(value, SamplePlan):
        for column in (value.identities, value.samples, *value.items.values(), *value.pool.values()):
            yield _array_mark(np.asarray(column))
    elif isinstance(value, Mapping):
        for name in value:
            yield name, *_tensor_mark(value[name])
    else:
        yield _array_mark(np.asarray(value))


def _array_mark(array: np.ndarray[Any, Any]) -> tuple[object, int]:
    return array.shape, zlib.crc32(np.ascontiguousarray(array).tobytes())


def _tensor_mark(tensor: torch.Tensor) -> tuple[object, ...]:
    flat = tensor.detach().reshape(-1)
    sample = flat[:: max(1, flat.numel() // _SAMPLED)]
    return tuple(tensor.shape), tensor._version, _array_mark(sample.cpu().float().numpy())
