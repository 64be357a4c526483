"""Generation: a generator's images, planned as a whole and sampled shard by shard."""

from __future__ import annotations

from typing import Any

from harness.components.given import Given
from harness.components.images import Request
from harness.graph import GenerateStage
from harness.stages.images import add_batch, draw_shard, finish_raw, prepare_plan, probe
from harness.stages.work import Work


def prepare(work: Work[GenerateStage]) -> dict[str, Any]:
    """Let the generator plan the whole pool."""
    request = Request(work.stage.identities, work.stage.per_identity)
    made = prepare_plan(work, lambda: work.component.plan(request, _given(work), work.run))
    if made["missing"]:
        probe(work, lambda plan: work.component.sample(plan, _given(work), work.run))
    return made


def shard(work: Work[GenerateStage], index: int) -> None:
    """Sample one slice."""
    draw_shard(work, index, lambda plan: work.component.sample(plan, _given(work), work.run), add_batch)


def finish(work: Work[GenerateStage]) -> dict[str, Any]:
    """Join the shards."""
    return finish_raw(work)


def _given(work: Work[GenerateStage]) -> Given:
    return work.given(work.component.needs)
