"""Contexts: the identity vectors of synthetic people."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.components.images import SamplePlan
from harness.errors import StageError
from harness.graph import ContextsStage
from harness.stages.plans import write_plan
from harness.stages.work import Work
from harness.store.keys import digest


def finish(work: Work[ContextsStage]) -> dict[str, Any]:
    """Draw all of them."""
    count, given = work.stage.count, work.given(work.component.needs)
    contexts = work.component.draw(count, given, work.run)
    width = given.recognizer.width
    if contexts.shape != (count, width) or not np.isfinite(contexts).all():
        raise StageError(f"contexts are {list(contexts.shape)}, expected finite [{count}, {width}]")
    everyone = np.arange(count, dtype=np.int64)
    table = np.ascontiguousarray(contexts, dtype=np.float32)
    people = work.component.people(count, given, work.run)
    pool = {"context": table} | ({} if people is None else {"person": people})
    write_plan(work.folder, SamplePlan(everyone, np.zeros_like(everyone), pool=pool))
    # Rounded: the last bits of an embedding depend on the processor.
    return {"content": digest(np.round(table, 5).tolist()), "counts": {"contexts": count}, "details": {}}
