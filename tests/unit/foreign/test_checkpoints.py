"""Foreign checkpoints: what is read, what is passed over, what is refused, and that nothing in them runs."""

from __future__ import annotations

import argparse
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from harness.errors import DataError
from harness.foreign.checkpoints import read_foreign


class Touch:
    """Unpickling it freely would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def tensors() -> dict[str, Tensor]:
    return {"a.weight": torch.ones(2, 3), "b": torch.zeros(1)}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda t: t,
        OrderedDict,
        lambda t: {"state_dict": t, "epoch": 3},
        lambda t: {f"module.{name}": value for name, value in t.items()},
    ],
    ids=["plain", "ordered", "with-epoch", "parallel"],
)
def test_what_is_read(tmp_path: Path, wrap: Callable[[dict[str, Tensor]], Any], zipped: bool) -> None:
    torch.save(wrap(tensors()), tmp_path / "a.ckpt", _use_new_zipfile_serialization=zipped)
    found = read_foreign(tmp_path / "a.ckpt")
    assert set(found) == {"a.weight", "b"}
    assert torch.equal(found["a.weight"], torch.ones(2, 3))


def test_safetensors_are_read(tmp_path: Path) -> None:
    save_file(tensors(), tmp_path / "a.safetensors")
    assert set(read_foreign(tmp_path / "a.safetensors")) == {"a.weight", "b"}
    (tmp_path / "b.safetensors").write_bytes(b"junk")
    with pytest.raises(DataError, match=r"b\.safetensors: not a safetensors file"):
        read_foreign(tmp_path / "b.safetensors")


def test_one_of_several_tables_is_chosen(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({"raw": tensors(), "ema": {"c": torch.ones(1)}, "step": 3}, path)
    with pytest.raises(DataError, match="several tables of tensors; choose one with --entry: raw, ema"):
        read_foreign(path)
    assert set(read_foreign(path, "ema")) == {"c"}
    with pytest.raises(DataError, match=r"no entry 'best'; it holds raw \(dict\), ema \(dict\), step \(int\)"):
        read_foreign(path, "best")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "expected tensors by name, found nothing"),
        ([1, 2], "expected tensors by name, found a list"),
        ({"epoch": 3, "w": torch.ones(1)}, r"found epoch \(int\), w \(Tensor\)"),
        ({0: torch.ones(1)}, r"found 0 \(Tensor\)"),
    ],
)
def test_what_is_no_table(tmp_path: Path, content: Any, message: str) -> None:
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(DataError, match=message):
        read_foreign(tmp_path / "a.pt")


@pytest.mark.parametrize("zipped", [True, False])
def test_other_objects_are_passed_over_and_nothing_runs(tmp_path: Path, zipped: bool) -> None:
    """A training checkpoint gives its tensors; a table with such an object in it is none."""
    trap, path = tmp_path / "trap", tmp_path / "a.ckpt"
    others = {"x": Touch(trap), "args": argparse.Namespace(lr=1), "callbacks": {Touch: [Touch(trap)]}}
    torch.save({"state_dict": tensors(), **others}, path, _use_new_zipfile_serialization=zipped)
    assert set(read_foreign(path)) == {"a.weight", "b"}
    torch.save({"w": torch.ones(1), **others}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(DataError, match=r"found w \(Tensor\), x \(other object\), args \(other object\)") as info:
        read_foreign(path)
    assert "\n" not in str(info.value)
    assert not trap.exists()


def test_a_part_is_read_by_its_prefix(tmp_path: Path) -> None:
    state = {f"part.{name}": value for name, value in tensors().items()} | {"other": torch.ones(4)}
    torch.save(state, tmp_path / "a.pt")
    save_file(state, tmp_path / "a.safetensors")
    for name in ("a.pt", "a.safetensors"):
        assert set(read_foreign(tmp_path / name, prefix="part.")) == {"a.weight", "b"}
        assert set(read_foreign(tmp_path / name, prefix="none.")) == set(state), "all, where no name starts with it"


@pytest.mark.parametrize("content", [b"", b"hello world", pickle.dumps({"a": 1}), b"PK\x03\x04" + bytes(50)])
def test_what_is_no_checkpoint(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.pt: not a checkpoint of tensors that can be read safely") as info:
        read_foreign(path)
    assert "\n" not in str(info.value)
    with pytest.raises(DataError, match=r"none\.pt: cannot be read \(No such file"):
        read_foreign(tmp_path / "none.pt")
