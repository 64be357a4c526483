"""The package of ``docs/writing-a-plugin.md``, installed beside the environment and never into it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "writing-a-plugin.md"
TIME_LIMIT_S = 300

Harness = Callable[..., "subprocess.CompletedProcess[str]"]


def blocks(text: str) -> list[tuple[str, str]]:
    """The code blocks of a page that name a file, as (name, content)."""
    return re.findall(r"^```\w+ (\S[^\n]*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a reader of the page has."""
    folder = tmp_path_factory.mktemp("project")
    for name, content in blocks(PAGE.read_text(encoding="utf-8")):
        path = folder / name.removesuffix(" (continued)")
        before = path.read_text(encoding="utf-8") + "\n\n" if name.endswith(" (continued)") else ""
        path.write_text(before + content, encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def installed(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PYTHONPATH that holds the installed package."""
    folder = tmp_path_factory.mktemp("installed")
    offline = ["--no-index", "--disable-pip-version-check", "--no-deps", "--no-build-isolation"]
    command = [sys.executable, "-m", "pip", "install", "--quiet", *offline, "--target", str(folder), str(project)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIME_LIMIT_S, check=False)
    assert not done.returncode, done.stderr
    return folder


@pytest.fixture
def harness(tmp_path: Path) -> Harness:
    """Runs the command line in a process of its own, with further folders of packages."""

    def run(*arguments: str | Path, packages: list[Path]) -> subprocess.CompletedProcess[str]:
        paths = {"PYTHONPATH": os.pathsep.join(map(str, packages))}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
        return subprocess.run(
            [str(Path(sys.executable).with_name("harness")), *map(str, arguments)],
            env={**inherited, **paths, "OMP_NUM_THREADS": "1", "HARNESS_WORKDIR": str(tmp_path / "runs")},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=TIME_LIMIT_S,
            check=False,
        )

    return run


@pytest.fixture
def make_plugin(tmp_path: Path) -> Callable[..., Path]:
    """Puts modules and an entry point into a folder, as an installation would; gives the folder."""

    def make(name: str, **modules: str) -> Path:
        folder = tmp_path / f"installed-{name}"
        info = folder / f"harness_{name}-0.3.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: harness-{name}\nVersion: 0.3\n")
        (info / "entry_points.txt").write_text(f"[facegen_harness]\n{name} = {name}\n")
        for module, source in modules.items():
            (folder / f"{module}.py").write_text(source)
        return folder

    return make
