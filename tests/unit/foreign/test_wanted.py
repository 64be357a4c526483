"""``harness weights check`` names what is wrong with the way pictures are given, and says so where nothing is.

The shipped judge stands behind an adapter that undoes one fault, so these weights want the fault; the pairs are those
of ``fw-lfw``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch.nn import functional as F

from harness.builtin.faceworld import FwLfw
from harness.builtin.mtcnn import MTCNNAligner
from harness.builtin.onnx import ONNXRecognizer, ONNXSettings
from harness.cli import main
from harness.components import Crop, NetworkRecognizer, Recognizer, Run
from harness.errors import InputError
from harness.faces.crops import reference_landmarks
from harness.faces.warp import similarity
from harness.foreign.wanted import PairSample, Wanted, find_wanted, sample_pairs
from harness.stages.opening import load_recognizer
from harness.store.shipped import demo_path

SIZE_PX = 32
PAIRS = 120  # of fewer, some faults make a difference that chance could make
Change = Callable[[torch.Tensor], torch.Tensor]


class Adapted(NetworkRecognizer):
    """The judge, or another network, behind a change of its pictures."""

    def __init__(self, network: torch.nn.Module, change: Change) -> None:
        super().__init__(takes=Crop("arcface", SIZE_PX))
        self.network, self.change = network, change

    @property
    def width(self) -> int:
        return 64

    def features(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.network(self.change(x))
        return out


@pytest.fixture(scope="module")
def sample() -> PairSample:
    return sample_pairs(FwLfw(FwLfw.Settings(pairs=PAIRS, size_px=40)), PAIRS, Run(0))


@pytest.fixture(scope="module")
def judge() -> torch.nn.Module:
    network: torch.nn.Module = load_recognizer(demo_path("judge")).network  # type: ignore[attr-defined]
    return network


def check(recognizer: Recognizer, sample: PairSample) -> Wanted:
    return find_wanted(recognizer, sample, Run(0))


def moved(points: np.ndarray) -> Change:
    """Brings a crop whose reference landmarks are ``points`` back to the judge's."""
    (matrix,) = similarity(reference_landmarks(SIZE_PX)[None], points)  # from the judge's pixels to the crop's
    scale = 2 / SIZE_PX  # grid_sample counts from -1 to 1 between the outer edges
    linear = matrix[:, :2]
    offset = (linear @ np.full(2, SIZE_PX / 2 - 0.5) + matrix[:, 2] + 0.5) * scale - 1
    theta = torch.tensor(np.column_stack([linear, offset]), dtype=torch.float32)[None]

    def change(x: torch.Tensor) -> torch.Tensor:
        grid = F.affine_grid(theta.expand(len(x), 2, 3), list(x.shape), align_corners=False)
        return F.grid_sample(x + 1, grid, align_corners=False) - 1  # black outside

    return change


def right(px: float) -> np.ndarray:
    return reference_landmarks(SIZE_PX) + np.array([px * SIZE_PX / 112, 0])


FAULTS: dict[str, tuple[Change, str]] = {
    "BGR": (lambda x: x.flip(1), "bgr instead of rgb"),
    "scale 0 to 1": (lambda x: x * 2 - 1, "values 0 to 1 instead of values -1 to 1"),
    "scale 0 to 255": (lambda x: x / 127.5 - 1, "values 0 to 255 instead of values -1 to 1"),
    "shifted": (moved(right(8)), "arcface crops shifted by 8 px right instead of arcface crops"),
    "another template": (moved(reference_landmarks(SIZE_PX, "dlib-chip")), "dlib-chip crops instead of arcface crops"),
}


SLOW = ("scale 0 to 1", "scale 0 to 255", "another template")  # each fault takes seconds


@pytest.mark.parametrize("fault", [pytest.param(f, marks=pytest.mark.slow) if f in SLOW else f for f in FAULTS])
def test_a_planted_fault_is_named(fault: str, sample: PairSample, judge: torch.nn.Module) -> None:
    change, expected = FAULTS[fault]
    line = check(Adapted(judge, change), sample).line("weights", "fw-lfw")
    assert line.startswith(f"weights wants {expected} (separation ")
    assert "\n" not in line


def test_weights_whose_table_forgot_to_normalize(sample: PairSample, judge: torch.nn.Module) -> None:
    """Described as taking 0 to 255, as an ONNX file's settings do, they want -1 to 1."""

    class Exported(ONNXRecognizer):
        def load(self, tensors: Mapping[str, torch.Tensor], device: str = "cpu") -> None:
            self._model = dict(tensors)

        def _embed(self, values: Any) -> Any:
            return judge(torch.from_numpy(values)).numpy()

    given = Exported(ONNXSettings(mean=(0, 0, 0), scale=1), Crop("arcface", SIZE_PX))
    line = check(given, sample).line("w", "p")
    assert line.startswith("w wants values -1 to 1 instead of values 0 to 255 (separation ")


@pytest.mark.slow  # it fits a network
def test_weights_that_want_the_mirrored_face(sample: PairSample) -> None:
    """The judge was trained on both directions, so another one is fitted for a moment to care for one of them."""
    network = load_recognizer(demo_path("judge")).network  # type: ignore[attr-defined]
    copy = type(network)(64)
    copy.load_state_dict(network.state_dict())
    images = _judge_crops(sample)
    a, b, same = (torch.from_numpy(side) for side in (sample.a, sample.b, sample.same))
    optimizer = torch.optim.Adam(copy.parameters(), lr=1e-3)
    copy.eval()
    for _ in range(12):
        loss = torch.zeros(())
        for sign, x in ((1.0, images), (-1.0, images.flip(3))):
            e = F.normalize(copy(x))
            cosines = (e[a] * e[b]).sum(1)
            loss = loss + sign * (cosines[same].mean() - cosines[~same].mean())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (
        check(Adapted(copy, lambda x: x), sample).line("w", "p").startswith("w wants mirrored instead of not mirrored")
    )


def _judge_crops(sample: PairSample) -> torch.Tensor:
    from harness.coding import to_unit
    from harness.faces.warp import warp

    return to_unit(warp(sample.images, similarity(sample.landmarks, reference_landmarks(SIZE_PX)), SIZE_PX))


@pytest.mark.slow
def test_weights_that_want_a_plain_resize(sample: PairSample) -> None:
    cond = load_recognizer(demo_path("cond"))
    cond.takes = Crop("arcface", SIZE_PX)  # which is not true
    line = check(cond, sample).line("cond", "fw-lfw")
    assert line.startswith("cond wants the whole picture, plainly resized instead of arcface crops (")


@pytest.mark.slow
def test_two_faults_at_once(sample: PairSample, judge: torch.nn.Module) -> None:
    line = check(Adapted(judge, lambda x: x.flip(1) / 127.5 - 1), sample).line("w", "p")
    assert line.startswith("w wants bgr instead of rgb, values 0 to 255 instead of values -1 to 1 (")


@pytest.mark.slow
def test_nothing_is_wrong_with_the_judge(sample: PairSample, judge: torch.nn.Module) -> None:
    found = check(Adapted(judge, lambda x: x), sample)
    assert found.best == found.described
    expected = "w wants what it says: rgb, values -1 to 1, arcface crops, not mirrored (separation "
    assert found.line("w", "p").startswith(expected)


def test_weights_that_know_nobody(sample: PairSample, judge: torch.nn.Module) -> None:
    torch.manual_seed(1)
    blind = torch.nn.Sequential(torch.nn.AvgPool2d(SIZE_PX), torch.nn.Flatten(), torch.nn.Linear(3, 64))
    noise = Adapted(blind, lambda x: torch.randn(x.shape))
    assert "no way of giving it pictures tells people apart" in check(noise, sample).line("w", "p")


def test_the_command_says_it_in_one_line(tmp_path: Path) -> None:
    options = ["--set", "pairs=60", "--set", "size_px=32", "--pairs", "60"]
    done = CliRunner().invoke(main, ["weights", "check", "demo:judge", "fw-lfw", *options])
    assert not done.exit_code, done.output
    assert done.output.count("\n") == 1
    assert done.output.startswith("demo:judge wants what it says")
    for words, expected in {
        ("demo:ldm", "fw-lfw"): "holds a model, expected a recognizer",
        ("demo:judge", "pairs"): "expected a protocol with faces of its own",
        ("demo:judge", "fw-lfv"): "did you mean 'fw-lfw'?",
    }.items():
        done = CliRunner().invoke(main, ["weights", "check", *words])
        assert done.exit_code == 2
        assert expected in done.output


def test_photographs_are_aligned_first() -> None:
    protocol = FwLfw(FwLfw.Settings(pairs=60, size_px=48))
    found = sample_pairs(protocol, 60, Run(0), MTCNNAligner())
    exact = sample_pairs(protocol, 60, Run(0))
    assert len(found.same) > 40
    both = np.isfinite(found.landmarks).all(axis=(1, 2))
    apart = np.abs(found.landmarks[both] - exact.landmarks[both]).mean()
    assert 0.01 < apart < 3.0  # found, and not the exact ones


def test_too_few_pairs_are_refused() -> None:
    with pytest.raises(InputError, match="expected at least 20 of each"):
        sample_pairs(FwLfw(FwLfw.Settings(pairs=20, size_px=32)), 20, Run(0))
