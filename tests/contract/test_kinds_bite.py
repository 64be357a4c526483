"""The contract of the other kinds finds the mistakes that it is for, by the rule that each breaks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from harness.components import (
    AttributePredictor,
    ContextLaw,
    Crop,
    Evaluator,
    FittedGenerator,
    Given,
    Head,
    ImageBatch,
    License,
    Metric,
    Model,
    PairSet,
    Protocol,
    Report,
    Run,
    SamplePlan,
    Settings,
    TrainableRecognizer,
    Trainer,
    Uncertainty,
)
from harness.errors import Stopped
from harness.faces.faceset import FaceSet
from harness.testing import (
    check_attribute_predictor,
    check_context_law,
    check_evaluator,
    check_fit,
    check_head,
    check_protocol,
    check_recognizer,
    check_trainer,
    faces,
    pictures,
)

MIT = License("MIT")
STEPS = 4


@pytest.fixture(autouse=True)
def _own_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """This module cannot be found by name when pytest imports it, so only its name is checked."""
    monkeypatch.setattr("harness.code.code_of", lambda cls: dict.fromkeys(cls.code or (cls.__module__,), ""))


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> FaceSet:
    return faces(tmp_path_factory.mktemp("people"))


def broken(rule: str, says: str = "") -> Any:
    """The check must tell this rule."""
    return pytest.raises(AssertionError, match=rf"^\[{rule}\] .*{says}")


# --- recognizers ------------------------------------------------------------------------------------------------------


class Flat(TrainableRecognizer):
    """One linear layer on the pixels; the base of the wrong ones."""

    license = MIT

    def __init__(self, settings: Any = None, takes: Crop | None = None) -> None:
        super().__init__(settings, takes or Crop("arcface", 32))
        self.network: nn.Module = nn.Sequential(nn.Flatten(), nn.Linear(3 * self.takes.size_px**2, 8)).eval()

    @property
    def width(self) -> int:
        return 8


class OverTheBatch(Flat):
    def features(self, x: torch.Tensor) -> torch.Tensor:
        return super().features(x - x.mean(dim=0))


class SwapsByItself(Flat):
    def features(self, x: torch.Tensor) -> torch.Tensor:
        return super().features(x.flip(1) if self.takes.color == "bgr" else x)


class Forgets(Flat):
    def load(self, tensors: Mapping[str, torch.Tensor], device: str = "cpu") -> None:
        super().load({name: torch.zeros_like(tensor) for name, tensor in tensors.items()}, device)


class Cut(Flat):
    def features(self, x: torch.Tensor) -> torch.Tensor:
        return super().features(x.detach())


class NaN(Flat):
    def features(self, x: torch.Tensor) -> torch.Tensor:
        return super().features(x) * float("nan")


class Dropout(Flat):
    def features(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.dropout(super().features(x))


@pytest.mark.parametrize(
    ("wrong", "rule", "says"),
    [
        (OverTheBatch, "batch-independent", "is evaluation mode on"),
        (SwapsByItself, "rgb", "swapped colors have other embeddings"),
        (Forgets, "state", "do not give the same again"),
        (Cut, "gradient", "no gradient reaches the image"),
        (NaN, "finite", "not finite"),
        (Dropout, "global-random", "draws from a global generator"),
    ],
)
def test_a_wrong_recognizer_is_found(wrong: type[Flat], rule: str, says: str) -> None:
    check_recognizer(Flat())
    with broken(rule, says):
        check_recognizer(wrong())


# --- contexts and attributes ------------------------------------------------------------------------------------------


class Sphere(ContextLaw):
    """Uniform on the sphere; the base of the wrong ones."""

    license = MIT
    needs = frozenset({"recognizer", "source"})

    def draw(self, count: int, given: Given, run: Run) -> Any:
        x = self.numbers(run, (count, given.recognizer.width))
        return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)

    def numbers(self, run: Run, shape: tuple[int, int]) -> Any:
        return run.generator("sphere").normal(size=shape)


class NotUnit(Sphere):
    def draw(self, count: int, given: Given, run: Run) -> Any:
        return 2 * super().draw(count, given, run)


class Doubles(Sphere):
    def draw(self, count: int, given: Given, run: Run) -> Any:
        return super().draw(count, given, run).astype(np.float64)


class DrawnGlobally(Sphere):
    def numbers(self, run: Run, shape: tuple[int, int]) -> Any:
        return np.random.normal(size=shape)


class Strangers(Sphere):
    def people(self, count: int, given: Given, run: Run) -> Any:
        return np.arange(count) - 5


@pytest.mark.parametrize(
    ("wrong", "rule", "says"),
    [
        (NotUnit, "range", "norm 2.000 to 2.000, expected 1"),
        (Doubles, "shapes", "expected float32"),
        (DrawnGlobally, "global-random", "draws from a global generator"),
        (Strangers, "pairs", "not in the source"),
    ],
)
def test_a_wrong_law_is_found(wrong: type[ContextLaw], rule: str, says: str, people: FaceSet) -> None:
    given = Given(recognizer=Flat(), source=people)
    check_context_law(Sphere(), given)
    with broken(rule, says):
        check_context_law(wrong(), given)


class Brightest(AttributePredictor):
    """Mean brightness; the base of the wrong ones."""

    license = MIT
    gives = ("brightness",)

    def predict(self, batch: ImageBatch, run: Run) -> Any:
        return {"brightness": batch.images.mean(axis=(1, 2, 3)).astype(np.float32)}


class Relative(Brightest):
    def predict(self, batch: ImageBatch, run: Run) -> Any:
        values = super().predict(batch, run)["brightness"]
        return {"brightness": values - values.mean()}


class Logarithm(Brightest):
    def predict(self, batch: ImageBatch, run: Run) -> Any:
        with np.errstate(divide="ignore"):
            return {"brightness": np.log(super().predict(batch, run)["brightness"])}


class GivesAge(Brightest):
    gives = ("brightness", "age")


@pytest.mark.parametrize(
    ("wrong", "rule", "says"),
    [
        (Relative, "batch-independent", "brightness is another"),
        (Logarithm, "finite", "NaN says that it cannot tell"),
        (GivesAge, "shapes", r"expected what it says that it gives: \['age', 'brightness'\]"),
    ],
)
def test_a_wrong_predictor_is_found(wrong: type[AttributePredictor], rule: str, says: str) -> None:
    check_attribute_predictor(Brightest(), pictures(3, 32))
    with broken(rule, says):
        check_attribute_predictor(wrong(), pictures(3, 32))


# --- evaluators and protocols -----------------------------------------------------------------------------------------


class Bright(Evaluator):
    """Mean brightness; the base of the wrong ones."""

    license = MIT
    needs = frozenset({"dataset"})

    def evaluate(self, given: Given, run: Run) -> Report:
        value = float(given.dataset.images().mean() / 255)
        return Report([Metric("bright/mean", self.changed(value, given), len(given.dataset), unit="fraction")])

    def changed(self, value: float, given: Given) -> float:
        return value


class Percent(Bright):
    def changed(self, value: float, given: Given) -> float:
        return 100 * value


class NotANumber(Bright):
    def changed(self, value: float, given: Given) -> float:
        return float("nan")


class Noisy(Bright):
    def changed(self, value: float, given: Given) -> float:
        return float(np.random.uniform())


class Relabels(Bright):
    def changed(self, value: float, given: Given) -> float:
        given.dataset.identities[:] = 0
        return value


class Breaks(Bright):
    def changed(self, value: float, given: Given) -> float:
        raise ZeroDivisionError("division by zero")


class Reports(Bright):
    """Another report: with what stands in ``report``."""

    report: Report

    def evaluate(self, given: Given, run: Run) -> Report:
        return self.report


@pytest.mark.parametrize(
    ("wrong", "rule", "says"),
    [
        (Percent, "range", "and a fraction, expected 0 to 1"),
        (NotANumber, "finite", "bright/mean is nan"),
        (Noisy, "global-random", "another bright/mean"),
        (Relabels, "unchanged-input", "changed the dataset"),
        (Breaks, "raises", "ZeroDivisionError: division by zero"),
    ],
)
def test_a_wrong_evaluator_is_found(wrong: type[Evaluator], rule: str, says: str, tmp_path: Path) -> None:
    given = Given(dataset=faces(tmp_path, 2, 2))
    check_evaluator(Bright(), given)
    with broken(rule, says):
        check_evaluator(wrong(), given)


@pytest.mark.parametrize(
    ("report", "rule", "says"),
    [
        (Report([]), "metrics", "gave no metric"),
        (Report([Metric("a/b", 1.0, 1), Metric("a/b", 2.0, 1)]), "metrics", "gave a/b twice"),
        (Report([Metric("mean brightness", 1.0, 1)]), "metrics", "expected benchmark/quantity"),
        (Report([Metric("a/b", 1.0, 1, benchmark="lfw")]), "metrics", "belongs to protocol 'lfw'"),
        (Report([Metric("a/b", 1.0, 1, ranked=True)]), "metrics", "say 'higher' or 'lower'"),
        (Report([Metric("a/b", 1.0, 1, pairs="scores")]), "metrics", "no table 'scores'"),
        (Report([Metric("a/b", 1.0, 1, Uncertainty((2.0, 0.5)))]), "range", "runs from 2 down to 0.5"),
        (Report([Metric("a/b", 1.0, 1)], figures={"a": b"GIF89a"}), "metrics", "'a' is no PNG"),
        (Report([Metric("a/b", 1.0, 1)], figures={"../a": b""}), "metrics", "names a figure or table"),
        (
            Report([Metric("a/b", 1.0, 1)], tables={"t": {"x": np.zeros(2), "y": np.zeros(3)}}),
            "metrics",
            "columns of unequal length",
        ),
    ],
)
def test_a_wrong_report_is_found(report: Report, rule: str, says: str, people: FaceSet) -> None:
    wrong = Reports()
    wrong.report = report
    with broken(rule, says):
        check_evaluator(wrong, Given(dataset=people))


class Pairs(Protocol):
    """Each face with the next, and with the one of the next person; the base of the wrong ones."""

    license = MIT
    needs = frozenset({"source"})

    def pairs(self, faces: FaceSet, run: Run) -> Any:
        people = faces.identities
        a = np.concatenate([np.flatnonzero(people[:-1] == people[1:])] * 2)
        half = len(a) // 2
        b = np.concatenate([a[:half] + 1, (a[half:] + 4) % len(people)])
        return self.changed(PairSet(a, b, people[a] == people[b], np.arange(len(a)) % 2))

    def changed(self, pairs: PairSet) -> Any:
        return pairs


def protocol(change: Any) -> Protocol:
    class Changed(Pairs):
        def changed(self, pairs: PairSet) -> Any:
            return change(pairs)

    return Changed()


@pytest.mark.parametrize(
    ("change", "rule", "says"),
    [
        (lambda p: replace(p, same=~p.same), "pairs", "identities that say otherwise"),
        (lambda p: replace(p, b=p.a), "pairs", "with itself"),
        (lambda p: replace(p, b=p.b + 1000), "pairs", "there are 0 to 15"),
        (lambda p: PairSet(*(np.tile(x, 2) for x in (p.a, p.b, p.same, p.fold))), "pairs", "a pair twice"),
        (lambda p: replace(p, same=p.same.astype(int)), "shapes", "expected bool"),
        (lambda p: replace(p, fold=p.fold[1:]), "shapes", "unequal length"),
        (lambda p: replace(p, fold=np.random.randint(0, 2, len(p.a))), "global-random", "other fold"),
        (lambda p: None, "kind", "made a NoneType, expected a PairSet"),
    ],
)
def test_a_wrong_protocol_is_found(change: Any, rule: str, says: str, people: FaceSet) -> None:
    check_protocol(Pairs(), people)
    with broken(rule, says):
        check_protocol(protocol(change), people)


# --- what learns ------------------------------------------------------------------------------------------------------


class Plain(Head):
    """A cosine head; the base of the wrong ones."""

    license = MIT

    def logits(self, cosines: Any, norms: Any, labels: Any, scale: Any, margin: Any, generator: Any) -> Any:
        return scale * cosines


class InPlace(Plain):
    def logits(self, cosines: Any, *others: Any) -> Any:
        return cosines.mul_(others[2]) if not cosines.requires_grad else cosines * others[2]


class Detached(Plain):
    def logits(self, cosines: Any, *others: Any) -> Any:
        return super().logits(cosines.detach(), *others)


class Unclamped(Plain):
    def logits(self, cosines: Any, *others: Any) -> Any:
        return super().logits(torch.atanh(cosines), *others)


class Elastic(Plain):
    def logits(self, cosines: Any, *others: Any) -> Any:
        return super().logits(cosines - 0.05 * torch.rand_like(cosines), *others)


@pytest.mark.parametrize(
    ("wrong", "rule", "says"),
    [
        (InPlace, "unchanged-input", "changed the cosines"),
        (Detached, "gradient", "no finite gradient reaches the cosines"),
        (Unclamped, "finite", "logits that are not finite"),
        (Elastic, "global-random", "draws from a global generator"),
    ],
)
def test_a_wrong_head_is_found(wrong: type[Head], rule: str, says: str) -> None:
    check_head(Plain)
    with broken(rule, says):
        check_head(wrong)


class Steps(Trainer):
    """A few steps of noise on the weights, each remembered by the next; the base of the wrong ones."""

    license = MIT

    def train(self, given: Given, run: Run) -> Any:
        made = self.first(given, run)
        state = run.checkpoint.load() or {"step": 0, "weights": made.state(), "moved": torch.zeros(8)}
        weights, moved = dict(state["weights"]), state["moved"]
        for step in range(state["step"], STEPS):
            if run.stop_requested and self.heeds():
                run.checkpoint.save(self.kept({"step": step, "weights": weights, "moved": moved}))
                raise Stopped
            moved = 0.9 * moved + self.noise(run, step)
            weights["1.bias"] = weights["1.bias"] + moved
        made.load(weights)
        return made

    def first(self, given: Given, run: Run) -> Flat:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(run.seed)
            return Flat(takes=given.dataset.crop)

    def noise(self, run: Run, step: int) -> torch.Tensor:
        return run.noise([0], [step], (8,), "steps")[0]

    def heeds(self) -> bool:
        return True

    def kept(self, state: dict[str, Any]) -> dict[str, Any]:
        return state


class FirstByChance(Steps):
    def first(self, given: Given, run: Run) -> Flat:
        return Flat(takes=given.dataset.crop)


class SeedsAll(Steps):
    def first(self, given: Given, run: Run) -> Flat:
        torch.manual_seed(run.seed)
        return Flat(takes=given.dataset.crop)


class AlwaysTheSame(Steps):
    def train(self, given: Given, run: Run) -> Any:
        return super().train(given, Run(0))


class NoMomentum(Steps):
    def kept(self, state: dict[str, Any]) -> dict[str, Any]:
        return {**state, "moved": torch.zeros(8)}


class GoesOn(Steps):
    def heeds(self) -> bool:
        return False


class Diverges(Steps):
    def noise(self, run: Run, step: int) -> torch.Tensor:
        return super().noise(run, step) / 0


class OtherCrop(Steps):
    def first(self, given: Given, run: Run) -> Flat:
        return super().first(Given(dataset=replace_crop(given.dataset)), run)


def replace_crop(dataset: FaceSet) -> FaceSet:
    return FaceSet(dataset.folder, Crop("arcface", 24))


@pytest.mark.parametrize(
    ("wrong", "rule", "says"),
    [
        (FirstByChance, "global-random", "draws from a global generator"),
        (SeedsAll, "global-random", "seeds torch's global one"),
        (AlwaysTheSame, "seed", "learns the same with two seeds"),
        (NoMomentum, "resume", "stopped and started again: 1.bias is another"),
        (GoesOn, "resume", "although a stop was requested"),
        (Diverges, "finite", "NaN or infinity in 1.bias"),
        (OtherCrop, "state", "expected the dataset's"),
    ],
)
def test_a_wrong_trainer_is_found(wrong: type[Trainer], rule: str, says: str, people: FaceSet) -> None:
    check_trainer(Steps(), Given(dataset=people))
    with broken(rule, says):
        check_trainer(wrong(), Given(dataset=people))


class Fits(FittedGenerator):
    """Fits a mean image; the base of the wrong ones."""

    license = MIT
    FitSettings = Settings
    fits = "mean/1"

    def fit(self, given: Given, run: Run) -> Model:
        x = run.noise([0], [0], (4,), "fit")[0] + float(given.source.images().mean())
        return Model(self.kind(), self.described(), {"mean": x})

    def kind(self) -> str:
        return self.fits

    def described(self) -> dict[str, Any]:
        return {"size_px": 32}

    def sample(self, plan: SamplePlan, given: Given, run: Run) -> Any:
        raise AssertionError


class OtherKind(Fits):
    def kind(self) -> str:
        return "mean/2"


class NoJson(Fits):
    def described(self) -> dict[str, Any]:
        return {"size_px": np.int64(32)}


@pytest.mark.parametrize(
    ("wrong", "rule", "says"), [(OtherKind, "kind", "it fits 'mean/1'"), (NoJson, "settings", "no plain JSON")]
)
def test_a_wrong_fit_is_found(wrong: type[FittedGenerator], rule: str, says: str, people: FaceSet) -> None:
    check_fit(Fits(), Given(source=people))
    with broken(rule, says):
        check_fit(wrong(), Given(source=people))
