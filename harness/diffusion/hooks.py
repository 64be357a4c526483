"""Training loops connected to a run: progress, curves, stopping, and one checkpoint for all trainings of a fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import Tensor

from harness.diffusion.training import Hooks

if TYPE_CHECKING:
    from harness.components.run import Run

CHECKPOINTS = 20  # over each training, and more of a long one:
CHECKPOINT_STEPS = 1000  # the most steps that a killed fit does again
WARMUP_STEPS = 100  # of the learning rate schedule "cosine"


def checkpoint_every(steps: int) -> int:
    """Steps between two checkpoints of a training."""
    return min(max(1, steps // CHECKPOINTS), CHECKPOINT_STEPS)


def warmup(steps: int) -> int:
    """Steps of warm-up of a training."""
    return min(WARMUP_STEPS, steps // 10)


def run_hooks(
    run: Run, steps: int, saved: dict[str, Any], name: str, preview: Callable[[int], None] = lambda step: None
) -> Hooks:
    """What a training loop tells the run.

    Args:
        saved: the fit's checkpoint so far; the training's state lies in it under ``name``.
        name: of the training, for progress and curves as well.
        preview: called with the number of finished steps at every checkpoint.
    """
    progress = run.progress(steps, f"{name} steps")

    def on_step(step: int) -> None:
        progress.advance(step - progress.done)

    def save(state: dict[str, Tensor]) -> None:
        saved[name] = state
        run.checkpoint.save(saved)
        preview(int(state["step"]))

    return Hooks(
        on_step=on_step,
        log=lambda what, value, step: run.log(f"{name}/{what}", value, step),
        save=save,
        restore=lambda: saved.get(name),
        stop_requested=lambda: run.stop_requested,
    )
