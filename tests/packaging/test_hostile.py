"""Plugins that misbehave: they reach no other row, they are named, and nothing waits for them for ever."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

Harness = Callable[..., "subprocess.CompletedProcess[str]"]

PLUGIN = """
import os, signal, subprocess, sys, time
import numpy as np
from harness import Evaluator, Generator, License, Metric, Report, hookimpl
from harness.testing.toy import Toy

MIT = License("MIT", commercial_use="yes")

class Base(Toy):
    license = MIT
    def sample(self, plan, given, run):
        self.misbehave(plan)
        yield from super().sample(plan, given, run)

class Precision(Base):
    def misbehave(self, plan):
        import torch
        torch.set_float32_matmul_precision("medium")
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        torch.set_num_threads(3)
        torch.backends.mkldnn.set_flags(False)
        torch.autocast("cpu", torch.bfloat16).__enter__()

class Patch(Base):
    def misbehave(self, plan):
        import torch.nn.functional as F
        from harness.faces import warp
        F.normalize = lambda x, *a, **k: x * 0 + 1
        F.cross_entropy = lambda *a, **k: None
        os.chdir("/")
        np.linalg.norm = lambda *a, **k: 1.0

class Plan(Base):
    def misbehave(self, plan):
        plan.identities[:] = 0

class Unseeded(Toy):
    license = MIT
    def sample(self, plan, given, run):
        for batch in super().sample(plan, given, run):
            batch.images[:] = np.random.default_rng().integers(0, 255, batch.images.shape)
            yield batch

class Sleeper(Base):
    def misbehave(self, plan):
        time.sleep(600)

class Spinner(Base):
    def misbehave(self, plan):
        while True:
            sum(range(10_000_000))

class Stopped(Base):
    def misbehave(self, plan):
        os.kill(os.getpid(), signal.SIGSTOP)

class Glutton(Base):
    def misbehave(self, plan):
        self.held = [np.ones(50_000_000) for _ in range(8)]  # 3.2 GB
        time.sleep(60)

class Parent(Base):
    def misbehave(self, plan):
        subprocess.Popen(["sleep", "1234"])
        os.kill(os.getpid(), signal.SIGSTOP)

class Quitter(Base):
    def misbehave(self, plan):
        sys.exit("enough")

class Vandal(Generator):
    license = MIT
    needs = frozenset({"model", "contexts"})
    accepts = {"model": frozenset({"latent-diffusion/1"})}
    def sample(self, plan, given, run):
        for tensor in given.model.tensors.values():
            tensor.mul_(0)
        yield from Toy().sample(plan, given, run)

class Twice(Evaluator):
    license = MIT
    needs = frozenset({"dataset"})
    def evaluate(self, given, run):
        return Report([Metric("separability/fdr", 99.0, 1), Metric("twice/own", 1.0, 1)])

class Escape(Evaluator):
    license = MIT
    needs = frozenset({"dataset"})
    def evaluate(self, given, run):
        return Report([Metric("escape/own", 1.0, 1)], figures={"../../../escaped": b"png"})

NAMES = [Precision, Patch, Plan, Unseeded, Sleeper, Spinner, Stopped, Glutton, Parent, Quitter, Vandal]

@hookimpl
def register_generators(register):
    for cls in NAMES:
        register(cls.__name__.lower(), f"hostile:{cls.__name__}")

@hookimpl
def register_evaluators(register):
    register("twice", "hostile:Twice")
    register("escape", "hostile:Escape")
"""
EVENTS = """
import sys
from harness import hookimpl

@hookimpl
def suite_started(plan, workdir):
    raise RuntimeError("not today")

@hookimpl
def row_finished(result, folder):
    sys.exit(3)
"""
SUITE: dict[str, Any] = {
    "name": "hostile",
    "crop_px": 32,
    "sources": {
        "judged": {
            "use": "faceworld",
            "range": "judge",
            "identities": 8,
            "per_identity": 6,
            "size_px": 32,
            "mode": "mild",
        }
    },
    "recognizers": {
        "cond": {"weights": "demo:cond"},
        "judge": {"train": "margin", "source": "judged", "aligner": "landmarks", "recipe": "tiny", "seed": 1},
    },
    "models": {"ldm": {"weights": "demo:ldm"}},
    "dataset": {
        "identities": 4,
        "per_identity": 6,
        "contexts": {"use": "class-gaussian", "source": "judged", "recognizer": "cond"},
    },
    "aligner": "none",
    "trainer": {"use": "margin", "recipe": "tiny"},
    "evaluate": [{"use": "separability", "judge": "judge"}],
}
RIVALS = {
    "rival": {"use": "toy", "settings": {"spread": 0.3}},
    "idiffface": {"use": "idiffface", "model": "ldm", "settings": {"steps": 2}},
}


@pytest.fixture
def package(make_plugin: Callable[..., Path]) -> Path:
    return make_plugin("hostile", hostile=PLUGIN)


def write(folder: Path, rows: dict[str, Any], **changes: Any) -> Path:
    path = folder / "suite.yaml"
    path.write_text(json.dumps({**SUITE, "rows": rows, **changes}), encoding="utf-8")  # JSON is YAML
    return path


def results(workdir: Path) -> dict[str, dict[str, Any]]:
    found = (json.loads(path.read_text()) for path in (workdir / "results" / "hostile").glob("*/seed-0/results.json"))
    return {result["row"]: result for result in found}


def outcome(result: dict[str, Any]) -> tuple[Any, Any]:
    stages = {stage["kind"]: stage["content"] for stage in result["stages"]}
    return stages, [(metric["name"], metric["value"]) for metric in result["metrics"]]


def test_other_rows_are_as_if_it_were_not_there(harness: Harness, package: Path, tmp_path: Path) -> None:
    apart = ("--workers", "1", "--workdir")
    clean = harness("run", write(tmp_path, RIVALS), *apart, tmp_path / "clean", packages=[package])
    assert clean.returncode == 0, clean.stderr
    rows = {name: {"use": name} for name in ("precision", "patch", "plan", "unseeded", "quitter")}
    rows["vandal"] = {"use": "vandal", "model": "ldm"}
    done = harness("run", write(tmp_path, {**rows, **RIVALS}), *apart, tmp_path / "both", packages=[package])
    assert done.returncode == 1
    expected, found = results(tmp_path / "clean"), results(tmp_path / "both")
    for name in RIVALS:
        assert outcome(found[name]) == outcome(expected[name]), f"{name} differs"
    toy = outcome(found["precision"])[0]
    assert toy["generate"] == outcome(found["patch"])[0]["generate"], "both draw what the toy draws by default"
    errors = {name: found[name]["error"] for name in rows}
    assert errors["precision"] == errors["patch"] == ""
    assert "(plan): plan changed the plan it was given; work on a copy" in errors["plan"]
    assert "(vandal): vandal changed the model it was given; work on a copy" in errors["vandal"]
    assert "(unseeded): unseeded drew the same images twice and they differ" in errors["unseeded"]
    assert "(quitter): SystemExit: enough" in errors["quitter"]


def test_what_makes_no_progress_is_ended_and_named(harness: Harness, package: Path, tmp_path: Path) -> None:
    states = {"sleeper": "waiting", "spinner": "computing", "stopped": "stopped"}
    suite = write(tmp_path, {**{name: {"use": name} for name in states}, "rival": RIVALS["rival"]})
    done = harness("run", suite, "--workers", "3", "--patience", "0.25", packages=[package])
    assert done.returncode == 1
    found = results(tmp_path / "runs")
    for name, state in states.items():
        assert f"generate ({name}): no progress for" in found[name]["error"]
        assert f"was {state}), so its worker was ended" in found[name]["error"]
    assert found["rival"]["status"] == "done"
    assert "rival" in done.stdout, "the board appears"


def test_memory_has_a_limit(harness: Harness, package: Path, tmp_path: Path) -> None:
    suite = write(tmp_path, {"glutton": {"use": "glutton"}, "rival": RIVALS["rival"]})
    done = harness("run", suite, "--workers", "1", "--memory", "1.5", packages=[package])
    assert done.returncode == 1
    found = results(tmp_path / "runs")
    assert "generate (glutton): its worker held " in found["glutton"]["error"]
    assert "more than the 1.5 GiB that a worker may hold" in found["glutton"]["error"]
    assert found["rival"]["status"] == "done"


def _is_called(process: psutil.Process, name: str) -> bool:
    try:
        return process.name() == name
    except psutil.NoSuchProcess:  # workers come and go
        return False


def test_a_stopped_worker_and_its_children_end_with_the_run(package: Path, tmp_path: Path) -> None:
    suite = write(tmp_path, {"parent": {"use": "parent"}})
    environment = {**os.environ, "PYTHONPATH": str(package), "OMP_NUM_THREADS": "1"}
    command = [Path(sys.executable).with_name("harness"), "run", suite, "--workdir", tmp_path / "runs"]
    run = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    family: list[psutil.Process] = []
    deadline = time.monotonic() + 120
    while not any(_is_called(child, "sleep") for child in family):
        assert run.poll() is None
        assert time.monotonic() < deadline
        family = psutil.Process(run.pid).children(recursive=True)
        time.sleep(0.05)
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert not psutil.wait_procs(family, timeout=30)[1]


def test_listeners_that_fail_or_exit_stop_nobody(
    harness: Harness, make_plugin: Callable[..., Path], tmp_path: Path
) -> None:
    listening = make_plugin("listening", listening=EVENTS)
    done = harness("run", write(tmp_path, {"rival": RIVALS["rival"]}), packages=[listening])
    assert done.returncode == 0
    assert "Leaderboard: hostile" in done.stdout
    assert "plugin listening failed on suite_started: RuntimeError: not today" in done.stderr
    assert "plugin listening failed on row_finished: SystemExit: 3" in done.stderr


def test_a_metric_given_twice_and_a_figure_that_leaves_its_folder(
    harness: Harness, package: Path, tmp_path: Path
) -> None:
    both = [*SUITE["evaluate"], {"use": "twice"}]
    done = harness("run", write(tmp_path, {"rival": RIVALS["rival"]}, evaluate=both), packages=[package])
    assert done.returncode == 0
    (result,) = results(tmp_path / "runs").values()
    fdr = [metric["value"] for metric in result["metrics"] if metric["name"] == "separability/fdr"]
    assert len(fdr) == 1
    assert fdr[0] != 99.0
    warning = "separability/fdr of twice is left out: separability gives a metric of that name"
    assert result["warnings"] == [warning]
    assert warning in " ".join(done.stdout.split())
    out = harness("run", write(tmp_path, {"rival": RIVALS["rival"]}, evaluate=[{"use": "escape"}]), packages=[package])
    assert out.returncode == 1
    assert "'../../../escaped' names a figure or table" in results(tmp_path / "runs")["rival"]["error"]
    assert not list(tmp_path.rglob("*escaped*"))


def test_a_plugin_that_hangs_at_import_is_named(
    harness: Harness, make_plugin: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging = make_plugin("hanging", hanging="import time\ntime.sleep(3600)\n")
    monkeypatch.setenv("HARNESS_IMPORT_LIMIT_S", "3")  # of 60
    done = harness("plugins", packages=[hanging])
    assert done.returncode == 0
    assert "hanging  (harness-hanging 0.3)  FAILED: TimeoutError: took more than 3 s to import" in done.stdout
