"""RandAugment's operations against pictures that the public reference implementation made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from harness.training.augment import pil
from harness.training.augment.randaugment import OPERATIONS, magnitudes, operate

NAMES = {name.replace("-", ""): name for name in OPERATIONS}  # theirs: ShearX
Case = tuple[str, float, float, np.ndarray, np.ndarray]


@pytest.fixture
def cases(golden_dir: Path) -> Iterator[Case]:
    """Operation, our magnitude, theirs, picture and what became of it."""
    golden = np.load(golden_dir / "rand_augment.npz")
    columns = [golden[key] for key in ("operation", "bin", "sign", "image", "magnitude", "output")]
    pictures = golden["images"]

    def read() -> Iterator[Case]:
        for operation, bin_, sign, image, magnitude, output in zip(*columns, strict=True):
            name = NAMES[str(operation).lower()]
            ours = magnitudes(name, np.array([bin_]), np.array([sign]), pictures.shape[2])
            yield name, float(ours[0]), float(magnitude), pictures[image], output

    return read()


def test_every_operation_is_there_and_magnitudes_are_the_same(cases: Iterator[Case]) -> None:
    seen = [(name, ours, theirs) for name, ours, theirs, _, _ in cases]
    assert {name for name, _, _ in seen} == set(OPERATIONS)
    assert all(ours == theirs for _, ours, theirs in seen)


def test_pillow_form_gives_the_same_pictures(cases: Iterator[Case]) -> None:
    for name, magnitude, _, picture, output in cases:
        found = np.asarray(pil.operate(name, Image.fromarray(picture), magnitude))
        assert np.array_equal(found, output), (name, magnitude)


def test_tensor_form_gives_the_same_pictures(cases: Iterator[Case]) -> None:
    for name, magnitude, _, picture, output in cases:
        found = operate(name, torch.from_numpy(picture).permute(2, 0, 1)[None].contiguous(), np.array([magnitude]))
        apart = np.abs(found[0].permute(1, 2, 0).numpy().astype(np.int16) - output).max()
        assert apart <= 1, (name, magnitude, apart)
