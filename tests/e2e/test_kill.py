"""Runs that are really killed: whatever the stage, the next run ends with the same contents."""

import contextlib
import random
import signal
import subprocess
import time

import psutil
import pytest
from filelock import FileLock, Timeout
from suites import TINY, command, contents, environment, run_suite

# In the order in which the tiny suite gets to them for the first time.
KINDS = ["source", "protocol", "contexts", "fit", "generate", "align", "train", "evaluate"]
SOME_ROWS = ("--only", "idiffface", "--only", "toy")  # with every kind of stage


def _start(workdir, *args):
    return subprocess.Popen(
        command("run", str(TINY), "--workers", "2", *args),
        env=environment(workdir),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _wait_for(kind, workdir, process, seconds=300):
    """Wait until a stage of that kind is being built by this process; False when the run ended first."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        building = (workdir / "store" / ".building").glob(f"{kind}-*")
        if any(_is_held(workdir / "store" / ".locks" / f"{folder.name}.lock") for folder in building):
            return True
        if process.poll() is not None:
            return False
        time.sleep(0.002)
    raise AssertionError(f"no {kind} stage was started in {seconds} s")


def _is_held(path):
    """Whether somebody builds under this lock; a killed run leaves the file behind, but not the lock."""
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return True
    lock.release()
    return False


def _family(process):
    return psutil.Process(process.pid).children(recursive=True)


def _gone(processes, seconds=30):
    return not psutil.wait_procs(processes, timeout=seconds)[1]


@pytest.mark.slow
def test_killed_in_every_stage_and_started_again(tiny, tmp_path):
    killed = []
    for kind in KINDS:
        process = _start(tmp_path)
        if _wait_for(kind, tmp_path, process):
            workers = _family(process)
            process.send_signal(signal.SIGKILL)
            process.wait()
            assert _gone(workers), f"a worker outlived its parent, killed in {kind}"
            killed.append(kind)
        process.wait()
    assert killed == KINDS
    run_suite(tmp_path)
    assert contents(tmp_path) == contents(tiny[0])
    assert not list((tmp_path / "store" / ".building").glob("*"))


def _kill_a_worker(process):
    """Kill one fork of the run's fork server; they come and go with each stage, so the first that is still there."""
    for child in _family(process):
        with contextlib.suppress(psutil.NoSuchProcess):
            if child.ppid() != process.pid:
                child.kill()
                return True
    return False


def test_killed_worker_is_replaced(tiny, tmp_path):
    process = _start(tmp_path)
    assert _wait_for("generate", tmp_path, process)
    while not _kill_a_worker(process):
        assert process.poll() is None, "the run ended before a worker could be killed"
    assert process.wait(timeout=1200) == 0
    assert contents(tmp_path) == contents(tiny[0])


def kill_at_drawn_moments(seed, workdir, seconds):
    """Up to four kills of the run or of one of its processes, at moments drawn from as many seconds; how many fell."""
    drawn = random.Random(seed)
    kills = 0
    for _ in range(drawn.randint(1, 4)):
        process = _start(workdir, *SOME_ROWS)
        whole = drawn.random() < 0.5
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(drawn.uniform(0, seconds))
        family = _family(process) if process.poll() is None else []
        if process.poll() is None:
            victim = psutil.Process(process.pid) if whole or not family else drawn.choice(family)
            with contextlib.suppress(psutil.NoSuchProcess):
                victim.kill()
                kills += 1
        if not whole:
            process.wait(timeout=1200)  # it may go on, or end with a failed stage
        process.wait(timeout=60)
        assert _gone(family)
    return kills


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_killed_at_drawn_moments(seed, tiny, tmp_path):
    assert kill_at_drawn_moments(seed, tmp_path, seconds=30)
    run_suite(tmp_path, *SOME_ROWS)
    assert contents(tmp_path).items() <= contents(tiny[0]).items()
    assert {kind for kind, _ in contents(tmp_path)} >= set(KINDS)
    assert not list((tmp_path / "store" / ".building").glob("*"))


@pytest.mark.slow
def test_two_runs_at_once_share_the_work(tiny, tmp_path):
    processes = [_start(tmp_path), _start(tmp_path)]
    assert [process.wait(timeout=1200) for process in processes] == [0, 0]
    assert contents(tmp_path) == contents(tiny[0])


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_asked_to_stop_in_a_fit_it_keeps_the_training_so_far(number, tmp_path):
    long = ("--set", "models.ldm.settings.steps=100000", "--only", "idiffface")
    process = subprocess.Popen(
        command("run", str(TINY), *long),
        env=environment(tmp_path),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert any("denoiser steps" in line for line in process.stderr)  # it trains
    family = _family(process)
    process.send_signal(number)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "stopped; run the same command again and it goes on from here" in said
    assert _gone(family)
    assert list((tmp_path / "store" / ".building").glob("fit-*/**/checkpoint*"))
