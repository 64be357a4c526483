"""Sources: authentic pictures, listed and then drawn or read."""

from __future__ import annotations

from typing import Any

from harness.graph import SourceStage
from harness.stages.images import add_batch, draw_shard, finish_raw, prepare_plan
from harness.stages.work import Work


def prepare(work: Work[SourceStage]) -> dict[str, Any]:
    """List every image."""
    return prepare_plan(work, lambda: work.component.plan(work.run))


def shard(work: Work[SourceStage], index: int) -> None:
    """Draw or read one slice."""
    draw_shard(work, index, lambda plan: work.component.sample(plan, work.run), add_batch)


def finish(work: Work[SourceStage]) -> dict[str, Any]:
    """Join the shards."""
    return finish_raw(work)
