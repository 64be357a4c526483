"""Suites for tests: one to change and to plan, and the tiny one with runs of it through the real command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "tests" / "suites" / "tiny.yaml"

BASE = """
name: small
seeds: [0]
crop_px: 32
sources:
  world: {use: faceworld, range: train, identities: 12, per_identity: 24, size_px: 32}
  others: {use: faceworld, range: judge, identities: 8, per_identity: 6, size_px: 32}
recognizers:
  cond: {train: margin, source: world, view: raw, recipe: tiny}
  judge: {train: margin, source: others, aligner: landmarks, recipe: tiny, seed: 1}
models:
  ldm: {fit: idiffface, source: world, recognizer: cond, settings: {size_px: 32, network: demo, steps: 4}}
dataset:
  identities: 10
  per_identity: 20
  spare: {identities: 2, images: 4}
  contexts: {use: class-gaussian, source: world, recognizer: cond}
aligner: none
trainer: {use: margin, recipe: tiny}
rows:
  authentic: {use: authentic, source: world}
  idiffface: {use: idiffface, model: ldm, settings: {steps: 2}}
  negfacediff: {use: negfacediff, model: ldm, settings: {w: 0.5}}
protocols:
  fw-lfw: {use: fw-lfw, pairs: 200, size_px: 32}
evaluate:
  - {use: verification, protocols: [fw-lfw]}
  - {use: separability, judge: judge}
"""


def write(folder: Path, **sections: Any) -> Path:
    """A suite file: the base with sections replaced; to the tables of names, such as rows, entries are added."""
    data = yaml.safe_load(BASE)
    for name, value in sections.items():
        data[name] = {**data[name], **value} if isinstance(data.get(name), dict) else value
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "suite.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
    return path


def command(*args: str) -> list[str]:
    """The command line as a user calls it."""
    return [str(Path(sys.executable).parent / "harness"), *args]


def environment(workdir: Path) -> dict[str, str]:
    """This process's environment with its own workdir and no tracking server."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    return {**kept, "HARNESS_WORKDIR": str(workdir)}


def run_suite(workdir: Path, *args: str, suite: Path = TINY) -> subprocess.CompletedProcess[str]:
    """Run a suite to its end."""
    done = subprocess.run(
        command("run", str(suite), *args),
        env=environment(workdir),
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def contents(workdir: Path) -> dict[tuple[str, str], str]:
    """The content digest of every artifact in a store."""
    paths = (workdir / "store").glob("[!.]*/*/manifest.json")  # not what was set aside as damaged
    manifests = [json.loads(path.read_text()) for path in paths]
    return {(made["kind"], made["key"]): made["content"] for made in manifests}
