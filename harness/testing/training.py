"""Checks of what learns: trainers, their heads, and generators that fit a model.

Letters: B images of a batch, C classes.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.components import FittedGenerator, Given, Head, Model, Recognizer, Run, Trainer
from harness.errors import Stopped
from harness.testing.component import asked_for, check_component, check_own_code, left_alone
from harness.testing.recognizer import check_recognizer
from harness.testing.rules import calling, fail, name_of, repeated, require

if TYPE_CHECKING:
    import torch

ROUNDING = 1e-5  # of the largest value of a tensor, by which two trainings on one processor may differ
SEED = 7

Tensors = Mapping[str, "torch.Tensor"]


def check_trainer(trainer: Trainer, given: Given) -> None:
    """Check a trainer: it trains up to five times, so give it small settings and few faces.

    Args:
        trainer: the trainer.
        given: what it needs, such as ``Given(dataset=faces(folder))`` with :func:`harness.testing.faces`.

    Raises:
        AssertionError: with the rule that is broken.
    """
    who = name_of(trainer)
    check_component(trainer)
    check_own_code(trainer)
    given = asked_for(trainer, given)
    made: list[Recognizer] = []

    def train(run: Run) -> Tensors:
        made.append(trainer.train(given, run))
        return made[-1].state()

    _check_learning(train, given, who)
    crop = given.dataset.crop
    text = f"{who} gives a recognizer that takes {made[0].takes}, expected the dataset's {crop}"
    require((made[0].takes.view, made[0].takes.size_px) == (crop.view, crop.size_px), "state", text)
    check_recognizer(made[0], gradient=False)


def check_fit(generator: FittedGenerator, given: Given) -> None:
    """Check how a generator fits: up to five times, so give it small settings and few faces.

    Args:
        generator: with its ``FitSettings``.
        given: what it needs to fit, such as ``Given(source=faces(folder, view="raw"))``.

    Raises:
        AssertionError: with the rule that is broken.
    """
    who = name_of(generator)
    check_component(generator)
    check_own_code(generator)
    given = asked_for(generator, given, generator.fit_needs)

    def fit(run: Run) -> Tensors:
        model: Model = generator.fit(given, run)
        require(model.kind == generator.fits, "kind", f"{who} fitted a {model.kind!r}, it fits {generator.fits!r}")
        try:
            json.dumps(dict(model.settings), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise AssertionError(f"[settings] {who}: the model's settings are no plain JSON: {error}") from error
        return model.tensors

    _check_learning(fit, given, who)


def _check_learning(learn: Callable[[Run], Tensors], given: Given, who: str) -> None:
    """The same seed gives the same tensors, with a stop in the middle too; another seed gives others."""
    asks: list[int] = []  # how often each training asked whether to stop

    def whole(seed: int) -> Tensors:
        asked = 0

        def count() -> bool:
            nonlocal asked
            asked += 1
            return False

        tensors = _learned(learn, Run(seed, should_stop=count), who)
        asks.append(asked)
        return tensors

    with left_alone(who, given):
        tensors = repeated(lambda: whole(SEED), _tensors_differ, who)
    text = f"{who} learns the same with two seeds; take first weights and orders from run.generator"
    require(bool(_tensors_differ(tensors, whole(SEED + 1))), "seed", text)
    if asks[0] > 1:  # it asks whether to stop, so it can be stopped half-way
        _check_resume(learn, tensors, asks[0] // 2, who)


def _check_resume(learn: Callable[[Run], Tensors], expected: Tensors, after: int, who: str) -> None:
    left = after

    def stop() -> bool:
        nonlocal left
        left -= 1
        return left < 0

    with tempfile.TemporaryDirectory() as folder:
        try:
            learn(Run(SEED, folder=Path(folder), should_stop=stop))
        except Stopped:
            again = _learned(learn, Run(SEED, folder=Path(folder)), who)
            differ = _tensors_differ(expected, again)
            text = "save in the checkpoint all that the next step depends on"
            require(not differ, "resume", f"{who}, stopped and started again: {differ}; {text}")
        except Exception as error:
            raise AssertionError(f"[resume] {who}, asked to stop: {type(error).__name__}: {error}") from error
        else:
            fail("resume", f"{who} goes on although a stop was requested; save a checkpoint and raise Stopped")


def _learned(learn: Callable[[Run], Tensors], run: Run, who: str) -> Tensors:
    """Tensors, checked."""
    with calling(who, "learning"):
        tensors = {name: tensor.detach().cpu() for name, tensor in learn(run).items()}
    broken = [name for name, tensor in tensors.items() if not bool(tensor.isfinite().all())]
    require(not broken, "finite", f"{who} learned NaN or infinity in {', '.join(broken[:3])}")
    return tensors


def _tensors_differ(first: Tensors, second: Tensors) -> str:
    if first.keys() != second.keys():
        return f"other tensors: {', '.join(sorted(first.keys() ^ second.keys())[:3])}"
    for name in first:
        a, b = (each[name].double().numpy() for each in (first, second))
        if a.shape != b.shape or np.abs(a - b).max(initial=0) > ROUNDING * max(np.abs(a).max(initial=0), 1e-12):
            return f"{name} is another"
    return ""


def check_head(make: Callable[[], Head]) -> None:
    """Check a head, such as ``check_head(MyHead)``.

    Args:
        make: gives a new one, since one head belongs to one training.

    Raises:
        AssertionError: with the rule that is broken.
    """
    import torch

    head = make()
    who = name_of(head)
    check_component(head)
    check_own_code(head)
    random = torch.Generator().manual_seed(0)
    cosines = torch.rand(6, 4, generator=random) * 1.8 - 0.9  # [B, C]
    norms, labels = torch.rand(6, generator=random) * 20 + 10, torch.tensor([0, 1, 2, 3, 0, 1])

    def logits(x: Any, head: Head) -> torch.Tensor:
        with calling(who, "logits"):
            made = head.logits(x, norms, labels, 16.0, 0.3, torch.Generator().manual_seed(1))
        text = f"{who} gave logits {list(made.shape)}, expected {list(x.shape)}"
        require(made.shape == x.shape, "shapes", text)
        require(bool(made.isfinite().all()), "finite", f"{who} gave logits that are not finite")
        return made

    def differ(a: torch.Tensor, b: torch.Tensor) -> str:
        return "" if torch.equal(a, b) else "other logits"

    with left_alone(who, cosines=cosines, norms=norms, labels=labels):
        repeated(lambda: logits(cosines.clone(), make()), differ, who)
        logits(cosines, make())
    x = cosines.clone().requires_grad_()
    made = logits(x, make())
    text = f"{who}: no finite gradient reaches the cosines"
    require(made.requires_grad, "gradient", text)
    (gradients,) = torch.autograd.grad(torch.nn.functional.cross_entropy(made, labels), x, allow_unused=True)
    require(gradients is not None and bool(gradients.isfinite().all()), "gradient", text)
    logits(torch.cat([torch.ones(3, 4), -torch.ones(3, 4)]), head)  # the ends of the range
    stray = sorted(name for name, value in head.memory.items() if not isinstance(value, torch.Tensor))
    require(
        not stray, "state", f"{who} remembers {', '.join(stray)}, which are no tensors, so no checkpoint keeps them"
    )
