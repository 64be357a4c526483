"""What a data set holds, and what is wrong with it.

Letters: N images, S side of a crop in pixels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.arrays import Images, Ints
from harness.coding import pixel_digest
from harness.components.base import Crop
from harness.components.images import ImageBatch
from harness.components.run import Run
from harness.data.datasets import DataSet, FolderData, RecordData, content
from harness.data.pictures import decode, read_header
from harness.data.recordio import unpack_record
from harness.errors import DataError
from harness.faces.crops import REFERENCE_SIZE_PX, reference_landmarks

if TYPE_CHECKING:
    from harness.components.aligner import Aligner

NAMED = 20  # messages of one kind that are listed; the rest is counted
AUDIT_IMAGES = 64
# Limits of the audit, in pixels of a crop of 112. Landmarks of MTCNN on crops that MTCNN made lie about 1 px from the
# reference; published crops of other detectors and of profile faces lie farther away.
MAX_RESIDUAL_PX = 6.0
MAX_OFFSET_PX = 4.0
MIN_FOUND = 0.5
# What no crop of the template reaches, and stops a run. Measured: drawn profile faces, whose landmarks MTCNN misplaces
# most, are shifted by 7.6 px and 1.05 times as large; LFW's photographs by 11.1 px, and half as large.
MAX_CROP_SHIFT_PX = 8.0
CROP_SCALES = (0.75, 1.33)
MIN_WARM = 0.5


@dataclass
class Summary:
    """What ``inspect`` tells.

    ``sizes`` counts images by "WIDTHxHEIGHT" in pixels, ``formats`` by encoding; ``unreadable`` those that have none.
    ``further`` holds counts that only some formats have. ``content`` is the same for every format that holds the same
    identities, pairs and encoded images.
    """

    path: str
    kind: str
    images: int
    identities: int | None
    per_identity: tuple[int, int] | None
    genuine: int
    impostor: int
    sizes: dict[str, int]
    formats: dict[str, int]
    unreadable: int
    content: str
    further: dict[str, int] = field(default_factory=dict)


@dataclass
class Audit:
    """Alignment and color order, from a sample of ``images``; px are of a crop of 112.

    ``found`` is the number of images in which MTCNN finds a face, ``residual_px`` the median over them of the mean
    distance of five landmarks from the reference, ``offset_px`` the median shift (right, down), ``scale`` the median
    spread of the landmarks, of the reference's. ``warm`` is the share of colored images whose middle has more red than
    blue, as skin has.
    """

    images: int
    found: int
    residual_px: float
    offset_px: tuple[float, float]
    colored: int
    warm: float
    scale: float = 1.0


@dataclass
class Findings:
    """What ``check`` tells: ``problems`` make it fail, ``notes`` do not."""

    images: int = 0
    grey: int = 0
    sizes: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    audit: Audit | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def summarize(dataset: DataSet) -> Summary:
    """Count and digest; pixels are not decoded."""
    sizes: Counter[str] = Counter()
    formats: Counter[str] = Counter()
    unreadable = 0
    for index, data in enumerate(dataset.encoded()):
        try:
            header = read_header(data, dataset.place(index))
        except DataError:
            unreadable += 1
            continue
        sizes[f"{header.width_px}x{header.height_px}"] += 1
        formats[header.format] += 1
    counts = np.unique(dataset.identities, return_counts=True)[1]
    named = dataset.named and len(counts) > 0
    labels = dataset.pair_labels()
    genuine = int(labels.sum())
    return Summary(
        str(dataset.path),
        dataset.kind,
        len(dataset),
        len(counts) if named else None,
        (int(counts.min()), int(counts.max())) if named else None,
        genuine,
        len(labels) - genuine,
        dict(sizes.most_common()),
        dict(formats.most_common()),
        unreadable,
        content(dataset),
        dataset.further(),
    )


def check(
    dataset: DataSet,
    audit: Aligner | None = None,
    advance: Callable[[int], None] = lambda count: None,
    faults: Sequence[str] = (),
) -> Findings:
    """Decode every image and look for faults.

    Args:
        audit: finds faces, to measure alignment and color order as well; None leaves that out.
        advance: is told how many images were read.
        faults: what was wrong with it when it was opened.
    """
    found = Findings(images=len(dataset))
    sizes: Counter[str] = Counter()
    digests, sample, damaged = bytearray(), list[Images](), _Listed()
    step = -(-len(dataset) // AUDIT_IMAGES)
    for index, data in enumerate(dataset.attempts()):
        try:
            image = decode(_sound(data), dataset.place(index))
        except DataError as error:
            damaged.add(str(error))
            digests += index.to_bytes(16, "little")  # equal to no other
        else:
            sizes[f"{image.shape[1]}x{image.shape[0]}"] += 1
            found.grey += bool((image[..., :1] == image).all())
            digests += pixel_digest(image)
            if audit is not None and index % step == 0:
                sample.append(dataset.crop(image, index).copy())
        advance(1)
    found.sizes = dict(sizes.most_common())
    found.problems += _Listed(faults).lines("files and records cannot be read")
    found.problems += damaged.lines("images cannot be read")
    _judge_sizes(dataset, found)
    _judge_names(dataset, found)
    _judge_index(dataset, found)
    _judge_duplicates(dataset, np.frombuffer(bytes(digests), dtype=np.uint64).reshape(-1, 2), found)
    if audit is not None:
        found.audit = audit_images(sample, audit)
        found.problems += judge_audit(found.audit)
    return found


def _judge_sizes(dataset: DataSet, found: Findings) -> None:
    if dataset.aligned and len(found.sizes) > 1:
        listed = ", ".join(f"{size} ({count})" for size, count in list(found.sizes.items())[:5])
        found.problems.append(f"images of {len(found.sizes)} sizes: {listed}")
    if found.grey:
        found.notes.append(f"{found.grey} of {found.images} images have no color")


def _judge_names(dataset: DataSet, found: Findings) -> None:
    if isinstance(dataset, FolderData):
        found.problems += _Listed(dataset.clashes).lines("pairs of names clash on other file systems")
        empty = _Listed(f"{person}: no image in it" for person in dataset.empty)
        found.problems += empty.lines("identities are empty")
        if dataset.others:
            found.notes.append(f"{dataset.others} files and folders are not NAME/IMAGE and were not read")


def _judge_index(dataset: DataSet, found: Findings) -> None:
    if not isinstance(dataset, RecordData):
        return
    file, records, empty = dataset.file, 0, _Listed()
    try:
        for offset, payload in file.scan():
            record = unpack_record(payload, file.place(offset))
            if records and record.vector and not record.data and record.labels[0] >= record.labels[-1]:  # keys
                empty.add(f"{file.place(offset)}: an identity without images")
            records += 1
    except DataError as error:  # where the next record starts is not known then
        found.problems.append(f"records cannot be counted: {error}")
        return
    if records != len(file.index[0]):
        found.problems.append(f"{file.path}: {records} records, of which the index lists {len(file.index[0])}")
    found.problems += empty.lines("identities are empty")


def _judge_duplicates(dataset: DataSet, digests: Any, found: Findings) -> None:
    """Images with equal pixels: across identities a fault, within one a note."""
    groups = list(_equal_rows(digests))
    for index in np.flatnonzero((digests[dataset.a] == digests[dataset.b]).all(axis=1) & ~dataset.same)[:NAMED]:
        found.problems.append(f"pair {index} is said to show two people, and its images have the same pixels")
    across = _Listed()
    within = 0
    for group in groups:
        people = len(np.unique(dataset.identities[group]))
        within += len(group) - 1
        if people > 1 and dataset.named:
            across.add(f"{' = '.join(dataset.place(index) for index in group[:3].tolist())}: {people} identities")
    found.problems += across.lines("images are there under several identities")
    if within:
        found.notes.append(f"{within} images repeat the pixels of another")


def _equal_rows(digests: Any) -> Iterator[Ints]:
    """Indices of rows that are equal, in groups of two and more."""
    order = np.lexsort((digests[:, 1], digests[:, 0]))
    ordered = digests[order]
    cuts = np.flatnonzero((ordered[1:] != ordered[:-1]).any(axis=1)) + 1
    for group in np.split(order, cuts):
        if len(group) > 1:
            yield np.sort(group)


class _Listed:
    """Messages of one kind: the first are kept, the rest is counted."""

    def __init__(self, messages: Iterable[str] = ()) -> None:
        self.first: list[str] = []
        self.count = 0
        for message in messages:
            self.add(message)

    def add(self, message: str) -> None:
        self.count += 1
        if self.count <= NAMED:
            self.first.append(message)

    def lines(self, what: str) -> list[str]:
        """The first messages, after how many there are when there are more."""
        more = [f"{self.count} {what}; the first {NAMED} are listed"] if self.count > NAMED else []
        return more + self.first


def _sound(data: bytes | DataError) -> bytes:
    if isinstance(data, DataError):
        raise data
    return data


def audit_images(images: Sequence[Images], aligner: Aligner) -> Audit:
    """Measure alignment and color order of crops, the faces found by an aligner; see :class:`Audit`."""
    run, crop = Run(0), Crop("arcface", REFERENCE_SIZE_PX)
    offsets, scales, colored, warm, count = [], [], 0, 0, len(images)
    one = np.zeros(1, dtype=np.int64)
    for image in images:
        made = aligner.align(ImageBatch(one, one, image[None]), crop, run)
        if made.reasons[0] is None:
            size = max(image.shape[:2])
            points, reference = made.landmarks[0].astype(np.float64), reference_landmarks(size)
            offsets.append((points - reference) * (REFERENCE_SIZE_PX / size))
            scales.append(float(np.std(points, axis=0).sum() / np.std(reference, axis=0).sum()))
        if not (image[..., :1] == image).all():
            quarter = image.shape[0] // 4, image.shape[1] // 4
            middle = image[quarter[0] : -quarter[0] or None, quarter[1] : -quarter[1] or None]
            colored += 1
            warm += bool(middle[..., 0].mean() > middle[..., 2].mean())
    if not offsets:
        return Audit(count, 0, float("nan"), (float("nan"), float("nan")), colored, warm / max(colored, 1))
    residuals = [float(np.linalg.norm(offset, axis=1).mean()) for offset in offsets]
    right, down = np.median([offset.mean(axis=0) for offset in offsets], axis=0)
    shift = (float(right), float(down))
    share = warm / max(colored, 1)
    return Audit(count, len(offsets), float(np.median(residuals)), shift, colored, share, float(np.median(scales)))


def judge_audit(audit: Audit) -> list[str]:
    """What an audit finds wrong."""
    out: list[str] = []
    if audit.found < MIN_FOUND * audit.images:
        out.append(f"alignment: MTCNN finds a face in {audit.found} of {audit.images} images; are they faces?")
    right, down = audit.offset_px
    if max(abs(right), abs(down)) > MAX_OFFSET_PX:
        out.append(f"alignment: faces are shifted by ({right:+.1f}, {down:+.1f}) px of 112 (right, down)")
    elif audit.residual_px > MAX_RESIDUAL_PX:
        out.append(f"alignment: landmarks lie {audit.residual_px:.1f} px of 112 from the ArcFace reference")
    if audit.colored and audit.warm < MIN_WARM:
        share = f"{1 - audit.warm:.0%} of {audit.colored} colored images"
        out.append(f"color order: {share} have more blue than red in the middle; are red and blue exchanged?")
    return out


def no_crops(audit: Audit) -> str:
    """What shows that images are no crops of the template, as one phrase; empty where nothing does.

    Where fewer than half of the images show a face, nothing can be said.
    """
    right, down = audit.offset_px
    low, high = CROP_SCALES
    fits = max(abs(right), abs(down)) <= MAX_CROP_SHIFT_PX and low <= audit.scale <= high
    if fits or audit.found < MIN_FOUND * audit.images:
        return ""
    moved = f"shifted by ({right:+.1f}, {down:+.1f}) px of 112 (right, down) and {audit.scale:.2f} times as large"
    return f"faces are {moved} as in the ArcFace crop (median of {audit.found} that MTCNN finds)"
