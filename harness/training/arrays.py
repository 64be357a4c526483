"""A dataset decoded once: its pixels in one memory-mapped file, for all epochs, seeds and processes that read it.

The archive stays what it was, parquet of PNG. The file is derived from it and lies in the store under the content of
the dataset, ``store/decoded/KEY``; it can be deleted at any time, and is made again when it is next needed. Those that
were opened least recently go by themselves when all of them take more than their share of the disk.

Letters: N faces, B faces of a batch, S side of the crop in pixels.
"""

from __future__ import annotations

import errno
import math
import os
import shutil
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from harness.arrays import Images, Ints
from harness.coding import decode_image, pixel_digest
from harness.components.run import Progress, Run
from harness.errors import DataError, StageError, Stopped
from harness.faces.faceset import FaceSet
from harness.store.artifacts import MANIFEST, Artifact, Manifest, Store, now
from harness.store.keys import stage_key

KIND, PIXELS = "decoded", "pixels.npy"
_PNG = b"\x89PNG"
DISK_SHARE = 0.25  # of the disk's free space (these files counted as free) that all of them may take
GPU_SHARE = 0.4  # of a GPU's free memory that a dataset may take to be held there
AHEAD = 3  # batches under way to a GPU while it computes
UNREADABLE_SHARE = 0.001  # of the images; more of them stop a training
_CHUNK = 1024  # faces decoded at a time
_WAIT_S = 0.2  # between looks at an array that another process makes


class FaceArray:
    """Decoded faces and their classes.

    Args:
        pixels: uint8 [N, S, S, 3]; a mapped file, or memory.
        labels: class of each face from 0, int64 [N].
        unreadable: positions of the faces that cannot be read, which are black; default: none.
    """

    def __init__(self, pixels: Tensor, labels: Tensor, unreadable: Sequence[int] = ()) -> None:
        self.pixels, self.labels = pixels, labels
        self.unreadable: Ints = np.array(unreadable, np.int64)

    def __len__(self) -> int:
        return len(self.pixels)

    def batch(self, indices: Tensor) -> Tensor:
        """Faces by position int64 [B], uint8 [B, 3, S, S]."""
        return _planes(self.pixels.index_select(0, indices))

    def batches(self, order: Iterable[Tensor], device: str) -> Iterator[Tensor]:
        """Batches by positions int64 [B] each, on a device, uint8 [B, 3, S, S].

        A GPU holds the whole dataset where it fits; otherwise the next batches are on their way while it computes.
        """
        if torch.device(device).type != "cuda":
            yield from map(self.batch, order)
        elif self.pixels.nbytes <= GPU_SHARE * torch.cuda.mem_get_info(device)[0]:
            held = FaceArray(self.pixels.to(device), self.labels)
            yield from (held.batch(indices.to(device)) for indices in order)
        else:
            yield from self._sent(order, torch.device(device))

    def _sent(self, order: Iterable[Tensor], device: torch.device) -> Iterator[Tensor]:
        """Batches sent to a GPU from pinned memory, ``AHEAD`` of the one that is used."""
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

        def send(indices: Tensor) -> tuple[Tensor, torch.cuda.Event]:
            pinned = torch.empty(len(indices), *self.pixels.shape[1:], dtype=torch.uint8, pin_memory=True)
            torch.index_select(self.pixels, 0, indices, out=pinned)
            with torch.cuda.stream(stream):
                sent = pinned.to(device, non_blocking=True)
                return sent, stream.record_event()

        under_way: deque[Future[tuple[Tensor, torch.cuda.Event]]] = deque()
        with ThreadPoolExecutor(1) as thread:
            for indices in order:
                under_way.append(thread.submit(send, indices))
                if len(under_way) > AHEAD:
                    yield _arrived(*under_way.popleft().result())
            while under_way:
                yield _arrived(*under_way.popleft().result())


def _arrived(sent: Tensor, event: torch.cuda.Event) -> Tensor:
    here = torch.cuda.current_stream(sent.device)
    here.wait_event(event)
    sent.record_stream(here)
    return _planes(sent)


def _planes(images: Tensor) -> Tensor:
    return images.permute(0, 3, 1, 2).contiguous()


def decoded(faces: FaceSet, run: Run) -> FaceArray:
    """The faces of a dataset as an array: mapped where they are an artifact of a store, in memory where they are not.

    Two processes that need the same array share one build.

    Raises:
        DataError: an image is damaged, or their sizes differ.
        StageError: the disk is full; nothing of the array is left behind.
        Stopped: the user asked to stop while another process was building.
    """
    labels = torch.from_numpy(faces.labels)
    if len(faces) == 0 or not (faces.folder / MANIFEST).exists():
        return FaceArray(torch.from_numpy(faces.images()), labels)
    store = Store(faces.folder.parent.parent)
    content = store.get(faces.folder.parent.name, faces.folder.name).manifest.content
    key = stage_key(decoded=content)
    progress = run.progress(len(faces), "images decoded")
    pixels = _opened(store, key)
    while pixels is None:
        lock = store.claim(KIND, key)
        if lock is None:
            _wait(run, progress)
            pixels = _opened(store, key)
            continue
        try:
            pixels = _opened(store, key)  # another may have made it meanwhile
            if pixels is None:
                pixels = _mapped(_built(store, key, content, faces, progress))
        finally:
            lock.release()
    progress.advance(len(faces) - progress.done)
    return FaceArray(torch.from_numpy(pixels), labels)


def readable(faces: FaceSet, run: Run) -> FaceArray:
    """As :func:`decoded`, for a dataset of which a few images are damaged: the array says which.

    Raises:
        StageError: more than ``UNREADABLE_SHARE`` of the images cannot be read, or the disk is full.
        Stopped: as there.
    """
    try:
        return decoded(faces, run)
    except DataError:
        return _with_gaps(faces)


def _with_gaps(faces: FaceSet) -> FaceArray:
    """All faces in memory, one by one, those that cannot be read as black ones."""
    side = faces.crop.size_px
    images = np.zeros((len(faces), side, side, 3), np.uint8)
    bad: dict[int, DataError] = {}
    for position in range(len(faces)):
        try:
            images[position] = faces.images([position])[0]
        except DataError as error:
            bad[position] = error
    if len(bad) > UNREADABLE_SHARE * len(faces):
        text = f"{len(bad)} of {len(faces)} images cannot be read, at most {UNREADABLE_SHARE:.1%} may"
        raise StageError(f"margin trainer: {text}; the first: {next(iter(bad.values()))}")
    return FaceArray(torch.from_numpy(images), torch.from_numpy(faces.labels), list(bad))


def _opened(store: Store, key: str) -> Images | None:
    """The array, or None where there is none whose bytes are those that were written."""
    try:
        artifact = store.find(KIND, key)
        if artifact is None or artifact.fault():
            return None
        os.utime(artifact.folder)
        return _mapped(artifact)
    except (DataError, FileNotFoundError):  # its manifest is damaged; or it was removed at this moment
        return None


def _mapped(artifact: Artifact) -> Images:
    # Private: torch takes no array that cannot be written to, and a page is copied only if somebody writes.
    pixels: Images = np.load(artifact.folder / PIXELS, mmap_mode="c")
    return pixels


def _wait(run: Run, progress: Progress) -> None:
    if run.stop_requested:
        raise Stopped("stopped while another process decodes the dataset")
    progress.advance(0)  # a sign of life
    time.sleep(_WAIT_S)


def _built(store: Store, key: str, content: str, faces: FaceSet, progress: Progress) -> Artifact:
    """Decode into the store, whole or not at all."""
    folder, since, started = store.building(KIND, key), now(), time.perf_counter()
    shape = (len(faces), *decode_image(*faces.encoded(np.array([0]))[0]).shape)
    size = math.prod(shape)
    try:
        _make_room(store, size)
        _write(folder / PIXELS, shape, faces, progress)
        made = {"created": since, "finished": now(), "seconds": time.perf_counter() - started, "device": "cpu"}
        nothing = {"component": "", "settings": {}, "seed": 0, "parents": {}, "options": {}, "license": {}}
        named = {"kind": KIND, "key": key, "content": content, "files": store.seal(KIND, key)}
        manifest = Manifest.model_validate({**named, **made, **nothing})
        return store.commit(manifest)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        shutil.rmtree(folder, ignore_errors=True)
        raise StageError(
            f"{store.root / KIND}: the disk is full, and {len(faces):,} decoded faces take {size / 1e9:.2f} GB; "
            f"free some space and run again"
        ) from error


def _write(path: Path, shape: tuple[int, ...], faces: FaceSet, progress: Progress) -> None:
    """Decode all faces into a NumPy file, a chunk at a time; each is compared with the digest in its item."""
    digests = faces.items["pixels"].take(faces.rows)
    with path.open("wb") as file:  # not through a mapping: writing to one on a full disk ends the process
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for begin in range(0, len(faces), _CHUNK):
            chunk = np.arange(begin, min(begin + _CHUNK, len(faces)))
            expected = digests.slice(begin, len(chunk)).to_pylist()
            for (data, where), digest in zip(faces.encoded(chunk), expected, strict=True):
                file.write(_decode(data, where, shape[1:], digest).data)
            progress.advance(len(chunk))


def _decode(data: bytes, where: str, shape: tuple[int, ...], digest: bytes) -> Images:
    """One image of a face set; a PNG by pyspng, which takes half of Pillow's time for the same pixels."""
    import pyspng

    try:
        image: Images = pyspng.load(data) if data.startswith(_PNG) else decode_image(data, where)
    except (RuntimeError, ValueError) as error:
        raise DataError(f"{where}: not a readable image ({error}); delete its artifact folder and run again") from error
    if image.shape != shape:
        raise DataError(f"{where}: {list(image.shape)} instead of {list(shape)}; give the source a size_px")
    if pixel_digest(image) != digest:
        raise DataError(f"{where}: other pixels than its item says; delete its artifact folder and run again")
    return np.ascontiguousarray(image)


def _make_room(store: Store, size: int) -> None:
    """Remove the arrays that were opened least recently, until there is room for one of ``size`` bytes more.

    Who has one open keeps it: its bytes stay until the last one closes it.
    """
    arrays = sorted((store.root / KIND).glob("*"), key=lambda folder: folder.stat().st_mtime)
    taken = {folder: (folder / PIXELS).stat().st_size for folder in arrays if (folder / PIXELS).exists()}
    whole = shutil.disk_usage(store.root).free + sum(taken.values())
    while taken and size + sum(taken.values()) > DISK_SHARE * whole:
        oldest = next(iter(taken))
        shutil.rmtree(oldest, ignore_errors=True)
        del taken[oldest]
