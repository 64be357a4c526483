"""Tammes anchors: unit norm, far apart, the same for every block size and after an interruption."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from harness_id3.anchors import Tammes, TammesSettings, exact_anchors, max_cosine, soft_maximum_gradient

from harness.builtin.contexts import Uniform
from harness.builtin.small_cnn import SmallCNN
from harness.components import Given, Recognizer, Run
from harness.errors import Stopped
from harness.testing import check_context_law, check_light_import


class Wide(Recognizer):
    """Only its width is asked for."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self._width = width

    @property
    def width(self) -> int:
        return self._width

    features = state = load = None  # type: ignore[assignment]


def anchors(count: int, width: int, run: Run | None = None, **settings: Any) -> np.ndarray:
    return Tammes(TammesSettings(**settings)).draw(count, Given(recognizer=Wide(width)), run or Run(0))


def largest(w: np.ndarray) -> float:
    cosines = w.astype(np.float64) @ w.T.astype(np.float64)
    np.fill_diagonal(cosines, -1)
    return float(cosines.max())


@pytest.mark.parametrize("count", [1, 2, 5, 8, 9, 10, 15, 16, 17, 60])
def test_unit_norm(count: int) -> None:
    w = anchors(count, 8)
    assert w.shape == (count, 8)
    assert w.dtype == np.float32
    assert np.abs(np.linalg.norm(w, axis=1) - 1).max() < 1e-6


@pytest.mark.parametrize(("count", "width"), [(200, 16), (300, 64)])
def test_farther_apart_than_the_random_start(count: int, width: int) -> None:
    start = Uniform().draw(count, Given(recognizer=Wide(width)), Run(0))
    assert np.array_equal(anchors(count, width, iterations=0), start), "the start is the uniform law's draw"
    assert largest(anchors(count, width)) < 0.8 * largest(start)


@pytest.mark.parametrize("count", [2, 3, 8, 9])
def test_up_to_one_more_than_dimensions_is_a_simplex(count: int) -> None:
    cosines = anchors(count, 8) @ anchors(count, 8).T
    apart = cosines[~np.eye(count, dtype=bool)]
    assert np.abs(apart + 1 / (count - 1)).max() < 1e-6


@pytest.mark.parametrize("count", [10, 11, 15, 16])
def test_up_to_twice_the_dimensions_no_cosine_is_positive(count: int) -> None:
    w = anchors(count, 8)
    assert largest(w) < 1e-6
    half = (count + 1) // 2
    assert np.allclose(w[half:], -w[: count - half], atol=1e-6)


def test_exact_anchors_stay_near_their_start() -> None:
    start = np.random.default_rng(0).normal(size=(6, 64))
    found = exact_anchors(start)
    assert ((found * start).sum(axis=1) > 0.5 * np.linalg.norm(found, axis=1) * np.linalg.norm(start, axis=1)).all()


def test_descent_finds_known_solutions() -> None:
    # in three dimensions the icosahedron is best for 12 points: cosine 1 / sqrt(5)
    found = min(largest(anchors(12, 3, Run(seed), iterations=400, step=1e-2)) for seed in range(4))
    assert found == pytest.approx(5**-0.5, abs=0.02)


def test_the_gradient_is_the_objectives() -> None:
    torch.manual_seed(0)
    w = torch.nn.functional.normalize(torch.randn(7, 4, dtype=torch.double)).requires_grad_()
    cosines = (w @ w.T).masked_fill(torch.eye(7, dtype=torch.bool), -torch.inf)
    (torch.logsumexp(30.0 * cosines, dim=1) / 30.0).mean().backward()  # type: ignore[no-untyped-call]
    found, top = soft_maximum_gradient(w.detach(), 30.0, block=3)
    assert w.grad is not None
    assert torch.allclose(found, 7 * w.grad)
    assert top == pytest.approx(float(cosines.detach().max()))
    assert max_cosine(w.detach(), 2) == pytest.approx(top)


@pytest.mark.parametrize("block", [1, 7, 64, 100, 1000])
def test_the_block_size_changes_rounding_alone(block: int) -> None:
    whole = anchors(100, 12, iterations=50, block=100)
    assert np.abs(anchors(100, 12, iterations=50, block=block) - whole).max() < 1e-3
    assert largest(whole) == pytest.approx(largest(anchors(100, 12, iterations=50, block=block)), abs=1e-4)
    assert Tammes(TammesSettings(block=block)).identity() == Tammes().identity()


def test_the_seed_is_all_that_is_random() -> None:
    assert np.array_equal(anchors(40, 12, Run(3)), anchors(40, 12, Run(3)))
    assert not np.allclose(anchors(40, 12, Run(3)), anchors(40, 12, Run(4)), atol=0.1)
    assert not np.allclose(anchors(6, 12, Run(3)), anchors(6, 12, Run(4)), atol=0.1)


def test_logged_and_resumed(tmp_path: Path) -> None:
    events: list[tuple[str, dict[str, Any]]] = []
    whole = anchors(60, 12, Run(0, emit=lambda kind, data: events.append((kind, data))), iterations=40)
    curve = [data["value"] for kind, data in events if kind == "log"]
    assert len(curve) == 41
    assert curve[0] == pytest.approx(largest(anchors(60, 12, iterations=0)), abs=1e-5)
    assert curve[-1] == pytest.approx(largest(whole), abs=1e-5)
    assert events[-2][1]["done"] == 40
    for stop_after in (0, 7, 39):
        folder = tmp_path / str(stop_after)
        folder.mkdir()
        calls = iter(range(100))
        stopping = Run(0, folder=folder, should_stop=lambda: next(calls) == stop_after)  # noqa: B023
        with pytest.raises(Stopped, match=f"iteration {stop_after} of 40"):
            anchors(60, 12, stopping, iterations=40)
        assert np.array_equal(anchors(60, 12, Run(0, folder=folder), iterations=40), whole)


def test_it_is_a_component() -> None:
    check_context_law(Tammes(), Given(recognizer=SmallCNN()))
    check_light_import("harness_id3.anchors")
