"""Files that are there for good: bytes are flushed before the rename that announces them, and seals find changes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from harness import disk
from harness.store.artifacts import Manifest, Store

PLAIN: dict[str, Any] = {
    "content": "c",
    "component": "",
    "settings": {},
    "seed": 0,
    "parents": {},
    "options": {},
    "seconds": 1.0,
    "device": "cpu",
    "license": {},
    "created": 0.0,
    "finished": 1.0,
}


class Watched:
    """Notes what is flushed and what is renamed, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[tuple[str, str]] = []
        fsync, replace = os.fsync, Path.replace

        def flushed(descriptor: int) -> None:
            self.seen.append(("flush", os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}"))))
            fsync(descriptor)

        def renamed(path: Path, target: Any) -> Any:
            self.seen.append(("rename", Path(target).name))
            return replace(path, target)

        monkeypatch.setattr(os, "fsync", flushed)
        monkeypatch.setattr(Path, "replace", renamed)

    def at(self, what: str, name: str) -> int:
        return next(i for i, (kind, seen) in enumerate(self.seen) if kind == what and seen.endswith(name))


def test_a_text_is_flushed_then_announced_then_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(monkeypatch)
    disk.write_text(tmp_path / "results.json", "{}")
    assert [kind for kind, _ in watched.seen] == ["flush", "rename", "flush"]
    assert watched.seen[0][1].startswith(".results.json")
    assert watched.seen[2][1] == tmp_path.name


def test_an_artifact_is_flushed_before_it_is_announced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, watched = Store(tmp_path), Watched(monkeypatch)
    built = store.building("generate", "k")
    (built / "shards").mkdir()
    (built / "shards" / "00000.parquet").write_bytes(b"images")
    files = store.seal("generate", "k")
    store.commit(Manifest(kind="generate", key="k", files=files, **PLAIN))
    announced = watched.at("rename", "/k") if ("rename", "/k") in watched.seen else watched.at("rename", "k")
    for name in ("00000.parquet", "shards", "generate-k"):
        assert watched.at("flush", name) < announced
    assert watched.at("rename", "manifest.json") < announced
    assert ("flush", "generate") in watched.seen[announced:]


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.bin").write_bytes(bytes(range(200)) * 50_000)
    (tmp_path / "deep" / "b.txt").write_text("b")
    return tmp_path


def skip(path: Path) -> bool:
    return path.name == "skipped"


def change(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def test_a_seal_holds(sealed: Path) -> None:
    files = disk.seal(sealed, skip)
    assert {name: size for name, (size, _) in files.items()} == {"a.bin": 10_000_000, "deep/b.txt": 1}
    (sealed / "skipped").write_text("anything")
    assert disk.fault(sealed, files, skip) == ""


def test_a_seal_breaks(sealed: Path) -> None:
    files = disk.seal(sealed, skip)
    change(sealed / "a.bin", 9_999_999)
    assert disk.fault(sealed, files, skip) == "a.bin: other bytes than were written"
    (sealed / "a.bin").write_bytes(b"")
    assert disk.fault(sealed, files, skip) == "a.bin: 0 bytes instead of 10,000,000"
    (sealed / "a.bin").unlink()
    assert disk.fault(sealed, files, skip) == "a.bin: No such file or directory"
    (sealed / "a.bin").symlink_to(sealed / "deep" / "b.txt")
    assert "is no regular file" in disk.fault(sealed, files, skip)


def test_what_was_added_breaks_it_too(sealed: Path) -> None:
    files = disk.seal(sealed, skip)
    (sealed / "deep" / "c").write_text("c")
    assert disk.fault(sealed, files, skip) == "deep/c: was not there when it was made"
