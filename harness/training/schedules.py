"""Learning rates as pure functions: of the step, or of the accuracies measured so far."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.training.settings import MarginSettings

# Of the plateau rule. Source: evaluation code of IDiff-Face and NegFaceDiff
FACTOR = 0.1  # of the learning rate, each time
PATIENCE_EPOCHS = 4  # that bring nothing; the next one that brings nothing lowers the rate
THRESHOLD = 1e-4  # relative gain below which an epoch brought nothing
STOP_EPOCHS = 6  # without a new best, after which training ends


def learning_rate(step: int, steps: int, settings: MarginSettings, accuracies: Sequence[float] = ()) -> float:
    """Learning rate of one step (from 0) of ``steps``: linear warm-up, then decay.

    Args:
        accuracies: of the finished epochs, for ``plateau``.
    """
    warm = settings.warmup * steps
    if step < warm:
        return settings.lr * (step + 1) / (warm + 1)
    if settings.schedule == "plateau":
        return settings.lr * FACTOR ** drops(accuracies)
    if settings.schedule == "steps":
        epoch = step * settings.epochs // steps
        return settings.lr * FACTOR ** sum(epoch >= start for start in settings.steps)
    left = (steps - step) / max(1.0, steps - warm)
    shape = {"cosine": 0.5 - 0.5 * math.cos(math.pi * left), "linear": left, "poly": left**2}
    return settings.lr * shape[settings.schedule]


def drops(accuracies: Sequence[float]) -> int:
    """How often the plateau rule has lowered the rate after these epochs.

    An epoch that is not better than the best one by more than a relative ``THRESHOLD`` is bad; after more than
    ``PATIENCE_EPOCHS`` bad ones in a row the rate falls and the count starts again.
    """
    best, bad, fallen = -math.inf, 0, 0
    for accuracy in accuracies:
        if accuracy > best * (1 + THRESHOLD) or best == -math.inf:
            best, bad = accuracy, 0
            continue
        bad += 1
        if bad > PATIENCE_EPOCHS:
            bad, fallen = 0, fallen + 1
    return fallen


def best_epoch(accuracies: Sequence[float]) -> int:
    """The first of the epochs (from 0) with the highest accuracy."""
    return max(range(len(accuracies)), key=accuracies.__getitem__)


def is_over(accuracies: Sequence[float]) -> bool:
    """Whether the last ``STOP_EPOCHS`` epochs brought no new best, however small."""
    return bool(accuracies) and len(accuracies) - 1 - best_epoch(accuracies) >= STOP_EPOCHS
