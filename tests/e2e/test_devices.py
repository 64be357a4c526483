"""A fit and an FR training on two devices, here two processes on the CPU, through the command line."""

import json
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from suites import command, contents, environment, run_suite

STEPS = 8
SUITE = f"""
name: devices
seeds: [0]
crop_px: 32
sources:
  world: {{use: faceworld, range: train, identities: 8, per_identity: 4, size_px: 32, mode: mild}}
recognizers:
  cond: {{weights: demo:cond}}
models:
  id3:
    fit: id3
    source: world
    recognizer: cond
    settings: {{size_px: 32, network: demo, autoencoder_steps: 2, steps: {STEPS}, batch_size: 4, devices: 2}}
dataset:
  identities: 4
  per_identity: 2
  contexts: {{use: uniform, recognizer: cond}}
aligner: none
trainer: {{use: margin, recipe: tiny}}
rows:
  id3: {{use: id3, model: id3}}
protocols:
  fw-lfw: {{use: fw-lfw, pairs: 200, size_px: 32}}
evaluate:
  - {{use: verification, protocols: [fw-lfw]}}
"""


def _wait_for_a_picture(workdir: Path, process: "subprocess.Popen[bytes]", seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not list((workdir / "store" / ".building").glob("fit-*/figures/denoiser-*.png")):
        assert process.poll() is None, "the run ended before its denoiser kept a checkpoint"
        assert time.monotonic() < deadline, f"no checkpoint of the denoiser in {seconds} s"
        time.sleep(0.01)


@pytest.mark.slow
def test_a_fit_on_two_devices_killed_and_started_again(tmp_path: Path) -> None:
    suite = tmp_path / "suite.yaml"
    suite.write_text(SUITE)
    run_suite(tmp_path / "whole", "--until", "fit", suite=suite)
    process = subprocess.Popen(
        command("run", str(suite), "--until", "fit"),
        env=environment(tmp_path / "killed"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _wait_for_a_picture(tmp_path / "killed", process)
    family = psutil.Process(process.pid).children(recursive=True)
    helpers = [child for child in family if "harness.stages.help" in " ".join(child.cmdline())]
    assert len(helpers) == 1, "the worker is one of the two"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not psutil.wait_procs(family, timeout=30)[1], "a process outlived the run"
    assert not contents(tmp_path / "killed").keys() & {key for key in contents(tmp_path / "whole") if key[0] == "fit"}
    run_suite(tmp_path / "killed", "--until", "fit", suite=suite)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    assert any(kind == "fit" for kind, _ in contents(tmp_path / "whole"))


def _losses(workdir: Path) -> list[tuple[int, float]]:
    (manifest,) = (workdir / "store").glob("train/*/manifest.json")
    return [tuple(point) for point in json.loads(manifest.read_text())["curves"]["loss"]]


@pytest.mark.slow
def test_two_processes_follow_the_loss_of_one_with_the_same_batch(tmp_path: Path) -> None:
    found = {}
    for devices in (1, 2):
        # a low rate, at which rounding is not amplified; in float64 the two agree at any to seven digits
        settings = f"{{epochs: 6, batch_size: 16, lr: 0.002, devices: {devices}}}"
        rows = "rows:\n  toy: {use: authentic, source: world}"
        text = SUITE.replace("recipe: tiny}", f"recipe: tiny, settings: {settings}}}")
        text = text.replace("identities: 4", "identities: 8").replace("per_identity: 2", "per_identity: 4", 1)
        suite = tmp_path / f"{devices}.yaml"
        suite.write_text(text.replace("rows:\n  id3: {use: id3, model: id3}", rows))
        run_suite(tmp_path / str(devices), "--until", "train", suite=suite)
        found[devices] = _losses(tmp_path / str(devices))
    assert [step for step, _ in found[1]] == [0, 10, 11]
    assert found[1][-1][1] < found[1][0][1] - 0.5, "it learns"
    assert found[2] == [(step, pytest.approx(loss, rel=1e-3)) for step, loss in found[1]]
