"""The power fails at ten moments: what was reported as done is on the disk, whole.

A run works on a file system in a file. Whenever it reports a stage as done it is stopped, and the file is copied as it
is: that is what a disk holds when the power fails, since what the system has only in memory is not in it. The copy is
mounted, which repairs the file system, and read.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from suites import TINY, command, environment

from harness.results import FILE_NAME, read_result
from harness.store.artifacts import Store

DISK_MB = 192
MOMENTS = 10
DONE = re.compile(r"^(?:\[\d+/\d+\] )?(?P<label>.+): done in ")


def call(*words: object) -> None:
    subprocess.run([str(word) for word in words], check=True, capture_output=True)


@contextlib.contextmanager
def mounted(image: Path, place: Path) -> Iterator[Path]:
    place.mkdir()
    call("mount", "-o", "loop,commit=300", image, place)  # and so nothing is flushed but by asking for it
    try:
        yield place
    finally:
        call("umount", "--lazy", place)


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    image = tmp_path / "disk.img"
    with image.open("wb") as file:
        file.truncate(DISK_MB << 20)
    try:
        call("mkfs.ext4", "-q", "-F", image)
        with mounted(image, tmp_path / "probe"):
            pass
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this machine mounts no file system from a file")
    return image


def keys(workdir: Path, *options: str) -> dict[str, tuple[str, str]]:
    """Kind and key of every stage by its label."""
    done = subprocess.run(command("plan", str(TINY), *options), capture_output=True, text=True, check=True)
    lines = (line.split(maxsplit=3) for line in done.stdout.splitlines() if line.startswith("  missing "))
    return {label.partition("  (")[0]: (kind, key) for _, kind, key, label in lines}


def stop(run: subprocess.Popen[str], number: int) -> None:
    whole = psutil.Process(run.pid)
    os.kill(run.pid, number)  # first, so that it starts no other
    for process in whole.children(recursive=True):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)


def check(image: Path, place: Path, reported: set[tuple[str, str]]) -> None:
    """Every artifact that is there is whole, and all that were reported are there; so are results."""
    with mounted(image, place):
        store = Store(place / "runs" / "store")
        there = {(path.parent.parent.name, path.parent.name) for path in store.root.glob("[!.]*/*/manifest.json")}
        assert reported <= there
        for id in there:
            artifact = store.find(*id)
            assert artifact is not None
            assert artifact.fault() == "", id
        for path in (place / "runs" / "results").glob(f"**/{FILE_NAME}"):
            assert read_result(path).status == "done"


@pytest.mark.slow
def test_what_was_reported_as_done_survives(disk: Path, tmp_path: Path) -> None:
    rows = ("--only", "toy", "--only", "authentic")
    labels, reported, cuts = keys(tmp_path), set(), 0
    with mounted(disk, tmp_path / "disk"):
        settings = {**environment(tmp_path / "disk" / "runs"), "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/ml.db"}
        run = subprocess.Popen(
            command("run", str(TINY), *rows, "--workers", "2"),
            env=settings,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert run.stderr is not None
            for line in run.stderr:
                found = DONE.match(line)
                if not found:
                    continue
                reported.add(labels[found["label"]])
                if cuts < MOMENTS:
                    stop(run, signal.SIGSTOP)
                    shutil.copyfile(disk, tmp_path / "cut.img")
                    stop(run, signal.SIGCONT)
                    check(tmp_path / "cut.img", tmp_path / f"cut-{cuts}", set(reported))
                    cuts += 1
            assert run.wait() == 0
        finally:
            run.kill()  # or the file system stays in use
            run.wait()
        shutil.copyfile(disk, tmp_path / "cut.img")  # right after its end, of which the result files tell
        check(tmp_path / "cut.img", tmp_path / "last", reported)
        results = list((tmp_path / "disk" / "runs" / "results").glob(f"**/{FILE_NAME}"))
    assert cuts == MOMENTS
    assert len(results) == 2
