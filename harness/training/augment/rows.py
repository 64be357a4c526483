"""Some images of a batch: an operation with parameters of its own for each is called once for all that undergo it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.arrays import Bools, Doubles, Ints


def change(images: Tensor, which: Bools, operation: Callable[[Tensor, Ints], Tensor]) -> None:
    """Change some images of a batch, in place.

    Args:
        images: [B, ...].
        which: of each image, whether it is changed; bool [B].
        operation: called with a copy of these images [M, ...] and their positions in the batch [M]; gives what takes
            their place.
    """
    rows = np.flatnonzero(which)
    if len(rows):
        at = torch.from_numpy(rows).to(images.device)
        changed = operation(images.index_select(0, at), rows)
        _wide(images).index_copy_(0, at, _wide(changed.contiguous()))


def _wide(images: Tensor) -> Tensor:
    """The same bytes as [B, values], eight to a value where that goes: single bytes take five times as long to copy."""
    flat = images.flatten(1)
    return flat.view(torch.int64) if flat.shape[1] % 8 == 0 else flat


def per_image(values: Doubles, images: Tensor, dtype: Any = torch.float32) -> Tensor:
    """One value for each image [M], as a tensor [M, 1, 1, 1] beside the images [M, 3, H, W]."""
    return torch.from_numpy(values).to(images.device, dtype).reshape(-1, 1, 1, 1)
