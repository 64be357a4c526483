"""How much memory a network takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def bytes_per_image(function: Callable[[torch.Tensor], Any], x: torch.Tensor) -> int:
    """What one more image adds to the tensors that go into and come out of the largest single operation, in bytes.

    Counted and not measured, so it is the same on every run and every machine.

    Args:
        function: maps images, such as a recognizer's ``features``.
        x: one image, float [1, 3, S, S].
    """
    one, two = (_operations(function, x.expand(count, *x.shape[1:]).contiguous()) for count in (1, 2))
    return max((b - a for a, b in zip(one, two, strict=False)), default=0)


def _operations(function: Callable[[torch.Tensor], Any], x: torch.Tensor) -> list[int]:
    """Bytes of the tensors of each operation, in order."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    sizes = []

    class Count(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            tensors = [each for each in tree_leaves([args, kwargs, out]) if isinstance(each, torch.Tensor)]
            sizes.append(sum(each.numel() * each.element_size() for each in tensors))
            return out

    with torch.no_grad(), Count():  # type: ignore[no-untyped-call]
        function(x)
    return sizes
