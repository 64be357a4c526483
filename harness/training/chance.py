"""A training that learns nothing is stopped: its labels are shuffled, or its rate is wrong.

Images that were never seen tell most: 100 people x 8 images with shuffled labels stay at chance for five epochs and are
then learned by heart, with their own labels they leave it within the first (small-cnn on the face world, one seed).

Letters: B images of a batch, C classes.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from harness.errors import StageError
from harness.ranks import Ranks

LEAST_STEPS = 30  # before an epoch is judged, ...
CLASSES_A_STEP = 10  # ... and a step for so many classes, since few images a class are learned late
LEVEL = 0.01  # an epoch is at chance unless so many right answers by chance are rarer than this


class ChanceCheck:
    """Counts, epoch by epoch, how often the nearest class center is the true one.

    Args:
        classes: C; chance is 1 / C.
        warm_steps: that the learning rate rises; epochs that hold one of them are not judged.
    """

    def __init__(self, classes: int, warm_steps: float) -> None:
        self.classes, self.warm_steps = classes, warm_steps
        self.least_steps = max(LEAST_STEPS, classes // CLASSES_A_STEP)
        self._right: Tensor | int = 0
        self._seen = self._first = 0

    def see(self, step: int, cosines: Tensor, labels: Tensor) -> None:
        """Count a step's right answers, on the device; cosines [B, C], labels [B]."""
        if self._seen == 0:
            self._first = step
        self._right = self._right + (cosines.argmax(1) == labels).sum()
        self._seen += len(labels)

    def check(self, done: int, ranks: Ranks) -> None:
        """Judge the epoch that ends after ``done`` steps, over all processes.

        Raises:
            StageError: it is at chance.
        """
        from scipy.stats import binom

        right, seen, first = round(ranks.mean(float(self._right)) * ranks.count), self._seen * ranks.count, self._first
        self._right = self._seen = 0
        if first < self.warm_steps or done < self.least_steps:
            return
        if binom.sf(right - 1, seen, 1 / self.classes) > LEVEL:
            raise StageError(
                f"margin trainer: after {done} steps the loss is at chance: {right} of {seen} images are nearest to "
                f"their own of {self.classes} class centers, {seen / self.classes:.0f} would be by chance; are the "
                f"identities of the dataset shuffled, or lr or scale too high?"
            )

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"right": int(self._right), "seen": self._seen, "first": self._first}

    def restore(self, state: dict[str, Any]) -> None:
        """Take what a checkpoint kept."""
        self._right, self._seen, self._first = state["right"], state["seen"], state["first"]
