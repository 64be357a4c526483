"""Images on their way: batches, what an aligner makes of them, and the plan that lists them beforehand.

Letters: B images of a batch, M planned images, I identities, H, W pixels, S crop size in pixels, D embedding width.
Images are uint8 RGB arrays [B, H, W, 3] at every seam; what a model does inside is its own business.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from harness.arrays import Floats, Images, Ints


@dataclass(frozen=True)
class ImageBatch:
    """Images with the identity and sample each one shows.

    ``landmarks`` float32 [B, 5, 2]: (x, y) of image-left eye, image-right eye, nose tip, image-left and image-right
    mouth corner in pixels, pixel centers at integers; None when unknown. ``attributes``: float32 [B] each, such as
    ``yaw``, ``pitch``, ``roll`` in degrees and ``age`` in years.

    What was read from files says so: ``names`` are their paths below the data set's folder, and ``encoded`` their bytes
    where the images are these files' pixels, unchanged. Both are empty for what was drawn.
    """

    identities: Ints
    samples: Ints
    images: Images
    landmarks: Floats | None = None
    attributes: Mapping[str, Floats] = field(default_factory=dict)
    names: Sequence[str] = ()
    encoded: Sequence[bytes] = ()

    def __len__(self) -> int:
        return len(self.identities)


@dataclass(frozen=True)
class AlignedBatch:
    """What an aligner made of an :class:`ImageBatch`, item for item.

    ``reasons[i]`` is None when the face was found, else why not; ``images`` [B, S, S, 3] is zero there and never
    stored. ``landmarks`` [B, 5, 2] and ``boxes`` [B, 4] (left, top, right, bottom) in pixels of the input image,
    ``scores`` [B] the detector's confidence; NaN when unknown. ``faces`` int64 [B], how many faces the image shows;
    None when the aligner does not count.
    """

    images: Images
    reasons: list[str | None]
    landmarks: Floats
    boxes: Floats
    scores: Floats
    faces: Ints | None = None


@dataclass(frozen=True)
class Request:
    """What a row wants from its generator: ``identities`` x ``per_identity`` images, spares included."""

    identities: int
    per_identity: int


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
