"""The data that crosses the seams.

Letters: B images of a batch, M planned images, I identities, H, W pixels, S crop size in pixels, D embedding width.
Images are uint8 RGB arrays [B, H, W, 3] at every seam; what a model does inside is its own business.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

    from harness.components.recognizer import Recognizer
    from harness.faces.faceset import FaceSet

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
Images = NDArray[np.uint8]


@dataclass(frozen=True)
class ImageBatch:
    """Images with the identity and sample each one shows.

    ``landmarks`` float32 [B, 5, 2]: (x, y) of image-left eye, image-right eye, nose tip, image-left and image-right
    mouth corner in pixels, pixel centers at integers; None when unknown. ``attributes``: float32 [B] each, such as
    ``yaw``, ``pitch``, ``roll`` in degrees and ``age`` in years.
    """

    identities: Ints
    samples: Ints
    images: Images
    landmarks: Floats | None = None
    attributes: Mapping[str, Floats] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.identities)


@dataclass(frozen=True)
class AlignedBatch:
    """What an aligner made of an :class:`ImageBatch`, item for item.

    ``reasons[i]`` is None when the face was found, else why not; ``images`` [B, S, S, 3] is zero there and never
    stored. ``landmarks`` [B, 5, 2] and ``boxes`` [B, 4] (left, top, right, bottom) in pixels of the input image,
    ``scores`` [B] the detector's confidence; NaN when unknown.
    """

    images: Images
    reasons: list[str | None]
    landmarks: Floats
    boxes: Floats
    scores: Floats


@dataclass(frozen=True)
class Request:
    """What a row wants from its generator: ``identities`` x ``per_identity`` images, spares included.

    ``contexts`` float32 [I, D], one per identity, or None when the suite defines none; ``context_law`` names where
    they come from.
    """

    identities: int
    per_identity: int
    contexts: Floats | None = None
    context_law: str = "none"


@dataclass(frozen=True)
class SamplePlan:
    """Every image that will be sampled, fixed before the first one is.

    ``identities`` and ``samples``, int64 [M], say which image a row is. ``items`` holds further columns per image
    [M, ...]; ``pool`` holds columns per identity [I, ...], indexed by identity number, such as ``context`` and
    ``negative``. A generator's ``sample`` must be a pure function of single rows.
    """

    identities: Ints
    samples: Ints
    items: Mapping[str, Floats] = field(default_factory=dict)
    pool: Mapping[str, Floats] = field(default_factory=dict)

    @classmethod
    def grid(cls, identities: int, per_identity: int, **columns: Any) -> SamplePlan:
        """A full grid, identity by identity; keyword arguments are passed on."""
        return cls(
            identities=np.repeat(np.arange(identities, dtype=np.int64), per_identity),
            samples=np.tile(np.arange(per_identity, dtype=np.int64), identities),
            **columns,
        )

    def __len__(self) -> int:
        return len(self.identities)

    def rows(self, start: int, stop: int) -> SamplePlan:
        """Rows ``start`` to ``stop``; the pool stays whole."""
        items = {name: column[start:stop] for name, column in self.items.items()}
        return SamplePlan(self.identities[start:stop], self.samples[start:stop], items, self.pool)

    def batches(self, size: int) -> Iterator[SamplePlan]:
        """Consecutive slices of at most ``size`` rows."""
        for start in range(0, len(self), size):
            yield self.rows(start, min(start + size, len(self)))


@dataclass(frozen=True)
class Model:
    """All that sampling needs: what ``fit`` returns, what a weights file holds, what ``plan`` and ``sample`` get.

    Attributes:
        kind: what the tensors mean, such as ``latent-diffusion/1``; a generator ``accepts`` kinds.
        settings: plain JSON values to rebuild the network from.
        tensors: weights and tables by name.
        recognizer: the recognizer that gave the contexts, when the model needs it to sample.
        faces: the images themselves, for rows that take existing images (kind ``faces/1``).
    """

    kind: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    tensors: Mapping[str, torch.Tensor] = field(default_factory=dict)
    recognizer: Recognizer | None = None
    faces: FaceSet | None = None


@dataclass(frozen=True)
class PairSet:
    """A verification protocol's pairs over the faces of its face set.

    ``a``, ``b`` int64 [P] index the face set's rows; ``same`` bool [P]; ``fold`` int64 [P].
    """

    a: Ints
    b: Ints
    same: NDArray[np.bool_]
    fold: Ints


@dataclass(frozen=True)
class TemplateSet:
    """A template protocol: sets of its faces, and pairs of those. T templates.

    ``template`` int [N] (from 0 to T - 1), ``media`` int [N] and ``score`` float32 [N], the detector's confidence, are
    of the face set's rows; faces of one template with the same medium belong to one still or video. ``a`` and ``b``,
    int [P], index templates; ``same`` bool [P].
    """

    template: NDArray[np.integer[Any]]
    media: NDArray[np.integer[Any]]
    score: Floats
    a: NDArray[np.integer[Any]]
    b: NDArray[np.integer[Any]]
    same: NDArray[np.bool_]

    def __len__(self) -> int:
        return int(self.template.max(initial=-1)) + 1


@dataclass(frozen=True)
class Subject:
    """What an evaluator looks at; it declares in ``needs`` which fields it must get.

    ``recognizer`` is the row's FR model; ``dataset`` its kept, aligned faces; ``judge`` another recognizer that
    judges datasets; ``protocols`` maps a name to the aligned faces and the pairs, ``templates`` to the aligned faces,
    their templates and the pairs of those; ``source`` is the aligned authentic faces that the dataset is compared with.
    """

    recognizer: Recognizer | None = None
    dataset: FaceSet | None = None
    judge: Recognizer | None = None
    protocols: Mapping[str, tuple[FaceSet, PairSet]] = field(default_factory=dict)
    templates: Mapping[str, tuple[FaceSet, TemplateSet]] = field(default_factory=dict)
    source: FaceSet | None = None


@dataclass(frozen=True)
class Metric:
    """One number with its uncertainty.

    Attributes:
        name: ``benchmark/quantity``, such as ``fw-lfw/accuracy``; letters, digits, ``_ . - /`` only.
        value: the number; accuracies and rates are fractions.
        n: how many pairs, scores or images it rests on.
        interval: 95 percent interval, or None when it is withheld; ``note`` then says why.
        interval_over: what was resampled: ``identities``, ``pairs``, ``folds``.
        method: how: ``bootstrap``, ``jackknife``, ...
        std_folds: standard deviation over the folds, where there are folds.
        protocol: the protocol's name in the suite, when it belongs to one; the engine adds the digest.
    """

    name: str
    value: float
    n: int
    interval: tuple[float, float] | None = None
    interval_over: str = ""
    method: str = ""
    std_folds: float | None = None
    protocol: str = ""
    note: str = ""


@dataclass(frozen=True)
class Report:
    """What an evaluator returns.

    ``figures``: PNG bytes by name; ``tables``: columns by name by table name, such as per-pair scores.
    ``rule``: plain JSON values that define how datasets were judged (subset rule, crop); they enter the protocol
    digest of metrics that belong to no named protocol.
    """

    metrics: list[Metric]
    figures: Mapping[str, bytes] = field(default_factory=dict)
    tables: Mapping[str, Mapping[str, NDArray[Any]]] = field(default_factory=dict)
    rule: Mapping[str, Any] = field(default_factory=dict)
