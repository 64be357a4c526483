"""The faces of a dataset as the training loop reads them: decoded pixels by position.

Letters: N faces, B images of a batch, S side of the crop in pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from harness.arrays import Images, Ints
from harness.errors import DataError, StageError

if TYPE_CHECKING:
    from torch import Tensor

    from harness.faces.faceset import FaceSet

MEMORY_BYTES = 4 << 30  # a dataset of at most this many bytes of pixels is held in memory
UNREADABLE_SHARE = 0.001  # of the images; more of them stop a training


class Pixels(Protocol):
    """What the loop needs of a dataset.

    Attributes:
        labels: class of every face, int64 [N], from 0.
        unreadable: positions of the faces that cannot be read; the loop trains without them.
    """

    labels: Ints
    unreadable: Ints

    def __len__(self) -> int: ...

    def batch(self, which: Ints) -> Tensor:
        """Faces by position, uint8 [B, 3, S, S]."""


class DecodedFaces:
    """The faces of a face set; small datasets are decoded once and kept.

    Raises:
        StageError: more than ``UNREADABLE_SHARE`` of the images cannot be read.
    """

    def __init__(self, faces: FaceSet) -> None:
        self.faces, self.labels = faces, faces.labels
        self._kept: Images | None = None
        self.unreadable = np.zeros(0, np.int64)
        if len(faces) * 3 * faces.crop.size_px**2 <= MEMORY_BYTES:
            self._kept = self._decode()

    def __len__(self) -> int:
        return len(self.faces)

    def batch(self, which: Ints) -> Tensor:
        """Faces by position, uint8 [B, 3, S, S]."""
        import torch

        return torch.from_numpy(_planes(self.faces.images(which)) if self._kept is None else self._kept[which])

    def _decode(self) -> Images:
        try:
            return _planes(self.faces.images())
        except DataError:
            return self._decode_one_by_one()

    def _decode_one_by_one(self) -> Images:
        side = self.faces.crop.size_px
        images = np.zeros((len(self), 3, side, side), np.uint8)
        bad: dict[int, DataError] = {}
        for position in range(len(self)):
            try:
                images[position] = _planes(self.faces.images([position]))[0]
            except DataError as error:
                bad[position] = error
        if len(bad) > UNREADABLE_SHARE * len(self):
            text = f"{len(bad)} of {len(self)} images cannot be read, at most {UNREADABLE_SHARE:.1%} may"
            raise StageError(f"margin trainer: {text}; the first: {next(iter(bad.values()))}")
        self.unreadable = np.array(sorted(bad), np.int64)
        return images


def _planes(images: Images) -> Images:
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))
