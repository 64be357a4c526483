"""Checks of what embeds faces, and of the laws that draw identity contexts as embeddings do.

Letters: N images, S crop size in pixels, D embedding width.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from harness.arrays import Floats, Images
from harness.components import ContextLaw, Given, Recognizer, Run
from harness.testing.component import asked_for, check_component, check_own_code, left_alone
from harness.testing.rules import calling, name_of, repeated, require

ROUNDING = 1e-4  # of the largest value


def check_recognizer(recognizer: Recognizer, gradient: bool = True) -> None:
    """Check a recognizer that has weights: its embeddings are functions of single images and of its state.

    That weights get their colors in the order that they were trained on is for ``harness weights check``.

    Args:
        recognizer: with weights, its initial ones if it starts with any.
        gradient: whether its embeddings have one, as a fit that is conditioned through them needs.

    Raises:
        AssertionError: with the rule that is broken.
    """
    import torch

    who, size = name_of(recognizer), recognizer.takes.size_px
    check_component(recognizer)
    images = np.random.default_rng(0).integers(0, 256, (5, size, size, 3), dtype=np.uint8)
    with left_alone(who, images=images):
        whole = repeated(lambda: _embedded(recognizer, images), _embeddings_differ, who)
    alone = np.concatenate([_embedded(recognizer, image[None]) for image in images])
    text = "an embedding depends on the images beside it (is evaluation mode on?)"
    _check_close(whole, alone, "batch-independent", f"{who}: {text}")
    again = _loaded_again(recognizer, recognizer.takes.color)
    _check_close(whole, _embedded(again, images), "state", f"{who}: state() and load() do not give the same again")
    other = _loaded_again(recognizer, "rgb" if recognizer.takes.color == "bgr" else "bgr")
    turned = _embedded(other, np.ascontiguousarray(images[..., ::-1]))
    text = "with takes.color the other way round, pictures of swapped colors have other embeddings"
    _check_close(whole, turned, "rgb", f"{who}: {text}; features() takes the colors as they come, in_order() swaps")
    if gradient:
        x = torch.zeros(1, 3, size, size, requires_grad=True)
        with calling(who, "the gradient of features"):
            squares = recognizer.features(x).square().sum()
            gradients = torch.autograd.grad(squares, x, allow_unused=True) if squares.requires_grad else (None,)
        require(gradients[0] is not None, "gradient", f"{who}: no gradient reaches the image")


def _loaded_again(recognizer: Recognizer, color: str) -> Recognizer:
    """Another one with the same weights, for colors in an order."""
    who = name_of(recognizer)
    with calling(who, "a second one that loads the state of the first"):
        again = type(recognizer)(recognizer.settings, replace(recognizer.takes, color=color))  # type: ignore[arg-type]
        again.load(recognizer.state())
    return again


def _embedded(recognizer: Recognizer, images: Images) -> Floats:
    """Embeddings, checked."""
    who = name_of(recognizer)
    with calling(who, f"embed {len(images)} images"):
        made = recognizer.embed(images)
    expected = (len(images), recognizer.width)
    text = f"{who} embeds {len(images)} images as {list(made.shape)}, expected {list(expected)}"
    require(made.shape == expected, "shapes", text)
    require(bool(np.isfinite(made).all()), "finite", f"{who} gives embeddings that are not finite")
    return made


def _apart(a: Floats, b: Floats) -> float:
    """Largest difference, in units of the largest value."""
    return float(np.abs(a - b).max()) / max(float(np.abs(a).max()), 1e-12)


def _embeddings_differ(first: Floats, second: Floats) -> str:
    return "" if _apart(first, second) < ROUNDING else "other embeddings"


def _check_close(expected: Floats, got: Floats, rule: str, fault: str) -> None:
    """Equal up to rounding."""
    apart = _apart(expected, got)
    require(apart < ROUNDING, rule, f"{fault}: they differ by {apart:.1e} of the largest value")


def check_context_law(law: ContextLaw, given: Given, count: int = 6) -> None:
    """Check a law of contexts.

    Args:
        law: the law.
        given: what it needs: a recognizer, for a source of some people, or a model.
        count: how many contexts to draw.

    Raises:
        AssertionError: with the rule that is broken.
    """
    who = name_of(law)
    check_component(law)
    check_own_code(law)
    given = asked_for(law, given)
    shape = [count, given.recognizer.width]

    def contexts() -> Floats:
        with calling(who, f"draw {count} contexts"):
            made = law.draw(count, given, Run(7))
        got = f"{who} drew {made.dtype} {list(made.shape)}, expected float32 {shape}"
        require(made.dtype == np.float32 and list(made.shape) == shape, "shapes", got)
        require(bool(np.isfinite(made).all()), "finite", f"{who} drew contexts that are not finite")
        norms = np.linalg.norm(made, axis=1)
        text = f"{who} drew contexts of norm {norms.min():.3f} to {norms.max():.3f}, expected 1"
        require(bool((np.abs(norms - 1) < 1e-3).all()), "range", text)
        return made

    with left_alone(who, given):
        repeated(contexts, _embeddings_differ, who)
    with calling(who, "people"):
        people = law.people(count, given, Run(7))
    if people is not None:
        got = f"{people.dtype} {list(people.shape)}"
        require(got == f"int64 [{count}]", "shapes", f"{who} gave people {got}, expected int64 [{count}] or None")
        strangers = sorted(set(people.tolist()) - set(given.source.identities.tolist()))
        require(not strangers, "pairs", f"{who} names people who are not in the source: {strangers[:5]}")
