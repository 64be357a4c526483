"""Files of ``torch.save``: what is read of them, that nothing in them runs, and that sizes are not believed."""

from __future__ import annotations

import io
import pickle
import struct
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from harness.data import torch_files, torch_pickles
from harness.data.torch_files import TorchFile
from harness.data.torch_pickles import Inert, Stored, StoredArray
from harness.errors import DataError

BOTH = pytest.mark.parametrize("zipped", [True, False])


def save(path: Path, content: Any, zipped: bool = True) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


def read(path: Path) -> dict[str, torch.Tensor]:
    """All tensors of a file that holds a flat dictionary."""
    with TorchFile(path) as file:
        return file.tensors(file.content)


class Hook:
    """An object with a state; building it would be noticed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __setstate__(self, state: Any) -> None:
        state["path"].touch()


class Reduced:
    """An object that is made by a call of its choice."""

    def __init__(self, *made_by: Any) -> None:
        self.made_by = made_by

    def __reduce__(self) -> Any:
        return self.made_by


class Listed(list[Any]):
    """A list of its own class: its items come as instructions of the pickle."""


class Keyed(dict[Any, Any]):
    """A dictionary of its own class."""


@BOTH
def test_tensors_of_every_kind(tmp_path: Path, zipped: bool) -> None:
    base = torch.arange(24.0).reshape(4, 6)
    content = {
        "whole": base,
        "transposed": base.t(),
        "column": base[:, 2],
        "row": base[3],
        "repeated": torch.ones(1).expand(5, 7),
        "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(3.5),
        "half": base.half(),
        "bfloat16": base.bfloat16(),
        "double": base.double(),
        "int64": torch.arange(3),
        "uint8": torch.arange(3, dtype=torch.uint8),
        "bool": torch.tensor([True, False]),
        "parameter": nn.Parameter(base.clone()),
        "array": np.arange(6, dtype=np.float32),
        "big-endian": np.arange(6, dtype=">f8"),
    }
    found = read(save(tmp_path / "a.pt", content, zipped))
    assert list(found) == list(content)
    for name, expected in content.items():
        as_tensor = torch.from_numpy(expected.astype(expected.dtype.newbyteorder("="))) if "-" in name else expected
        assert torch.equal(found[name], torch.as_tensor(as_tensor)), name
        assert found[name].dtype == torch.as_tensor(as_tensor).dtype


@BOTH
def test_containers_keep_their_order_and_what_ordered_dictionaries_carry_is_dropped(
    tmp_path: Path, zipped: bool
) -> None:
    ordered = OrderedDict((str(9 - i), torch.ones(i)) for i in range(5))
    ordered._metadata = {"version": 1}  # type: ignore[attr-defined]
    content = {"state": ordered, "list": [1, (2.5, None, "x", b"y", True)], "module": nn.Linear(2, 1).state_dict()}
    with TorchFile(save(tmp_path / "a.pt", content, zipped)) as file:
        assert list(file.content["state"]) == list(ordered)
        assert file.content["list"] == content["list"]
        assert list(file.content["module"]) == ["weight", "bias"]


@BOTH
def test_other_objects_are_inert_and_nothing_of_them_runs(tmp_path: Path, zipped: bool) -> None:
    trap, module = tmp_path / "trap", tmp_path / "hostile.py"
    module.write_text(f"open({str(trap)!r}, 'w')")
    content = {
        "w": torch.ones(2),
        "touch": Reduced(Path.touch, (trap,)),
        "eval": Reduced(eval, (f"open({str(trap)!r}, 'w')",)),
        "import": Reduced(__import__, ("hostile",)),
        "state": Hook(trap),
        "class": Hook,
        "nested": [Reduced(getattr, (Reduced(__import__, ("os",)), "system"))],
        "list": Listed([1, 2]),
        "dict": Keyed({1: 2}),
        "set": {1, 2},
        "slots": Reduced(object.__new__, (Hook,), (None, {"path": 1})),
        "complex": torch.ones(2, dtype=torch.complex64),
    }
    sys.path.insert(0, str(tmp_path))
    try:
        with TorchFile(save(tmp_path / "a.pt", content, True)) as file:
            found = file.content
            assert torch.equal(file.tensors({"w": found["w"]})["w"], torch.ones(2))
    finally:
        sys.path.remove(str(tmp_path))
    assert not trap.exists()
    assert "hostile" not in sys.modules
    for name in ("touch", "eval", "import", "state", "list", "dict", "slots", "complex"):
        assert isinstance(found[name], Inert), name
    assert found["class"] is Inert


def pickled(*instructions: bytes) -> bytes:
    return b"\x80\x02" + b"".join(instructions) + b"."


def zip_of(path: Path, data: bytes, compression: int = zipfile.ZIP_STORED, **parts: bytes) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("a/data.pkl", data)
        for name, content in parts.items():
            archive.writestr(f"a/{name.replace('__', '/')}", content)
    return path


FUNCTION = b"ctorch._utils\n_rebuild_tensor_v2\n"


@pytest.mark.parametrize(
    "data",
    [
        pickled(FUNCTION, b"N}X\x0c\x00\x00\x00__defaults__", b")s\x86b"),  # BUILD: sets attributes of a function
        pickled(b"ccollections\nOrderedDict\n", b"N}X\x01\x00\x00\x00a", b")s\x86b"),
        pickled(b"cos\nsystem\n", b"N}X\x01\x00\x00\x00a", b")s\x86b"),
        pickled(b"ctorch\nFloatStorage\n", b"N}X\x01\x00\x00\x00a", b")s\x86b"),
        pickled(b"\x82\x01"),  # EXT1: a name by its number in a table of the process
        pickled(b"]r\xff\xff\xff\x7f"),  # LONG_BINPUT: a memory of 2^31 places
        pickled(b"\x96" + struct.pack("<Q", 1 << 50)),  # BYTEARRAY8 of a petabyte
        pickled(b"\x8e" + struct.pack("<Q", 1 << 50)),
        b"\x80\x02]",
        b"",
    ],
    ids=lambda data: data[2:12].hex(),
)
def test_damaged_and_hostile_pickles_are_one_line(tmp_path: Path, data: bytes) -> None:
    before = torch._utils._rebuild_tensor_v2.__defaults__
    for path in (zip_of(tmp_path / "a.pt", data), tmp_path / "b.pt"):
        if path.name == "b.pt":
            path.write_bytes(data)
        with pytest.raises(
            DataError, match=rf"{path.name}: not a checkpoint of tensors that can be read safely"
        ) as info:
            TorchFile(path)
        assert "\n" not in str(info.value)
    assert torch._utils._rebuild_tensor_v2.__defaults__ == before


def test_the_number_of_instructions_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = zip_of(tmp_path / "a.pt", pickled(b"]" * 200))
    TorchFile(path).__exit__()
    monkeypatch.setattr(torch_pickles, "MAX_INSTRUCTIONS", 100)
    with pytest.raises(DataError, match="more than 100 instructions"):
        TorchFile(path)


def tensor(count: int, offset: int = 0, shape: tuple[int, ...] = (2,), strides: tuple[int, ...] = (1,)) -> bytes:
    """A pickle of one tensor that says so of itself, under the key ``w``."""

    class Pickler(pickle.Pickler):
        def persistent_id(self, each: Any) -> Any:
            return ("storage", torch.FloatStorage, "0", "cpu", count) if each is here else None

    here = object()
    made = Reduced(torch._utils._rebuild_tensor_v2, (here, offset, shape, strides, False, OrderedDict()))
    file = io.BytesIO()
    Pickler(file, protocol=2).dump({"w": made})
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (tensor(3_000_000_000), "a storage of 12,000,000,000 bytes has 8"),
        (tensor(1), r"a tensor of shape \[2\] reaches beyond its 1 numbers"),
        (tensor(2, offset=1), r"reaches beyond its 2 numbers"),
        (tensor(2, strides=(2,)), r"reaches beyond its 2 numbers"),
        (tensor(2, offset=-1), "a damaged shape"),
        (tensor(2, shape=(2, 2)), "a damaged shape"),
        (tensor(2, shape=(1,) * 17, strides=(1,) * 17), "a damaged shape"),
        (tensor(-2), "a damaged storage"),
        (tensor(2, shape=(3_000_000_000,), strides=(0,)), "its tensors claim 12,000,000,000 bytes, and the file has"),
        (tensor(2, shape=(1 << 40, 1 << 40), strides=(0, 0)), "bytes, and the file has"),
    ],
)
def test_sizes_are_compared_with_the_bytes_that_are_there(tmp_path: Path, data: bytes, message: str) -> None:
    path = zip_of(tmp_path / "a.pt", data, data__0=bytes(8))
    with pytest.raises(DataError, match=message):
        read(path)


def test_a_tensor_that_is_repeated_is_read_up_to_a_limit(tmp_path: Path) -> None:
    path = save(tmp_path / "a.pt", {"w": torch.ones(1).expand(200_000_000)})
    assert read(path)["w"].shape == (200_000_000,)
    path = save(tmp_path / "b.pt", {str(i): torch.ones(1).expand(200_000_000) for i in range(2)})
    with pytest.raises(DataError, match="its tensors claim 1,600,000,000 bytes"):
        read(path)
    with TorchFile(path) as file:
        assert set(file.tensors({"0": file.content["0"]})) == {"0"}, "one of them is fine"


def test_compressed_files_are_refused(tmp_path: Path) -> None:
    """12 GB of zeros fit in 12 MB that way."""
    path = zip_of(tmp_path / "a.pt", tensor(1 << 20, shape=(1 << 20,)), zipfile.ZIP_DEFLATED, data__0=bytes(4 << 20))
    assert path.stat().st_size < 10_000
    with pytest.raises(DataError, match="it is compressed or encrypted"):
        TorchFile(path)


def test_parts_that_overlap_are_refused(tmp_path: Path) -> None:
    """A directory can name the same bytes many times."""
    path = zip_of(tmp_path / "a.pt", tensor(2), data__0=bytes(5000), data__1=bytes(5000))
    data = path.read_bytes()
    start = data.index(b"PK\x01\x02")
    end = data.index(b"PK\x05\x06")
    entries = data[start:end]
    tail = bytearray(data[end:])
    tail[8:12] = struct.pack("<HH", 9, 9)
    tail[12:16] = struct.pack("<I", 3 * len(entries))
    path.write_bytes(data[:start] + 3 * entries + bytes(tail))
    with pytest.raises(DataError, match="its parts claim more bytes than it has"):
        TorchFile(path)


@pytest.mark.parametrize(("name", "content"), [("byteorder", b"big"), ("b__data.pkl", b"")])
def test_other_archives(tmp_path: Path, name: str, content: bytes) -> None:
    path = zip_of(tmp_path / "a.pt", pickled(b"]"), **{name: content})
    if name == "byteorder":
        with pytest.raises(DataError, match="big-endian"):
            TorchFile(path)
    else:
        TorchFile(path).__exit__()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/constants.pkl", pickled(b"]"))
    with pytest.raises(DataError, match=r"0 parts of it are named data\.pkl"):
        TorchFile(path)


@pytest.mark.parametrize("cut", [1, 100, 4000])
@BOTH
def test_cut_files(tmp_path: Path, zipped: bool, cut: int) -> None:
    path = save(tmp_path / "a.pt", {"w": torch.ones(1000), "v": torch.ones(1000)}, zipped)
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(DataError, match=r"a\.pt: not a checkpoint of tensors that can be read safely"):
        read(path)


def test_a_damaged_byte_of_a_tensor_is_found(tmp_path: Path) -> None:
    path = save(tmp_path / "a.pt", {"w": torch.full((1000,), 3.25)})
    data = bytearray(path.read_bytes())
    data[data.index(struct.pack("<f", 3.25) * 4) + 6] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="Bad CRC-32"):
        read(path)


def test_only_what_is_asked_for_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, asked = save(tmp_path / "a.pt", {"w": torch.ones(3), "v": torch.ones(1000)}), []
    original: Callable[..., bytes] = zipfile.ZipFile.read

    def spy(archive: zipfile.ZipFile, name: Any, *rest: Any) -> bytes:
        asked.append(str(name).rpartition("/")[2])
        return original(archive, name, *rest)

    monkeypatch.setattr(torch_files.zipfile.ZipFile, "read", spy)
    with TorchFile(path) as file:
        file.tensors({"w": file.content["w"]})
    assert asked == ["byteorder", "data.pkl", "0"]


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.pt: cannot be read \(No such file"):
        TorchFile(tmp_path / "none.pt")
    with pytest.raises(DataError, match="it is no file"):
        TorchFile(tmp_path)


@pytest.mark.parametrize(
    "array", [np.asfortranarray(np.ones((2, 3))), np.array(["a", "b"]), np.arange(3), np.array([{}], dtype=object)]
)
def test_other_arrays_are_refused(tmp_path: Path, array: Any) -> None:
    with pytest.raises(DataError, match="it holds an array that is not of floats in row order"):
        TorchFile(save(tmp_path / "a.pt", {"w": array}))


def test_stand_ins_say_what_they_are(tmp_path: Path) -> None:
    with TorchFile(save(tmp_path / "a.pt", {"w": torch.ones(2, 3), "a": np.ones(4, np.float32)})) as file:
        w, a = file.content["w"], file.content["a"]
    assert (type(w), w.shape, w.nbytes) == (Stored, (2, 3), 24)
    assert (type(a), a.shape, a.nbytes) == (StoredArray, (4,), 16)
