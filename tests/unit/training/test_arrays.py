"""Datasets decoded once: the same pixels, made once, checked when opened, and whole or not there."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import time
from collections.abc import Callable
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.components import Crop, Run
from harness.errors import DataError, StageError, Stopped
from harness.faces.faceset import FaceSet, ShardWriter, content_digest, write_items
from harness.store.artifacts import Manifest, Store, now
from harness.training import arrays
from harness.training.arrays import FaceArray, decoded

FORK = multiprocessing.get_context("fork")
MakeDataset = Callable[..., FaceSet]


@pytest.fixture
def make_dataset(tmp_path: Path) -> MakeDataset:
    """A face set that is an artifact of a store: some faces kept, some not, some that failed."""

    def make(count: int = 40, size: int = 16, key: str = "a", seed: int = 0, flat: bool = False) -> FaceSet:
        store = Store(tmp_path / "store")
        folder, rng = store.building("align", key), np.random.default_rng(seed)
        shards = -(-count // 256)
        for shard in range(shards):
            writer = ShardWriter(folder, shard)
            for item in range(shard * 256, min(count, (shard + 1) * 256)):
                noise = rng.integers(0, 256, (1 if flat else size, 1 if flat else size, 3), dtype=np.uint8)
                image = np.broadcast_to(noise, (size, size, 3)).copy()
                writer.add(item // 4, item % 4, None if item % 10 == 3 else image, "no face")
            writer.close()
        items = write_items(folder, shards, np.arange(count) % 10 != 7)
        fixed = {"settings": {}, "seed": 0, "parents": {}, "options": {}, "license": {}, "component": "", "device": ""}
        times = {"seconds": 0.0, "created": now(), "finished": now()}
        named = {"kind": "align", "key": key, "content": content_digest(items), "files": store.seal("align", key)}
        artifact = store.commit(Manifest.model_validate({**named, **fixed, **times}))
        return FaceSet(artifact.folder, Crop("arcface", size))

    return make


def array_of(faces: FaceSet) -> Path:
    """The one file of the store's decoded datasets."""
    (found,) = (faces.folder.parents[1] / arrays.KIND).glob(f"*/{arrays.PIXELS}")
    return found


def in_process(work: Callable[[], Any]) -> Any:
    """What some work gives, or fails with, in a process of its own."""

    def run(queue: Queue[Any]) -> None:
        try:
            queue.put(work())
        except Exception as error:
            queue.put(repr(error))

    queue: Queue[Any] = FORK.Queue()
    process = FORK.Process(target=run, args=(queue,))
    process.start()
    value = queue.get(timeout=60)
    process.join()
    return value


def test_batches_are_the_faces_that_pillow_decodes(make_dataset: MakeDataset) -> None:
    faces = make_dataset(300)
    array = decoded(faces, Run(0))
    assert len(array) == len(faces) == 240
    assert torch.equal(array.labels, torch.from_numpy(faces.labels))
    order = torch.randperm(240, generator=torch.Generator().manual_seed(0))
    expected = torch.from_numpy(faces.images(order.numpy())).permute(0, 3, 1, 2)
    batches = list(array.batches(order.split(50), "cpu"))
    assert [tuple(batch.shape) for batch in batches] == [(50, 3, 16, 16)] * 4 + [(40, 3, 16, 16)]
    assert torch.equal(torch.cat(batches), expected)


def test_it_is_made_once_and_read_by_all(make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    first, again = make_dataset(key="a"), make_dataset(key="b")  # two artifacts of the same content
    pixels = decoded(first, Run(0)).pixels
    monkeypatch.setattr(FaceSet, "encoded", lambda *args: pytest.fail("decoded a second time"))
    assert torch.equal(decoded(again, Run(0)).pixels, pixels)
    assert array_of(first).stat().st_size == 128 + pixels.nbytes


def test_other_contents_have_other_arrays(make_dataset: MakeDataset) -> None:
    one, two = decoded(make_dataset(key="a"), Run(0)), decoded(make_dataset(key="b", seed=1), Run(0))
    assert not torch.equal(one.pixels, two.pixels)


def test_what_a_reader_writes_reaches_no_one_else(make_dataset: MakeDataset) -> None:
    faces = make_dataset()
    decoded(faces, Run(0)).pixels.zero_()
    assert np.array_equal(decoded(faces, Run(0)).pixels.numpy(), faces.images())


def test_a_face_set_that_is_no_artifact_stays_in_memory(make_dataset: MakeDataset) -> None:
    faces = make_dataset()
    (faces.folder / "manifest.json").unlink()
    assert np.array_equal(decoded(faces, Run(0)).pixels.numpy(), faces.images())
    assert not (faces.folder.parents[1] / arrays.KIND).exists()


@pytest.mark.parametrize("damage", ["a flipped bit", "cut off", "no manifest", "no pixels"])
def test_a_damaged_array_is_made_again(make_dataset: MakeDataset, damage: str) -> None:
    faces = make_dataset()
    decoded(faces, Run(0))
    path = array_of(faces)
    whole = path.read_bytes()
    if damage == "a flipped bit":
        path.write_bytes(whole[:-5] + bytes([whole[-5] ^ 1]) + whole[-4:])
    elif damage == "cut off":
        path.write_bytes(whole[:-100])
    elif damage == "no manifest":
        (path.parent / "manifest.json").write_text("{}")
    else:
        path.unlink()
    assert np.array_equal(decoded(faces, Run(0)).pixels.numpy(), faces.images())
    assert array_of(faces).read_bytes() == whole


def test_what_a_killed_build_left_is_built_over(make_dataset: MakeDataset) -> None:
    faces = make_dataset()
    decoded(faces, Run(0))
    final = array_of(faces).parent
    left = faces.folder.parents[1] / ".building" / f"{arrays.KIND}-{final.name}"
    final.rename(left)
    (left / "manifest.json").unlink()
    (left / arrays.PIXELS).write_bytes(b"half of it")
    assert np.array_equal(decoded(faces, Run(0)).pixels.numpy(), faces.images())


def test_two_processes_at_once_share_one_build(make_dataset: MakeDataset, tmp_path: Path) -> None:
    faces, builds, encoded = make_dataset(300), tmp_path / "builds", FaceSet.encoded

    def slowly(self: FaceSet, positions: Any) -> Any:
        with builds.open("a") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(0.5)
        return encoded(self, positions)

    def work(queue: Queue[Any]) -> None:
        FaceSet.encoded = slowly  # type: ignore[method-assign]
        queue.put(decoded(faces, Run(0)).pixels.sum(dtype=torch.int64).item())

    queue: Queue[Any] = FORK.Queue()
    processes = [FORK.Process(target=work, args=(queue,)) for _ in range(3)]
    for process in processes:
        process.start()
    sums = {queue.get(timeout=60) for _ in processes}
    for process in processes:
        process.join()
    assert sums == {int(faces.images().sum(dtype=np.int64))}
    assert len(set(builds.read_text().splitlines())) == 1, "one of them decoded"


def test_who_waits_for_another_build_can_be_stopped(make_dataset: MakeDataset) -> None:
    faces = make_dataset()
    decoded(faces, Run(0))
    path = array_of(faces)
    path.unlink()
    lock = Store(faces.folder.parents[1]).claim(arrays.KIND, path.parent.name)
    assert lock is not None
    looks = iter([False, False, True])
    with pytest.raises(Stopped):
        decoded(faces, Run(0, should_stop=lambda: next(looks)))
    lock.release()


def test_a_disk_that_fills_is_named_and_leaves_nothing(make_dataset: MakeDataset) -> None:
    faces = make_dataset(600, size=32)
    root = faces.folder.parents[1]
    libc, user, group = ctypes.CDLL(None), os.getuid(), os.getgid()

    def work() -> Any:
        new_user, new_mounts = 0x10000000, 0x00020000
        if libc.unshare(new_user | new_mounts):
            return None
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
        building = root / ".building"
        building.mkdir(exist_ok=True)
        if libc.mount(b"none", str(building).encode(), b"tmpfs", 0, b"size=1m"):
            return None
        try:
            decoded(faces, Run(0))
        except StageError as error:
            return str(error), [path.name for path in building.iterdir()]

    found = in_process(work)
    if found is None:
        pytest.skip("this system lets nobody mount a small disk")
    assert len(found) == 2, found
    text, left = found
    assert "the disk is full, and 480 decoded faces take 0.00 GB; free some space and run again" in text
    assert left == []
    assert not (root / arrays.KIND).exists()


def test_a_damaged_image_is_named(make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    faces = make_dataset()
    data, where = faces.encoded(np.array([0]))[0]
    for bad, message in ((data[:40], "not a readable image"), (b"", "not a readable image")):
        monkeypatch.setattr(FaceSet, "encoded", lambda self, positions, bad=bad: [(bad, where)] * len(positions))
        with pytest.raises(DataError, match=message):
            decoded(faces, Run(0))
    monkeypatch.setattr(FaceSet, "encoded", lambda self, positions: [(data, where)] * len(positions))
    with pytest.raises(DataError, match="other pixels than its item says"):
        decoded(faces, Run(0))
    assert not (faces.folder.parents[1] / arrays.KIND).exists()


def test_the_least_recently_opened_arrays_make_room(make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    sets = [make_dataset(key=key, seed=seed) for seed, key in enumerate("abc")]
    first = decoded(sets[0], Run(0))
    one = array_of(sets[0])
    decoded(sets[1], Run(0))
    for folder in one.parents[1].iterdir():  # the other one was opened last
        os.utime(folder, (0, 1 if folder == one.parent else 2))
    # As if the disk had place for two and a half of them.
    usage = type("Usage", (), {"free": 4 * 2.5 * first.pixels.nbytes - 2 * one.stat().st_size})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    decoded(sets[2], Run(0))
    left = list(one.parents[1].iterdir())
    assert len(left) == 2
    assert one.parent not in left
    assert np.array_equal(first.pixels.numpy(), sets[0].images()), "who has it open keeps it"


def test_private_memory_does_not_grow_with_the_dataset(make_dataset: MakeDataset) -> None:
    def held(faces: FaceSet) -> Callable[[], int]:
        def work() -> int:
            before = private_bytes()
            array = decoded(faces, Run(0))
            for batch in array.batches(torch.arange(len(array)).split(64), "cpu"):
                assert batch.sum() > 0
            return private_bytes() - before

        return work

    sizes = [make_dataset(count, size=112, key=key, flat=True) for count, key in ((256, "few"), (1280, "many"))]
    pixels = [len(faces) * 3 * 112**2 for faces in sizes]
    few, many = (in_process(held(faces)) for faces in sizes)
    assert many - few < 0.1 * (pixels[1] - pixels[0]), (few, many, pixels)


def private_bytes() -> int:
    """Memory of this process alone, in use: mapped files are left out, and so is what malloc keeps for later."""
    ctypes.CDLL(None).malloc_trim(0)
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Anonymous:"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("share", [0.4, 0.0])
def test_a_gpu_gets_the_same_batches(monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    monkeypatch.setattr(arrays, "GPU_SHARE", share)
    pixels = torch.randint(0, 256, (1000, 32, 32, 3), dtype=torch.uint8)
    array = FaceArray(pixels, torch.zeros(1000, dtype=torch.int64))
    order = list(torch.randperm(1000).split(64))
    for sent, indices in zip(array.batches(order, "cuda"), order, strict=True):
        assert torch.equal(sent.cpu(), array.batch(indices))
