"""`harness components` tells every setting: of rows, of fits, and what recipes stand for."""

from __future__ import annotations

import json

from click.testing import CliRunner

from harness.cli import main


def test_settings_of_rows_and_of_fits_are_listed() -> None:
    text = CliRunner().invoke(main, ["components", "generators"]).output
    _, _, idiffface = text.partition("  idiffface: ")
    row, _, fit = idiffface.partition("  toy: ")[0].partition("to fit a model:")
    assert "sampler" in row
    assert "cpd" not in row
    assert "cpd [0.25]" in fit
    assert "autoencoder_steps [20000]" in fit
    assert "to fit" not in text.partition("  toy: ")[2].partition("  unconditional: ")[0], "it is not fitted"


def test_recipes_are_listed() -> None:
    assert 'recipe tiny: {"epochs": 1' in CliRunner().invoke(main, ["components", "trainers"]).output
    listed = json.loads(CliRunner().invoke(main, ["components", "trainers", "--json"]).output)
    assert listed["trainers"]["margin"]["recipes"]["small-clean"] == {}
