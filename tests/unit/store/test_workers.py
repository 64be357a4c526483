"""The worker pool: outcomes, deaths, stops, and workers that end with their parent."""

import os
import subprocess
import sys
import textwrap
import time

import psutil
import pytest

from harness.store.workers import MAX_DEATHS, Pool, Task

TASKS = """
import os, signal, time
from pathlib import Path

def double(x, emit, should_stop):
    emit("progress", {"done": x})
    return 2 * x

def fail(emit, should_stop):
    raise ValueError("bad value")

def die_until(path, deaths, emit, should_stop):
    marks = Path(path)
    seen = len(list(marks.glob("*")))
    (marks / str(seen)).touch()
    if seen < deaths:
        os.kill(os.getpid(), signal.SIGKILL)
    return "survived"

def wait_for_stop(emit, should_stop):
    emit("started", {})
    while not should_stop():
        time.sleep(0.01)
    return "stopped"

def pid(path, emit, should_stop):
    Path(path).write_text(str(os.getpid()))
    time.sleep(600)
"""


@pytest.fixture
def tasks(tmp_path, monkeypatch):
    (tmp_path / "pool_tasks.py").write_text(TASKS)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "pool_tasks"


def drain(pool, seconds=60):
    outcomes, deadline = [], time.monotonic() + seconds
    while pool.busy:
        assert time.monotonic() < deadline
        outcomes += pool.step(0.1)
    return outcomes


def test_values_events_and_errors(tasks):
    events = []
    pool = Pool(2, lambda tag, kind, data: events.append((tag, kind, data)))
    for number in range(5):
        pool.submit(Task(f"{tasks}:double", (number,), tag=number))
    pool.submit(Task(f"{tasks}:fail", (), tag="f"))
    outcomes = drain(pool)
    pool.close()
    assert {o.task.tag: o.value for o in outcomes if not o.error} == {n: 2 * n for n in range(5)}
    (bad,) = [o for o in outcomes if o.error]
    assert (bad.error, bad.message) == ("ValueError", "bad value")
    assert "fail" in bad.trace
    assert (3, "progress", {"done": 3}) in events


def test_workers_import_nothing_from_the_current_folder(tmp_path):
    here = tmp_path / "here"
    for name in ("harness", "numpy", "random", "tempfile"):
        (here / name).mkdir(parents=True)
        (here / name / "__init__.py").write_text(f"from pathlib import Path\nPath({str(tmp_path / name)!r}).touch()\n")
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
        import os
        from harness.store.workers import Pool, Task
        if __name__ == "__main__":
            pool = Pool(1, lambda *event: None, preload="harness.stages.warm")
            pool.submit(Task("pool_tasks:double", (21,)))
            while pool.busy:
                for outcome in pool.step(0.1):
                    print(outcome.value, outcome.message, os.environ.get("PYTHONSAFEPATH"))
            pool.close()
        """)
    )
    (tmp_path / "pool_tasks.py").write_text(TASKS)
    done = subprocess.run(
        [sys.executable, str(script)], cwd=here, capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.split() == ["42", "None"], done
    assert not [name for name in ("harness", "numpy", "random", "tempfile") if (tmp_path / name).exists()]


def test_killed_worker_is_replaced_and_its_task_repeated(tasks, tmp_path):
    marks = tmp_path / "marks"
    marks.mkdir()
    pool = Pool(1, lambda *event: None)
    pool.submit(Task(f"{tasks}:die_until", (str(marks), MAX_DEATHS - 1)))
    (outcome,) = drain(pool)
    pool.close()
    assert outcome.value == "survived"


def test_task_that_always_kills_its_worker_is_an_error(tasks, tmp_path):
    marks = tmp_path / "marks"
    marks.mkdir()
    pool = Pool(1, lambda *event: None)
    pool.submit(Task(f"{tasks}:die_until", (str(marks), 1000)))
    (outcome,) = drain(pool)
    pool.close()
    assert outcome.error == "WorkerDied"
    assert "SIGKILL" in outcome.message
    assert len(list(marks.glob("*"))) == MAX_DEATHS


def test_stop_reaches_running_tasks(tasks):
    pool = Pool(1, lambda *event: None)
    pool.submit(Task(f"{tasks}:wait_for_stop", ()))
    pool.submit(Task(f"{tasks}:wait_for_stop", ()))
    pool.step(1.0)
    pool.request_stop()
    (outcome,) = drain(pool)
    pool.close()
    assert outcome.value == "stopped"


def test_tasks_of_a_failed_stage_leave_the_queue(tasks):
    pool = Pool(1, lambda *event: None)
    for tag in ("broken", "broken", "other", "broken"):
        pool.submit(Task(f"{tasks}:wait_for_stop", (), tag))
    pool.step(1.0)
    assert pool.drop(lambda tag: tag == "broken") == 1, "one is running"
    assert pool.drop(lambda tag: tag == "other") == 0
    pool.request_stop()
    (outcome,) = drain(pool)
    pool.close()
    assert outcome.task.tag == "broken"


def test_worker_ends_with_its_killed_parent(tasks, tmp_path):
    mark = tmp_path / "pid"
    script = textwrap.dedent(f"""
        import sys
        sys.path.insert(0, {str(tmp_path)!r})
        from harness.store.workers import Pool, Task
        if __name__ == "__main__":
            pool = Pool(1, lambda *event: None)
            pool.submit(Task("pool_tasks:pid", ({str(mark)!r},)))
            while True:
                pool.step(0.1)
    """)
    path = tmp_path / "parent.py"
    path.write_text(script)
    parent = subprocess.Popen([sys.executable, str(path)], env={**os.environ})
    try:
        worker = _wait(lambda: mark.exists() and mark.read_text() and psutil.Process(int(mark.read_text())))
    finally:
        parent.kill()
        parent.wait()
    _wait(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)


def _wait(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError("the condition did not come true")
