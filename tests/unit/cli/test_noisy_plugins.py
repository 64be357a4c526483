"""What a plugin prints, and what it calls itself, does not break what the command line lists."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PLUGIN = """
from harness.hookspecs import hookimpl

print("hello from the plugin")

@hookimpl
def register_sources(register):
    print("hello from the hook")
    register(name="noisy", target="noisy_source:Noisy")
"""
SOURCE = '''
from pydantic import Field
from harness.components import Settings, Source

print("hello from the component")

class NoisySettings(Settings):
    """Settings."""

    word: str = Field("x", description="first \\x1b[2J\\nsecond")

class Noisy(Source):
    """A source \\x1b]0;owned\\x07 with a name."""

    Settings = NoisySettings

    def plan(self, run):
        """None."""

    def sample(self, plan, run):
        """None."""
'''


@pytest.fixture
def noisy(tmp_path: Path) -> dict[str, str]:
    """An environment with a distribution, laid out by hand, whose plugin prints at import; and a broken one."""
    (tmp_path / "noisy.py").write_text(PLUGIN)
    (tmp_path / "noisy_source.py").write_text(SOURCE)
    (tmp_path / "broken.py").write_text('raise ValueError("no \\x1b[2J luck")\n')
    info = tmp_path / "noisy-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: noisy\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[facegen_harness]\nnoisy = noisy\nbroken = broken\n")
    return os.environ | {"PYTHONPATH": str(tmp_path)}


def listed(env: dict[str, str], *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "harness", *args], capture_output=True, text=True, check=False, env=env
    )


def test_lists_are_json_whatever_a_plugin_prints(noisy: dict[str, str]) -> None:
    done = listed(noisy, "plugins", "--json")
    (found,) = (each for each in json.loads(done.stdout) if each["name"] == "noisy")
    assert found["registered"] == [{"kind": "sources", "name": "noisy", "target": "noisy_source:Noisy"}]
    assert "hello from the plugin\nhello from the hook\n" in done.stderr
    done = listed(noisy, "components", "sources", "--json")
    assert json.loads(done.stdout)["sources"]["noisy"]["distribution"] == "noisy"
    assert "hello from the component" in done.stderr


def test_names_and_descriptions_are_text(noisy: dict[str, str]) -> None:
    for args in (["plugins"], ["components", "sources"]):
        done = listed(noisy, *args)
        assert done.returncode == 0
        assert "noisy" in done.stdout
        assert "\x1b" not in done.stdout
        assert "hello" not in done.stdout
    assert r"A source \x1b]0;owned\x07 with a name." in done.stdout
    assert r"first \x1b[2J\nsecond" in done.stdout
