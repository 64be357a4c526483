"""The rules of the contract by name, and how a check tells which one a component breaks.

Every check raises ``AssertionError`` as ``[rule] component: what was found; what is expected``.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import NoReturn, TypeVar

import numpy as np

from harness.components import Component
from harness.components.roles import ROLES, not_asked

RULES = {
    "settings": "settings refuse unknown keys, come back from JSON as they were, and every field is described",
    "license": "the license is named",
    "code": "the code that its results depend on has its own module",
    "light-import": "its module is imported at once: no torch or the like at the top, no work",
    "needs": "it asks for roles that there are, and reads no others",
    "kind": "it says which kind of model it accepts and fits, and gives that",
    "raises": "it raises nothing on what it was asked for",
    "global-random": "results neither draw from the global generators of random, numpy and torch nor seed them",
    "repeatable": "asked again with the same seed, it gives the same again",
    "seed": "two seeds give two results",
    "unchanged-input": "what it is given stays as it was",
    "batch-independent": "an item depends on itself alone: not on its batch, on order or on earlier calls",
    "shapes": "arrays have the types and shapes that are documented",
    "plan": "the plan names each (identity, sample) once, with a row in each column",
    "count": "there are as many images as were asked for and planned",
    "order": "the images come in the order of the plan",
    "pixels": "images are uint8 RGB [B, H, W, 3]",
    "range": "values fill their range: pixels 0 to 255, fractions 0 to 1",
    "finite": "no NaN and no infinity",
    "rgb": "red stays red: colors keep their order",
    "reasons": "an image without a face gets a reason and a crop of zeros, never an exception",
    "state": "state() and load() give the same recognizer again, which takes the crop of its faces",
    "gradient": "the gradient reaches the image, or the cosines",
    "metrics": "metrics are named once, by benchmark/quantity, and their pairs and pictures are there",
    "pairs": "pairs name faces that exist, say truly whether they are one person's, and are not listed twice",
    "resume": "what was stopped goes on from its checkpoint to the same result",
}
"""Each rule in a sentence."""

T = TypeVar("T")


def require(held: bool, rule: str, text: str) -> None:
    """Refuse what breaks a rule.

    Raises:
        AssertionError: it does.
    """
    if not held:
        fail(rule, text)


def fail(rule: str, text: str) -> NoReturn:
    """Tell which rule is broken, and how."""
    assert rule in RULES
    raise AssertionError(f"[{rule}] {text}")


def name_of(component: Component) -> str:
    """The class of a component, for messages."""
    return f"{type(component).__module__}.{type(component).__qualname__}"


@contextmanager
def calling(who: str, what: str) -> Iterator[None]:
    """A call of the component's: whatever it raises breaks a rule."""
    try:
        yield
    except Exception as error:
        if isinstance(error, AssertionError) and str(error)[1:].partition("]")[0] in RULES:
            raise  # one of a check's own
        if str(error) in {not_asked(role) for role in ROLES}:
            raise AssertionError(f"[needs] {who}, {what}: {error}") from error
        raise AssertionError(f"[raises] {who}, {what}: {type(error).__name__}: {error}") from error


def steps(batches: Iterable[T], who: str, what: str) -> Iterator[T]:
    """What a component yields, with what it raises on the way told by rule."""
    iterator = iter(batches)
    for count in range(2**62):
        with calling(who, f"{what}, after {count} batches"):
            try:
                batch = next(iterator)
            except StopIteration:
                return
        yield batch


def repeated(call: Callable[[], T], same: Callable[[T, T], str], who: str) -> T:
    """What a call gives, if it gives the same twice whatever state the global generators are in.

    Args:
        same: says how two results differ; empty if they do not.
    """
    made, left = [], []
    for state in (1, 2):
        with _seeded(state):
            made.append(call())
            left.append(_states())
    text = "take noise from run.noise or run.generator, and fork the generator where a network draws its first weights"
    for library in left[0]:
        require(left[0][library] != left[1][library], "global-random", f"{who} seeds {library}'s global one; {text}")
    if differ := same(*made):
        with _seeded(2):
            depends = not same(made[1], call())
        require(not depends, "global-random", f"{who} draws from a global generator ({differ}); {text}")
        fail("repeatable", f"{who} with the same seed again: {differ}; {text}")
    return made[0]


@contextmanager
def _seeded(state: int) -> Iterator[None]:
    """The global generators in a chosen state, and as they were afterwards."""
    import torch

    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(state)
    np.random.seed(state)
    torch.default_generator.manual_seed(state)  # the CPU's; torch.manual_seed would set those of GPUs too
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])


def _states() -> dict[str, object]:
    import torch

    numbers = np.random.get_state()
    return {
        "random": random.getstate(),
        "numpy": (np.asarray(numbers[1]).tobytes(), numbers[2]),  # type: ignore[index]
        "torch": torch.get_rng_state().numpy().tobytes(),
    }
