"""How many images are embedded at once: as the network's largest operation allows, whatever the machine."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch

from harness.components import Crop
from harness.components.footprint import bytes_per_image
from harness.components.recognizer import Recognizer


class Unfolding(Recognizer):
    """Copies every image ``copies`` times, as an unfolded convolution does, and takes means."""

    width = 3

    def __init__(self, copies: int) -> None:
        super().__init__(takes=Crop("raw", 64))
        self.copies, self.batches = copies, list[int]()
        self.table = torch.zeros(1_000_000)  # weights do not count

    def features(self, x: torch.Tensor) -> torch.Tensor:
        self.batches.append(len(x))
        many = torch.cat([x] * self.copies, dim=1) + self.table.sum()
        return many.reshape(len(x), self.copies, 3, -1).mean(dim=(1, 3))

    def state(self) -> dict[str, torch.Tensor]:
        return {}

    def load(self, tensors: Mapping[str, torch.Tensor], device: str = "cpu") -> None:
        pass


def test_the_largest_operation_is_counted() -> None:
    x = torch.zeros(1, 3, 64, 64)
    image = x.numel() * 4
    # the largest reads the copies and writes as many
    assert bytes_per_image(Unfolding(10).features, x) == 20 * image


@pytest.mark.parametrize(("copies", "expected"), [(1, 256), (10, 256), (100, 16)])
def test_the_batch_follows_the_network(copies: int, expected: int) -> None:
    """256 MiB for one operation on a CPU: 100 copies of 48 KiB, read and written, leave room for 27 images."""
    recognizer = Unfolding(copies)
    assert recognizer.batch_size == expected
    recognizer.batches.clear()
    images = np.random.default_rng(0).integers(0, 256, (20, 64, 64, 3), dtype=np.uint8)
    embedded = recognizer.embed(images)
    assert max(recognizer.batches) == min(20, expected)
    np.testing.assert_allclose(embedded, images.mean(axis=(1, 2)) / 127.5 - 1, atol=1e-5)
