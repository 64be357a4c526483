"""The benchmark of training speed runs, and its ways train on the same pictures."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

from harness.coding import to_unit


@pytest.fixture(scope="module")
def module(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("perf/training.py")


def test_all_ways_give_the_same_pictures_where_nothing_is_drawn(
    module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faces = module.dataset(tmp_path, 32, 32)
    data = module.Data(faces, 8, "cpu")
    monkeypatch.setattr(random, "random", lambda: 0.9)  # no flip
    ways = (data.floor(3, 2), data.ours(3, 2, "none"), data.plain(3, 2, "flip"))
    batches = [list(way) for way in ways]
    for indices, *given in zip(data.order(3, 2), *batches, strict=True):
        for x, labels in given:
            assert (x - to_unit(faces.images(indices.numpy()))).abs().max() < 1e-6
            assert torch.equal(labels, data.array.labels[indices])


def test_it_runs(module: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = module.parse(["--small"])
    data = module.Data(module.dataset(tmp_path, 32, 32), args.batch, "cpu")
    module.decoding(data, 1)
    module.against_floor(data, 4, args)
    lines = capsys.readouterr().out.splitlines()
    assert "the same pixels in 32 of 32 images compared" in lines[1]
    rows = {cells[1].strip(): cells[3].strip() for line in lines if len(cells := line.split("|")) == 6}
    assert rows["floor"] == "1.000 (1.000 to 1.000)"
    alone = {name: float(cell.split()[0]) for name, cell in rows.items() if name.startswith("pictures alone")}
    assert alone["pictures alone, ours, flip"] > alone["pictures alone, plain loop, flip"]
    assert alone["pictures alone, plain loop, flip"] > alone["pictures alone, plain loop, flip+randaugment-4-16"]
