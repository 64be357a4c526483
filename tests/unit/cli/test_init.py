"""``harness init``: the suite that it writes is valid, its commented-out examples too, and nothing is overwritten."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

from harness.cli import main
from harness.planning.planner import plan_suite
from harness.store.shipped import demo_path
from harness.suites.read import load_suite
from harness.suites.schema import Suite

TEMPLATE = files("harness.cli").joinpath("suite_template.yaml").read_text(encoding="utf-8")


def init(folder: Path) -> Path:
    done = CliRunner().invoke(main, ["init", str(folder)])
    assert done.exit_code == 0, done.output
    assert f"harness run {folder / 'suite.yaml'}" in done.output
    return folder / "suite.yaml"


def test_the_suite_resolves(tmp_path: Path) -> None:
    suite = load_suite(init(tmp_path / "new"))
    assert list(suite.rows) == ["authentic", "idiffface", "negfacediff", "id3"]
    assert [entry.use for entry in suite.evaluate] == ["verification", "separability"]


def test_the_suite_is_planned(tmp_path: Path) -> None:
    missing = [name for name in ("cond", "judge", "ldm", "id3") if not demo_path(name).exists()]
    if missing:
        pytest.skip(f"demo weights {', '.join(missing)} are not there")
    path = init(tmp_path)
    plan = plan_suite(load_suite(path), path)
    assert all(len(row.stages) == 5 for row in plan.row_plans)
    assert plan.row_plans[-1].shipped == ("demo:cond", "demo:id3", "demo:judge")


def test_every_key_of_a_suite_is_shown() -> None:
    assert set(yaml.safe_load(TEMPLATE)) == set(Suite.model_fields)


def test_the_commented_out_examples_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = re.compile(r"^  # (?=[a-z]+:|  |- )", flags=re.MULTILINE)
    text = example.sub("  ", TEMPLATE).replace("data: {}", "data:")
    assert text != TEMPLATE
    for person in range(2):
        for where in ("photos", "dcface"):
            folder = tmp_path / "data" / where / str(person)
            folder.mkdir(parents=True)
            Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / "0.png")
    for name in ("judge.safetensors", "casia.safetensors"):
        (tmp_path / name).touch()
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "data"))
    (tmp_path / "suite.yaml").write_text(text, encoding="utf-8")
    suite = load_suite(tmp_path / "suite.yaml")
    assert {"photos", "published"} <= set(suite.sources)
    assert suite.sources["photos"].settings["identities"] == [0, 30]
    assert {"mine", "own", "finished"} <= set(suite.recognizers)
    assert suite.models["own"].fit == "idiffface"
    assert {"published", "mixed", "smaller", "finished"} <= set(suite.rows)
    assert suite.data["photos"].terms == "research only"
    assert suite.protocols["photos"].source == "photos"
    assert suite.sources["others"].settings["identities"] == [30, 40]
    assert suite.evaluate[-2].source == "others"
    assert suite.evaluate[-1].gate["crops/warmth"].then == "warn"


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    path = init(tmp_path)
    path.write_text("name: mine\n", encoding="utf-8")
    done = CliRunner().invoke(main, ["init", str(tmp_path)])
    assert done.exit_code == 2
    assert "exists; remove it or choose another folder" in done.output
    assert path.read_text(encoding="utf-8") == "name: mine\n"
