"""``harness weights import``: what it writes and what it says of wrong arguments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from harness.builtin.small_cnn import SmallCNN, SmallCNNSettings
from harness.cli.weights import weights
from harness.errors import InputError
from harness.store.weights import read_info, weights_content

MODEL = ["--as", "latent-diffusion", "--unet", "FILE", "--encoder", "FILE", "--decoder", "FILE"]


def run(*arguments: str) -> Any:
    return CliRunner().invoke(weights, ["import", *arguments])


def test_the_command(tmp_path: Path) -> None:
    source, out = tmp_path / "a.pt", tmp_path / "new" / "out.safetensors"
    torch.save(SmallCNN(SmallCNNSettings(width=16)).state(), source)
    common = [str(source), "--as", "small-cnn", "--set", "width=16", "--view", "raw", "--size-px", "32"]
    done = run(*common, "--license", "MIT", "--commercial-use", "yes", "-o", str(out))
    assert done.exit_code == 0, done.output
    assert weights_content(out)[:12] in done.output
    assert "license MIT, commercial use yes" in done.output
    info = read_info(out)
    assert (info.settings, info.view, info.size_px, info.commercial_use) == ({"width": 16}, "raw", 32, "yes")
    again = run(*common, "-o", str(out))
    assert isinstance(again.exception, InputError)
    assert "exists; remove it" in str(again.exception)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--as", "small-cnn"], "--as small-cnn needs FILE"),
        (["FILE", "--as", "small-cnn"], "--as small-cnn needs --view"),
        (["FILE", "--as", "small-cnn", "--view", "raw", "--unet", "FILE"], "--as small-cnn takes no --unet"),
        (["FILE", "--as", "small-cnm", "--view", "raw"], "did you mean 'small-cnn'"),
        (["FILE", "--as", "small-cnn", "--view", "raw", "--set", "width"], "--set width: expected key=value"),
        (["FILE", "--as", "small-cnn", "--view", "raw", "--set", "width=1"], "small-cnn: width: "),
        (["--as", "latent-diffusion", "--unet", "FILE"], "--as latent-diffusion needs --encoder"),
        ([*MODEL, "--set", "depth=100"], "--set depth: --as latent-diffusion takes cpd alone"),
        ([*MODEL, "--set", "cpd=1"], "--set cpd=1: expected a number from 0 to below 1"),
        ([*MODEL, "--set", "cpd=yes"], "--set cpd=True: expected a number"),
        (["--as", "vq-f4"], "--as vq-f4 needs FILE, or --encoder and --decoder"),
        (["--as", "vq-f4", "--encoder", "FILE"], "--as vq-f4 needs --decoder"),
        (["FILE", "--as", "vq-f4", "--encoder", "FILE"], "--as vq-f4 takes no --encoder"),
        (["FILE", "--as", "vq-f4", "--size-px", "64"], "--as vq-f4 takes no --size-px"),
    ],
)
def test_the_command_says_what_is_wrong(tmp_path: Path, arguments: list[str], message: str) -> None:
    torch.save({"a.weight": torch.ones(2, 3)}, tmp_path / "a.pt")
    given = [str(tmp_path / "a.pt") if text == "FILE" else text for text in arguments]
    done = run(*given, "-o", str(tmp_path / "out.safetensors"))
    assert isinstance(done.exception, InputError)
    assert message in str(done.exception)
    wrong = run(*given, "-o", str(tmp_path / "out.pt"))
    assert "ends in .safetensors" in str(wrong.exception)
