"""What a helper of a fit on several devices fails with reaches the pool, while the worker waits for it."""

import time

from harness.store.workers import Pool, Task

TASKS = """
import time
from pathlib import Path
from harness.stages.helpers import helpers
from harness.graph import FitStage, StageId

def wait_for_a_helper(root, emit, should_stop):
    stage = FitStage(
        key="k",
        label="model x",
        component="idiffface",
        target="harness_idiffface.generator:IDiffFace",
        source=StageId("source", "lost"),
    )
    with helpers(stage, Path(root), "cpu", 2, emit):
        time.sleep(600)
"""


def test_the_error_of_a_helper_is_the_stages_error(tmp_path, monkeypatch):
    (tmp_path / "helper_tasks.py").write_text(TASKS)
    monkeypatch.syspath_prepend(str(tmp_path))
    pool = Pool(1, lambda *event: None)
    pool.submit(Task("helper_tasks:wait_for_a_helper", (str(tmp_path / "store"),)))
    outcomes, deadline = [], time.monotonic() + 120
    while not outcomes:
        assert time.monotonic() < deadline
        outcomes += pool.step(0.1)
    pool.close()
    (outcome,) = outcomes
    assert "lost" in outcome.message
    assert "help_stage" in outcome.trace
