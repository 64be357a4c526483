"""NegFaceDiff: guidance is the stated formula, and without a weight it is IDiff-Face to the last bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from harness_negfacediff.generator import NegFaceDiff, NegFaceDiffSettings, _weight
from pydantic import ValidationError

from harness.components import Given, Model, Request, Run, SamplePlan
from harness.diffusion.guidance import with_negative
from harness.diffusion.latent import LatentDiffusion
from harness.diffusion.settings import LatentSampleSettings

GRAY_LEVELS = 2  # by which rounding may move a pixel when batches differ


def generator(**settings: Any) -> NegFaceDiff:
    return NegFaceDiff(NegFaceDiffSettings(**{"steps": 3, **settings}))


def planned(contexts: np.ndarray, **settings: Any) -> SamplePlan:
    return generator(**settings).plan(Request(6, 3), Given(contexts=contexts), Run(seed=0))


def images(model: Model, plan: SamplePlan, **settings: Any) -> np.ndarray:
    batches = generator(**settings).sample(plan, Given(model=model), Run(seed=0))
    return np.concatenate([batch.images for batch in batches])


def distance(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.abs(a.astype(int) - b.astype(int)).max())


@pytest.mark.parametrize(
    ("sampler", "plain"),
    [
        ("ddim", {"w": 0.0}),
        ("ddim", {"negative": "none"}),
        ("ddpm", {"w": 0.0}),
    ],
)
def test_without_guidance_it_is_idiffface(
    model: Model, contexts: np.ndarray, plain: dict[str, Any], sampler: Any
) -> None:
    idiffface = pytest.importorskip("harness_idiffface.generator").IDiffFace(
        LatentSampleSettings(steps=3, sampler=sampler, batch_size=4)
    )
    plan = idiffface.plan(Request(6, 1), Given(contexts=contexts), Run(seed=0))
    expected = np.concatenate([batch.images for batch in idiffface.sample(plan, Given(model=model), Run(seed=0))])
    found = images(model, plan, sampler=sampler, batch_size=4, **plain)
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("w", [0.5, 1.0, 5.0, 20.0])
def test_the_own_context_as_negative_changes_nothing(model: Model, contexts: np.ndarray, w: float) -> None:
    unet = LatentDiffusion.from_model(model).unet
    x, t, own = torch.randn(6, 4, 8, 8), torch.full((6,), 17), torch.from_numpy(contexts)
    with torch.no_grad():
        plain, guided = unet(x, t, own), with_negative(unet, own, w)(x, t, own)
    torch.testing.assert_close(guided, plain, rtol=0, atol=1e-5 * (1 + w))
    plan = planned(contexts)
    same = SamplePlan(plan.identities, plan.samples, pool={"context": contexts, "negative": contexts})
    assert distance(images(model, same, w=w), images(model, plan, w=0.0)) <= GRAY_LEVELS


@pytest.mark.parametrize("schedule", ["constant", "adaptive", "reverse-adaptive"])
def test_the_formula(model: Model, contexts: np.ndarray, schedule: str) -> None:
    """Through the generator's own denoiser, against two calls of the network."""
    parts, t = LatentDiffusion.from_model(model), 10
    plan = planned(contexts, negative="far")
    rows = plan.rows(0, 18)
    method = generator(w=0.5, schedule=schedule)
    denoise = method.denoiser(parts, plan, rows, Given(model=model), Run(seed=0))
    x, steps = torch.randn(18, 4, 8, 8), torch.full((18,), t)
    p = torch.from_numpy(plan.pool["context"][rows.identities])
    n = torch.from_numpy(plan.pool["negative"][rows.identities])
    w = 0.5 * {"constant": 1.0, "adaptive": 1 - t / 24, "reverse-adaptive": t / 24}[schedule]
    with torch.no_grad():
        expected = (1 + w) * parts.unet(x, steps, p) - w * parts.unet(x, steps, n)
        torch.testing.assert_close(denoise(x, steps), expected, rtol=0, atol=1e-4)


def test_weights_over_the_steps() -> None:
    last, first = torch.tensor([999]), torch.tensor([0])
    adaptive, reverse = _weight(0.5, "adaptive", 1000), _weight(0.5, "reverse-adaptive", 1000)
    assert callable(adaptive)
    assert callable(reverse)
    assert float(adaptive(last)) == pytest.approx(0.0005, rel=1e-4)
    assert float(adaptive(first)) == 0.5
    assert float(reverse(last)) == pytest.approx(0.4995)
    assert float(reverse(first)) == 0.0
    assert _weight(0.5, "constant", 1000) == 0.5


def test_every_kind_of_negative_steers_elsewhere(model: Model, contexts: np.ndarray) -> None:
    kinds = {"none": 0.0, **dict.fromkeys(("null_projected", "null_zero", "close", "far"), 2.0)}
    found = [images(model, planned(contexts, negative=k), negative=k, w=w) for k, w in kinds.items()]
    for i, a in enumerate(found):
        assert all(distance(a, b) > GRAY_LEVELS for b in found[:i])


def test_null_projected_is_the_projection_of_zero_and_null_zero_is_no_context(
    model: Model, contexts: np.ndarray
) -> None:
    unet = LatentDiffusion.from_model(model).unet
    with torch.no_grad():
        assert torch.equal(unet.project(torch.zeros(1, 16))[0], unet.context_emb.bias)
        assert not unet.project(None).any()
    assert not planned(contexts, negative="null_projected").pool["negative"].any()
    assert "negative" not in planned(contexts, negative="null_zero").pool


def test_batches_and_slices_change_nothing(model: Model, contexts: np.ndarray) -> None:
    plan = planned(contexts)
    a, b = images(model, plan, batch_size=3), images(model, plan, batch_size=16)
    assert 20 < a.std() < 100
    assert distance(a, b) <= GRAY_LEVELS
    assert distance(images(model, plan.rows(5, 11)), a[5:11]) <= GRAY_LEVELS


def test_the_negative_is_chosen_over_the_whole_pool(model: Model, contexts: np.ndarray) -> None:
    plan = planned(contexts, negative="close")
    cosine = contexts @ contexts.T - 2 * np.eye(6)
    assert np.array_equal(plan.pool["negative"], contexts[cosine.argmax(axis=1)])
    assert np.array_equal(plan.rows(0, 3).pool["negative"], plan.pool["negative"])
    assert np.array_equal(planned(contexts, negative="previous").pool["negative"], np.roll(contexts, 1, axis=0))


def test_outside_of_the_interval_it_is_idiffface_for_half_the_work(model: Model, contexts: np.ndarray) -> None:
    parts, plan = LatentDiffusion.from_model(model), planned(contexts)
    sizes: list[int] = []
    parts.unet.register_forward_hook(lambda net, args, out: sizes.append(len(out)))
    method = generator(interval=[5, 10])
    denoise = method.denoiser(parts, plan, plan, Given(model=model), Run(seed=0))
    x = torch.randn(18, 4, 8, 8)
    p, n = (torch.from_numpy(plan.pool[name][plan.identities]) for name in ("context", "negative"))
    with torch.no_grad():
        for t, w in ((4, 0.0), (5, 0.5), (10, 0.5), (11, 0.0)):
            steps = torch.full((18,), t)
            found = denoise(x, steps)
            assert sizes[-1] == (36 if w else 18)
            expected = (1 + w) * parts.unet(x, steps, p) - w * parts.unet(x, steps, n)
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    everywhere, nowhere = images(model, plan, interval=[0, 999]), images(model, plan, interval=[998, 999])
    assert np.array_equal(everywhere, images(model, plan))
    assert np.array_equal(nowhere, images(model, plan, w=0.0))


def test_settings() -> None:
    defaults = NegFaceDiffSettings()
    assert defaults.interval is None
    assert (defaults.negative, defaults.w, defaults.schedule) == ("far", 0.5, "constant")
    assert NegFaceDiffSettings(negative="none").w == 0, "the plain model has no weight, whatever the default is"
    for wrong in ({"w": -0.1}, {"negative": "nobody"}, {"schedule": "linear"}, {"negative": "none", "w": 0.5}):
        with pytest.raises(ValidationError):
            NegFaceDiffSettings(**wrong)
    for interval in ([800, 200], [-1, 200], [0, 1000], [5]):
        with pytest.raises(ValidationError, match="interval"):
            NegFaceDiffSettings(interval=interval)
    with pytest.raises(ValidationError, match=r"interval \[0, 9\]: has no effect with w 0"):
        NegFaceDiffSettings(negative="none", interval=[0, 9])
