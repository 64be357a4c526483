"""What a stage took is added up over phases, processes and interruptions."""

import math

from harness.graph import TrainStage
from harness.stages.work import Work
from harness.store.artifacts import WORK, Store

STAGE = TrainStage(key="t", label="train")


def work(root, points, since, seconds):
    """One process that works on the stage for a while."""
    at_work = Work(STAGE, Store(root), "cpu", lambda *event: None, lambda: False)
    for step, value in points:
        at_work.run.log("loss", value, step)
    at_work.spend(since, seconds)
    return at_work


def test_a_later_process_goes_on_where_the_curve_was(tmp_path):
    work(tmp_path, [(0, 3.0), (10, 2.0), (20, 1.5)], since=100.0, seconds=5.0)
    found = work(tmp_path, [(15, 1.75), (25, 1.0)], since=200.0, seconds=7.0).spent()
    assert (found.since, found.seconds) == (100.0, 12.0)
    assert found.curves == {"loss": [(0, 3.0), (10, 2.0), (15, 1.75), (25, 1.0)]}


def test_values_that_json_does_not_know_leave_a_gap(tmp_path):
    found = work(tmp_path, [(0, math.inf), (1, 1.0), (2, math.nan)], since=0.0, seconds=1.0).spent()
    assert found.curves == {"loss": [(1, 1.0)]}


def test_half_a_line_is_passed_over(tmp_path):
    at_work = work(tmp_path, [], since=5.0, seconds=2.0)
    with (at_work.folder / WORK / "spent.jsonl").open("a") as file:
        file.write('{"since": 1.0, "sec')
    assert at_work.spent().seconds == 2.0
