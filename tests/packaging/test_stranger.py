"""A stranger's plugin, in a package outside the repository: it works, and when it is broken nobody else is."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harness.components import ImageBatch, SamplePlan
from harness.errors import StageError
from harness.results import read_result
from harness.stages.images import checked

PAGE = Path(__file__).parents[2] / "docs" / "writing-a-plugin.md"
Harness = Callable[..., "subprocess.CompletedProcess[str]"]
MakePlugin = Callable[..., Path]

WRECK = "raise RuntimeError('wrecked on purpose')\n"
SEER = """
from harness import License, hookimpl
from harness.plugins import registry
from harness.testing.toy import Toy

class Seer(Toy):
    license = License("MIT")
    def sample(self, plan, given, run):
        raise RuntimeError("loaded here: " + ", ".join(plugin.distribution for plugin in registry().loaded))

@hookimpl
def register_generators(register):
    register("seer", "seer:Seer")

@hookimpl
def row_finished(result):
    pass
"""
LATER = """
from harness import hookimpl

HARNESS_HOOKS = 99
"""
LIGHT = """
from harness.hookspecs import hookimpl

@hookimpl
def register_generators(register):
    register("leak", "leak_inside:Leak")
"""
MISSPELT = """
from harness.hookspecs import hookimpl

@hookimpl
def register_generator(register):
    register("typo", "typo:Typo")
"""


def only_line(text: str) -> str:
    (line,) = text.strip().splitlines()
    return line


def documented(line: str) -> bool:
    """Whether the page's table of errors has this line, where ``...`` stands for anything."""
    told = re.findall(r"`([^`]+)`", PAGE.read_text(encoding="utf-8").partition("## When something is wrong")[2])
    return any(re.search(re.escape(text).replace(r"\.\.\.", ".*"), line) for text in told if len(text) > 30)


def test_the_package_is_one_file(project: Path) -> None:
    assert sorted(path.name for path in project.iterdir() if path.suffix in (".py", ".toml", ".yaml")) == [
        "blobs.py",
        "pyproject.toml",
        "suite.yaml",
        "test_blobs.py",
    ]


def test_it_is_listed(installed: Path, harness: Harness) -> None:
    done = harness("plugins", "--json", packages=[installed])
    assert not done.returncode, done.stderr
    listed = {plugin["name"]: plugin for plugin in json.loads(done.stdout)}
    blobs = listed["blobs"]
    assert (blobs["distribution"], blobs["version"], blobs["error"]) == ("harness-blobs", "0.1.0", "")
    assert [(r["kind"], r["name"], r["target"]) for r in blobs["registered"]] == [
        ("generators", "blobs", "blobs:Blobs"),
        ("evaluators", "brightness", "blobs:Brightness"),
    ]
    assert "harness" in listed


def test_its_own_test_passes(installed: Path, project: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(project)]
    env = {**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "test_blobs.py"], cwd=project, env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert not done.returncode, done.stdout
    assert "1 passed" in done.stdout


def test_it_runs_in_a_suite_that_names_it(installed: Path, project: Path, harness: Harness, tmp_path: Path) -> None:
    suite = project / "suite.yaml"
    done = harness("run", suite, "--workers", "1", "--device", "cpu", packages=[installed])
    assert not done.returncode, done.stderr
    result = read_result(tmp_path / "runs" / "results" / "stranger" / "blobs" / "seed-0" / "results.json")
    assert (result.status, result.error, result.generator) == ("done", "", "blobs")
    assert {"separability/fdr", "separability/eer", "brightness/mean"} <= {metric.name for metric in result.metrics}
    assert result.environment.plugins["harness-blobs"] == "0.1.0"
    assert result.dataset is not None
    assert (result.dataset.identities, result.dataset.images) == (4, 24)
    assert "blobs" in done.stdout, "the leaderboard shows the row"
    assert "missing" not in harness("plan", suite, packages=[installed]).stdout, "all stages are in the store"


def test_an_edit_never_meets_an_old_result(installed: Path, project: Path, harness: Harness, tmp_path: Path) -> None:
    edited = tmp_path / "edited"
    edited.mkdir()
    (edited / "blobs.py").write_text((installed / "blobs.py").read_text() + "\n# edited\n")
    before = harness("plan", project / "suite.yaml", packages=[installed]).stdout
    after = harness("plan", project / "suite.yaml", packages=[edited, installed]).stdout
    assert before != after
    (generate,) = [line for line in before.splitlines() if "generate" in line]
    (judge,) = [line for line in before.splitlines() if "recognizer judge" in line]
    assert generate not in after
    assert judge in after, "what does not depend on the plugin keeps its key"


@pytest.mark.parametrize(
    "override",
    ["rows.blobs.use=blob", "rows.blobs.settings.spred=1", "rows.blobs.settings.size_px=8"],
    ids=["name", "setting", "range"],
)
def test_what_is_wrong_in_a_suite_is_told_as_documented(
    override: str, installed: Path, project: Path, harness: Harness, tmp_path: Path
) -> None:
    done = harness("run", project / "suite.yaml", "--set", override, packages=[installed])
    assert done.returncode == 2
    assert documented(only_line(done.stderr)), done.stderr
    assert not (tmp_path / "runs").exists(), "nothing was started"


def test_what_is_wrong_with_images_is_told_as_documented() -> None:
    plan = SamplePlan.grid(4, 6)
    images = np.zeros((24, 32, 32, 3), np.uint8)
    wrong = {
        "floats": [ImageBatch(plan.identities, plan.samples, images.astype(np.float32))],
        "order": [ImageBatch(plan.identities[::-1], plan.samples[::-1], images)],
        "count": [ImageBatch(plan.identities[:10], plan.samples[:10], images[:10])],
    }
    for batches in wrong.values():
        with pytest.raises(StageError) as caught:
            list(checked(iter(batches), plan, "blobs"))
        assert documented(str(caught.value)), caught.value


def test_a_plugin_that_fails_to_import_stops_nobody_else(
    installed: Path, project: Path, harness: Harness, make_plugin: MakePlugin, tmp_path: Path
) -> None:
    packages = [make_plugin("wreck", wreck=WRECK), make_plugin("typo", typo=MISSPELT), installed]
    listed = harness("plugins", packages=packages)
    assert not listed.returncode, listed.stderr
    failed = [line for line in listed.stdout.splitlines() if "FAILED" in line]
    assert failed[0].startswith("typo  (harness-typo 0.3)  FAILED: ")
    assert documented(failed[0])
    assert failed[1:] == ["wreck  (harness-wreck 0.3)  FAILED: RuntimeError: wrecked on purpose"]
    assert "blobs  (harness-blobs 0.1.0)" in listed.stdout

    needless = harness("plan", project / "suite.yaml", packages=packages)
    assert not needless.returncode, needless.stderr

    named = harness("run", project / "suite.yaml", "--set", "rows.blobs.use=wreck", packages=packages)
    assert named.returncode == 2
    line = only_line(named.stderr)
    assert "rows.blobs.use: unknown generator 'wreck'" in line
    assert "plugin harness-wreck failed to load: RuntimeError: wrecked on purpose" in line
    assert not (tmp_path / "runs").exists(), "nothing was started"


def test_a_component_that_fails_to_import_is_named(
    installed: Path, project: Path, harness: Harness, make_plugin: MakePlugin
) -> None:
    packages = [make_plugin("leak", leak=LIGHT, leak_inside=WRECK), installed]
    assert "FAILED" not in harness("plugins", packages=packages).stdout
    done = harness("run", project / "suite.yaml", "--set", "rows.blobs.use=leak", packages=packages)
    assert done.returncode == 2
    line = only_line(done.stderr)
    assert "generator 'leak' of harness-leak fails to import: RuntimeError: wrecked on purpose" in line
    assert "rows.blobs.use" in line


def test_what_a_plugin_watches_and_which_hooks_it_was_written_for_is_told(
    harness: Harness, make_plugin: MakePlugin
) -> None:
    listed = harness("plugins", packages=[make_plugin("seer", seer=SEER), make_plugin("later", later=LATER)]).stdout
    assert "seer  (harness-seer 0.3)\n  generators: seer\n  watches: row_finished\n" in listed
    (failed,) = [line for line in listed.splitlines() if "FAILED" in line]
    assert failed.startswith(
        "later  (harness-later 0.3)  FAILED: InputError: written for hooks 99, this harness has 1;"
    )


def test_only_allowed_plugins_are_loaded_in_workers_too(
    installed: Path,
    project: Path,
    harness: Harness,
    make_plugin: MakePlugin,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    packages = [make_plugin("seer", seer=SEER), make_plugin("wreck", wreck=WRECK), installed]
    values = (
        "rows.blobs={use: seer}",
        "recognizers.judge={weights: demo:judge}",
        "evaluate=[{use: separability, judge: judge}]",
    )
    override = [part for value in values for part in ("--set", value)]
    monkeypatch.setenv("HARNESS_PLUGINS", "harness-seer, Harness_Wreck")
    done = harness("run", project / "suite.yaml", *override, "--workers", "1", packages=packages)
    assert done.returncode == 1, done.stderr
    result = read_result(tmp_path / "runs" / "results" / "stranger" / "blobs" / "seed-0" / "results.json")
    assert "loaded here: facegen-harness, harness-seer, harness-wreck" in result.error
    assert result.environment.plugins == {"harness-seer": "0.3", "harness-wreck": "0.3"}


def test_no_plugins_leaves_the_core(
    installed: Path, project: Path, harness: Harness, make_plugin: MakePlugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = [make_plugin("wreck", wreck=WRECK), installed]
    monkeypatch.setenv("HARNESS_PLUGINS", "harness-blobs")  # the option wins
    listed = harness("--no-plugins", "plugins", packages=packages).stdout
    assert "blobs  (harness-blobs 0.1.0)  left out by HARNESS_PLUGINS\n" in listed
    assert "FAILED" not in listed, "what is left out is not imported"
    done = harness("--no-plugins", "plan", project / "suite.yaml", packages=packages)
    assert done.returncode == 2
    assert re.search("unknown generator 'blobs'.*; HARNESS_PLUGINS leaves out harness-blobs, ", only_line(done.stderr))


def test_an_allow_list_with_a_typo_is_told(installed: Path, harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_PLUGINS", "harness-blob")
    done = harness("plugins", packages=[installed])
    assert done.returncode == 2
    assert "HARNESS_PLUGINS: unknown plugin distribution 'harness-blob', expected one of " in only_line(done.stderr)
