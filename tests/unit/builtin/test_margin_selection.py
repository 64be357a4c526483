"""Which epoch's weights the margin trainer takes, and that no option costs it its exact resumption."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.builtin.margin import MarginTrainer
from harness.components import Given, PairSet, Recognizer, Run
from harness.errors import StageError, Stopped
from harness.faces.faceset import FaceSet
from harness.training import loop, selection
from harness.training.arrays import FaceArray
from harness.training.settings import MarginSettings

MakeFaces = Callable[..., FaceSet]
FAST = {"batch_size": 24, "backbone_settings": {"width": 16}, "held_out": 0.3}


def train(faces: FaceSet, run: Run, pairs: Any = None, **settings: Any) -> Recognizer:
    given = Given(dataset=faces, pairs=pairs)
    return MarginTrainer(MarginSettings(**(FAST | settings))).train(given, run)


def same_weights(a: Recognizer, b: Recognizer) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state().values(), b.state().values(), strict=True))


def logs(into: dict[str, list[float]]) -> Callable[[str, dict[str, Any]], None]:
    def emit(kind: str, data: dict[str, Any]) -> None:
        if kind == "log":
            into.setdefault(data["name"], []).append(data["value"])

    return emit


@pytest.fixture
def faces(make_faces: MakeFaces) -> FaceSet:
    """50 people x 4 images, each of a pattern with noise."""
    rng = np.random.default_rng(0)
    patterns = rng.uniform(0, 255, (50, 4, 4, 3)).repeat(8, axis=1).repeat(8, axis=2)
    people = np.repeat(np.arange(50), 4)
    noisy = patterns[people] + rng.normal(0, 60, (200, 32, 32, 3))
    return make_faces(np.clip(noisy, 0, 255).astype(np.uint8), people)


def test_held_out_identities_are_not_trained_on(faces: FaceSet, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[int] = set()
    validated: set[int] = set()
    read, measure = FaceArray.batch, selection.accuracies

    def reads(self: FaceArray, indices: torch.Tensor) -> torch.Tensor:
        seen.update(faces.identities[indices.numpy()].tolist())
        return read(self, indices)

    def measures(recognizer: Recognizer, sets: selection.Sets) -> dict[str, float]:
        ((_, pairs),) = sets.values()
        validated.update(faces.identities[np.concatenate([pairs.a, pairs.b])].tolist())
        assert not recognizer.network.training, "evaluation mode"
        return measure(recognizer, sets)

    monkeypatch.setattr(FaceArray, "batch", reads)
    monkeypatch.setattr(selection, "accuracies", measures)
    train(faces, Run(0), epochs=2, select="held-out")
    assert len(validated) == 20, "at least two a fold"
    assert not seen & validated
    assert len(seen) == 30
    first = set(validated)
    train(faces, Run(1), epochs=2, select="held-out")
    assert validated != first, "another seed keeps others out"


def test_the_best_epoch_is_taken(faces: FaceSet, monkeypatch: pytest.MonkeyPatch) -> None:
    means = iter([0.5, 0.9, 0.9, 0.6])
    monkeypatch.setattr(selection, "accuracies", lambda recognizer, sets: {"held-out": next(means)})
    logged: dict[str, list[float]] = {}
    chosen = train(faces, Run(0, emit=logs(logged)), epochs=4, select="held-out", schedule="steps", steps=[9], warmup=0)
    assert logged["validation/held-out"] == [0.5, 0.9, 0.9, 0.6]
    assert logged["chosen_epoch"] == [1]
    means = iter([0.5, 0.9])
    two = train(faces, Run(0), epochs=2, select="held-out", schedule="steps", steps=[9], warmup=0)
    assert same_weights(chosen, two)


def test_the_plateau_rule_lowers_the_rate_and_ends(faces: FaceSet, monkeypatch: pytest.MonkeyPatch) -> None:
    means = iter([0.5, 0.8, *[0.8] * 30])
    monkeypatch.setattr(selection, "accuracies", lambda recognizer, sets: {"held-out": next(means)})
    logged: dict[str, list[float]] = {}
    settings = {"epochs": 30, "schedule": "plateau", "select": "held-out", "warmup": 0, "lr": 0.05}
    train(faces, Run(0, emit=logs(logged)), **settings)
    assert logged["validation/held-out"] == [0.5, *[0.8] * 7], "six epochs without a new best"
    assert logged["learning_rate"][:7] == [0.05] * 7
    assert logged["chosen_epoch"] == [1]


def test_an_end_that_was_interrupted_is_the_end(
    faces: FaceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    means = iter([0.8] * 7)
    monkeypatch.setattr(selection, "accuracies", lambda recognizer, sets: {"held-out": next(means)})
    settings = {"epochs": 30, "schedule": "plateau", "select": "held-out", "warmup": 0, "batch_size": 120}
    asked = iter([False] * 6 + [True])
    with pytest.raises(Stopped, match="after step 7 of 30"):
        train(faces, Run(0, folder=tmp_path, should_stop=lambda: next(asked)), **settings)
    train(faces, Run(0, folder=tmp_path), **settings)  # another validation would have no mean left


def test_the_benchmarks_choose_by_the_mean_of_their_accuracies(faces: FaceSet) -> None:
    logged: dict[str, list[float]] = {}
    a = np.arange(0, 80, 2)
    half = np.arange(40) % 2 == 0
    pairs = PairSet(a, np.where(half, a + 1, (a + 90) % 200), half, np.arange(40) % 10)
    given = {"one": (faces, pairs), "other": (faces, pairs)}
    train(faces, Run(0, emit=logs(logged)), given, epochs=3, select="benchmarks")
    assert logged["validation/one"] == logged["validation/other"]
    assert len(logged["validation/one"]) == 3
    assert all(0.4 <= value <= 1 for value in logged["validation/one"])
    assert logged["chosen_epoch"] == [int(np.argmax(logged["validation/one"]))]


def test_too_few_identities_are_told(make_faces: MakeFaces, colored: tuple[np.ndarray, np.ndarray]) -> None:
    with pytest.raises(StageError, match="keeps 20 of 12 identities out of training"):
        train(make_faces(*colored), Run(0), select="held-out")


OPTIONS: list[dict[str, Any]] = [
    {"select": "held-out", "schedule": "plateau", "warmup": 0, "head": "adaface", "margin": 0.4},
    {"head": "elasticface-arc", "augmentation": "flip", "channels_last": True},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_stopped_at_any_step_it_goes_on_to_the_same_weights(
    faces: FaceSet, tmp_path: Path, options: dict[str, Any]
) -> None:
    options = {"batch_size": 60, "epochs": 2, **options}
    whole = train(faces, Run(5), **options)
    steps = 2 * ((120 if "select" in options else 200) // 60)
    for done in range(1, steps + 1):  # stopped after every single step, the last one too
        with pytest.raises(Stopped, match=f"after step {done} of {steps}"):
            train(faces, Run(5, folder=tmp_path, should_stop=lambda: True), **options)
    assert same_weights(whole, train(faces, Run(5, folder=tmp_path), **options))


def test_a_killed_training_loses_no_more_than_the_time_between_checkpoints(
    faces: FaceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_S", 0.0)
    kept: list[int] = []
    plain = loop.Loop._save
    monkeypatch.setattr(loop.Loop, "_save", lambda self, step: (kept.append(step), plain(self, step))[1])
    train(faces, Run(0, folder=tmp_path), epochs=1)
    assert kept == list(range(1, 9)), "within the epoch too"
