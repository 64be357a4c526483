"""IDperturb: cosines lie where the formulas say, and a cone of no width is IDiff-Face."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from harness_idperturb.generator import IDPerturb, IDPerturbSettings, half_way_cosines
from pydantic import ValidationError

from harness import noise
from harness.components import Given, Model, Request, Run, SamplePlan
from harness.diffusion.latent import LatentDiffusion
from harness.diffusion.settings import LatentSampleSettings
from harness.stats import neighbors
from harness.testing import check_generator, check_light_import

GRAY_LEVELS = 2  # by which rounding may move a pixel when batches differ
DEGREE = np.pi / 180


def generator(**settings: Any) -> IDPerturb:
    return IDPerturb(IDPerturbSettings(**{"steps": 3, **settings}))


def planned(contexts: np.ndarray, count: int = 3, **settings: Any) -> SamplePlan:
    return generator(**settings).plan(Request(len(contexts), count), Given(contexts=contexts), Run(seed=0))


def drawn(contexts: np.ndarray, count: int, seed: int = 0, **settings: Any) -> np.ndarray:
    """The context of every image, float64."""
    plan = planned(contexts, count, **settings)
    return generator(**settings)._contexts(plan, plan, Run(seed=seed)).astype(np.float64)


def images(model: Model, plan: SamplePlan, **settings: Any) -> np.ndarray:
    batches = generator(**settings).sample(plan, Given(model=model), Run(seed=0))
    return np.concatenate([batch.images for batch in batches])


def distance(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.abs(a.astype(int) - b.astype(int)).max())


def unit(count: int, width: int, seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).normal(size=(count, width))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize(
    "settings", [{}, {"safe": False, "lower_bound": 0.6}, {"gaussian": 0.1}], ids=["safe", "wide", "gaussian"]
)
def test_the_contract(model: Model, contexts: np.ndarray, settings: dict[str, Any]) -> None:
    check_generator(generator(**settings), Given(model=model, contexts=contexts), levels=GRAY_LEVELS)


def test_the_module_is_light() -> None:
    check_light_import("harness_idperturb", "harness_idperturb.generator")


@pytest.mark.parametrize("base", [0.4, 0.9])
def test_the_formula(contexts: np.ndarray, base: float) -> None:
    """Every image's context, in float64, from the numbers that are drawn for it."""
    v = contexts.astype(np.float64)
    cosine = v @ v.T
    np.fill_diagonal(cosine, -1.0)
    theta = np.arccos(cosine)  # [I, I]
    found = drawn(contexts, 4, seed=3, lower_bound=base)
    for i in range(len(v)):
        lb = max(base, np.cos(theta[i] / 2).max())
        for k in range(4):
            c = lb + (1.0 - lb) * noise.uniform(3, [i], [k], 1, "idperturb-cosine")[0, 0]
            z = noise.normal(3, [i], [k], (v.shape[1],), "idperturb-direction")[0].astype(np.float64)
            u = z - (z @ v[i]) * v[i]
            u /= np.sqrt(u @ u)
            np.testing.assert_allclose(found[4 * i + k], c * v[i] + np.sqrt(1 - c**2) * u, atol=2e-7)


def test_a_safe_cone_ends_half_way_to_the_nearest_other() -> None:
    """Two pairs of identities on a circle, 20 and 60 degrees apart: cones of 10 and of 30 degrees."""
    angles = np.array([0, 20, 180, 240]) * DEGREE
    circle = np.zeros((4, 8), np.float32)
    circle[:, 0], circle[:, 1] = np.cos(angles), np.sin(angles)
    np.testing.assert_allclose(half_way_cosines(circle)[:, 0], np.cos(np.array([10, 10, 30, 30]) * DEGREE), atol=1e-6)
    bounds = planned(circle, 1, lower_bound=0.95).pool["lower_bound"][:, 0]
    np.testing.assert_allclose(bounds, [np.cos(10 * DEGREE)] * 2 + [0.95] * 2, atol=1e-6)
    assert (planned(circle, 1, safe=False, lower_bound=0.95).pool["lower_bound"] == np.float32(0.95)).all()


def test_no_image_is_nearer_to_another_identity_than_to_its_own() -> None:
    contexts, count = unit(40, 8), 50
    own = np.repeat(np.arange(40), count)
    cosine = drawn(contexts, count) @ contexts.T.astype(np.float64)  # [M, I]
    assert (cosine.argmax(axis=1) == own).all()
    wide = drawn(contexts, count, safe=False) @ contexts.T.astype(np.float64)
    assert (wide.argmax(axis=1) != own).mean() > 0.05, "without the rule some are, or the line above would say nothing"


def test_cosines_are_uniform_between_the_bounds() -> None:
    """A Kolmogorov-Smirnov test of 2,000 images; norms are 1."""
    from scipy import stats

    contexts = unit(4, 64)
    found = drawn(contexts, 500, safe=False, lower_bound=0.4)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-6)
    cosine = np.einsum("md,md->m", found, np.repeat(contexts, 500, axis=0).astype(np.float64))
    assert cosine.min() > 0.4 - 1e-6
    assert stats.kstest(cosine, stats.uniform(0.4, 0.6).cdf).pvalue > 0.001


def test_edges_of_the_safe_rule() -> None:
    alone, pair = unit(1, 8), unit(2, 8)
    pair[1] = -pair[0]
    twins = unit(1, 8).repeat(2, axis=0)
    assert half_way_cosines(alone).tolist() == [[0.0]], "nobody to keep away from"
    np.testing.assert_allclose(half_way_cosines(pair), 0.0, atol=1e-3)
    assert (half_way_cosines(twins) <= 1.0).all()
    np.testing.assert_allclose(drawn(twins, 2), twins.repeat(2, axis=0), atol=1e-3)


def test_the_gaussian_ablation_is_its_formula(contexts: np.ndarray) -> None:
    found = drawn(contexts, 2, seed=5, gaussian=0.25)
    for i, v in enumerate(contexts.astype(np.float64)):
        for k in range(2):
            x = v + 0.25 * noise.normal(5, [i], [k], v.shape, "idperturb-direction")[0].astype(np.float64)
            np.testing.assert_allclose(found[2 * i + k], x / np.sqrt(x @ x), atol=2e-7)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    contexts = unit(300, 16)
    whole = half_way_cosines(contexts)
    for rows in (1, 7, 299):
        monkeypatch.setattr(neighbors, "_PRODUCTS", 300 * rows)
        np.testing.assert_allclose(half_way_cosines(contexts), whole, rtol=0, atol=1e-6)


def test_a_cone_of_no_width_is_idiffface(model: Model, contexts: np.ndarray) -> None:
    idiffface = pytest.importorskip("harness_idiffface.generator").IDiffFace(LatentSampleSettings(steps=3))
    plan = idiffface.plan(Request(6, 3), Given(contexts=contexts), Run(seed=0))
    plain = np.concatenate([batch.images for batch in idiffface.sample(plan, Given(model=model), Run(seed=0))])
    assert distance(images(model, planned(contexts, lower_bound=1.0), lower_bound=1.0), plain) <= GRAY_LEVELS
    assert distance(images(model, planned(contexts, safe=False), safe=False), plain) > 2 * GRAY_LEVELS


def test_images_are_those_of_their_own_contexts(model: Model, contexts: np.ndarray) -> None:
    """What reaches the network is the drawn context, image by image."""
    plan, method, run = planned(contexts), generator(), Run(seed=0)
    parts, rows = LatentDiffusion.from_model(model), plan.rows(4, 9)
    x, t = torch.randn(5, 4, 8, 8), torch.full((5,), 10)
    with torch.no_grad():
        expected = parts.unet(x, t, torch.from_numpy(drawn(contexts, 3)[4:9].astype(np.float32)))
        torch.testing.assert_close(method.denoiser(parts, plan, rows, Given(model=model), run)(x, t), expected)


def test_settings() -> None:
    defaults = IDPerturbSettings()
    assert (defaults.lower_bound, defaults.safe, defaults.gaussian) == (0.4, True, None)
    for wrong in (
        {"lower_bound": 1.1},
        {"lower_bound": -1.1},
        {"gaussian": 0.0},
        {"gaussian": 0.1, "lower_bound": 0.5},
        {"gaussian": 0.1, "safe": False},
    ):
        with pytest.raises(ValidationError):
            IDPerturbSettings(**wrong)
