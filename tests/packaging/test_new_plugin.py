"""`harness new-plugin`: what it writes passes its tests and gets a row, by the steps with which the tutorial begins."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.cli import main
from harness.cli.new_plugin import KINDS
from harness.results import read_result

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "writing-a-plugin.md"
LIMIT_S = 900
Harness = Callable[..., "subprocess.CompletedProcess[str]"]


def new_plugin(folder: Path, name: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package that is written, with the entry point beside its modules that an installation would make."""
    monkeypatch.chdir(folder)
    done = CliRunner().invoke(main, ["new-plugin", name, "--kind", kind])
    assert done.exit_code == 0, done.output
    package = folder / f"harness-{name}"
    project = tomllib.loads((package / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    info = package / "src" / f"{project['name'].replace('-', '_')}-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    points = [f"{key} = {value}" for key, value in project["entry-points"]["facegen_harness"].items()]
    (info / "entry_points.txt").write_text("\n".join(["[facegen_harness]", *points, ""]))
    return package


@pytest.mark.parametrize("kind", KINDS)
def test_its_own_tests_pass(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = new_plugin(tmp_path, f"my-{kind}", kind, monkeypatch)
    monkeypatch.syspath_prepend(package / "src")
    monkeypatch.setenv("PYTHONPATH", str(package / "src"))  # for the check that imports it in a process of its own
    spec = importlib.util.spec_from_file_location("its_tests", package / "tests" / "test_contract.py")
    assert spec is not None
    assert spec.loader is not None
    tests = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tests)
    tests.test_the_contract(*([tmp_path / "faces"] if kind == "evaluator" else []))
    tests.test_it_is_light()
    assert importlib.import_module(f"harness_my_{kind}").HARNESS_HOOKS == 1


@pytest.mark.parametrize("kind", KINDS)
def test_its_suite_is_valid_and_it_is_listed(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harness: Harness
) -> None:
    package = new_plugin(tmp_path, "fresh", kind, monkeypatch)
    listed = json.loads(harness("plugins", "fresh", "--json", packages=[package / "src"]).stdout)
    assert [(p["error"], p["distribution"], len(p["registered"])) for p in listed] == [("", "harness-fresh", 1)]
    done = harness("plan", package / "suite.yaml", packages=[package / "src"])
    assert done.returncode == 0, done.stderr
    assert "2 rows x 1 seeds" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["Ovals"], "plugin name 'Ovals': expected small letters and digits"),
        (["two  words"], "plugin name 'two words': expected small letters"),
        (["a--b"], "such as my-evaluator"),
        (["../up"], "expected small letters"),
        (["x" * 41], "at most 40"),
        (["toy"], "plugin name 'toy' is taken by facegen-harness; choose another one"),
        (["harness"], "plugin name 'harness' is taken by facegen-harness"),
        (["there"], "harness-there exists; remove it or choose another name"),
    ],
)
def test_what_it_refuses(arguments: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "harness-there").mkdir()
    if "my-evaluator" in says:
        arguments = [*arguments, "--kind", "evaluator"]
    done = CliRunner().invoke(main, ["new-plugin", *arguments])
    assert done.exit_code == 2
    (line,) = done.output.splitlines()
    assert says in line
    assert [path.name for path in tmp_path.rglob("*")] == ["harness-there"], "nothing is written"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment of a user's own, whose packages are those of this one, and which reaches no index."""
    folder = tmp_path / "environment"
    venv.create(folder, symlinks=True)
    binaries = folder / "bin"
    own = sysconfig.get_path("purelib", "venv", {"base": str(folder)})
    borrowed = sysconfig.get_path("purelib")
    (Path(own) / "borrowed.pth").write_text(f"import site; site.addsitedir({borrowed!r})\n")
    for command in ("pip", "pytest", "harness"):
        script = binaries / command
        script.write_text(f'#!/bin/sh\nexec "{binaries}/python" -m {command} "$@"\n')
        script.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "HARNESS_"))}
    offline = {"PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0", "OMP_NUM_THREADS": "1"}
    return {**kept, **offline, "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}"}


@pytest.mark.slow
def test_the_tutorial(tmp_path: Path, environment: dict[str, str]) -> None:
    steps = re.search(r"```\n(harness new-plugin .*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert steps
    done = subprocess.run(
        ["sh", "-e"],
        input=steps[1],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout
    assert "ovals  (harness-ovals 0.1.0)" in done.stdout
    board = done.stdout[done.stdout.rindex("Leaderboard: ovals") :]
    rows = re.findall(r"^│ (\w+)", done.stdout, re.MULTILINE)
    assert {"authentic", "ovals"} <= set(rows)
    assert "FDR" in board
    results = tmp_path / "harness-ovals" / "runs" / "results" / "ovals"
    for row in ("authentic", "ovals"):
        result = read_result(results / row / "seed-0" / "results.json")
        assert result.status == "done"
        assert result.environment.plugins["harness-ovals"] == "0.1.0"
        assert {"fw-lfw/accuracy", "separability/fdr"} <= {metric.name for metric in result.metrics}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["evaluator", "recognizer"])
def test_the_suites_of_the_other_kinds_run(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harness: Harness
) -> None:
    package = new_plugin(tmp_path, "fresh", kind, monkeypatch)
    done = harness("run", package / "suite.yaml", packages=[package / "src"])
    assert done.returncode == 0, done.stderr
    rows = {"evaluator": {"authentic", "toy"}, "recognizer": {"fresh", "small-cnn"}}[kind]
    assert rows <= set(re.findall(r"^│ ([\w-]+)", done.stdout, re.MULTILINE))
    results = [read_result(path) for path in (tmp_path / "runs" / "results").rglob("results.json")]
    assert [result.status for result in results] == ["done", "done"]
    wanted = "fresh/mean" if kind == "evaluator" else "fw-lfw/accuracy"
    assert all(wanted in {metric.name for metric in result.metrics} for result in results)


@pytest.mark.slow
def test_what_it_writes_is_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packages = [new_plugin(tmp_path, f"my-{kind}", kind, monkeypatch) for kind in KINDS]
    command = [sys.executable, "-m", "mypy"]  # with our own settings, which are strict, and the cache of `make check`
    modules = [str(path) for package in packages for path in package.glob("src/*/*.py")]
    assert len(modules) == 6
    env = {**os.environ, "MYPYPATH": os.pathsep.join(str(package / "src") for package in packages)}
    done = subprocess.run(
        [*command, *modules],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout
