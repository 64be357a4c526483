"""The faces of a dataset as the training loop reads them: decoded pixels by position.

Letters: N faces, B images of a batch, S side of the crop in pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from harness.arrays import Ints
from harness.errors import DataError, StageError

if TYPE_CHECKING:
    from torch import Tensor

    from harness.components.run import Run
    from harness.faces.faceset import FaceSet
    from harness.training.arrays import FaceArray

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
    """The faces of a face set, decoded once for all trainings and epochs (:func:`harness.training.arrays.decoded`).

    Raises:
        StageError: more than ``UNREADABLE_SHARE`` of the images cannot be read.
    """

    def __init__(self, faces: FaceSet, run: Run) -> None:
        from harness.training.arrays import decoded

        self.labels, self.unreadable = faces.labels, np.zeros(0, np.int64)
        try:
            self._array = decoded(faces, run)
        except DataError:  # some image is damaged: see which
            self._array = self._readable(faces)

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, which: Ints) -> Tensor:
        """Faces by position, uint8 [B, 3, S, S]."""
        import torch

        return self._array.batch(torch.from_numpy(np.asarray(which, np.int64)))

    def _readable(self, faces: FaceSet) -> FaceArray:
        """All faces in memory, those that cannot be read as black ones."""
        import torch

        from harness.training.arrays import FaceArray

        side = faces.crop.size_px
        images = np.zeros((len(self), side, side, 3), np.uint8)
        bad: dict[int, DataError] = {}
        for position in range(len(self)):
            try:
                images[position] = faces.images([position])[0]
            except DataError as error:
                bad[position] = error
        if len(bad) > UNREADABLE_SHARE * len(self):
            text = f"{len(bad)} of {len(self)} images cannot be read, at most {UNREADABLE_SHARE:.1%} may"
            raise StageError(f"margin trainer: {text}; the first: {next(iter(bad.values()))}")
        self.unreadable = np.array(sorted(bad), np.int64)
        return FaceArray(torch.from_numpy(images), torch.from_numpy(self.labels))
