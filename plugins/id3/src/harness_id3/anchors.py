"""``tammes``: identity anchors that are as far from one another as points on a sphere can be.

The Tammes problem asks for N unit vectors whose smallest angle is largest. Up to 2D of them the answer is known and
drawn exactly; more are solved approximately by descent on a soft maximum of the cosines.

Letters: N anchors, D their width, B anchors of a block. Source: ID3, arXiv 2409.17576, data set generation; how the
authors solve the problem is not public, this is ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from harness import noise
from harness.arrays import AnyFloats, Doubles, Floats
from harness.components import ContextLaw, Given, Settings
from harness.components.base import APACHE
from harness.errors import Stopped

if TYPE_CHECKING:
    import torch

    from harness.components.run import Run


BETA = (20.0, 200.0)  # sharpness of the soft maximum, at the first and at the last iteration. Ours
STEP = 2e-3  # of Adam. Same source
ADAM_DECAYS, ADAM_EPS = (0.9, 0.999), 1e-8  # Adam's own, arXiv 1412.6980
CHECKPOINTS = 20  # over all iterations


class TammesSettings(Settings):
    """How to solve the problem."""

    iterations: int = Field(200, ge=0, description="of descent; 0 keeps the random start (up to 2D anchors are exact)")
    step: float = Field(STEP, gt=0, lt=1, description="Adam's step length, on the unit sphere")
    beta: tuple[float, float] = Field(BETA, description="sharpness of the soft maximum, from first to last iteration")
    block: int = Field(1024, ge=1, description="anchors compared with all others at once; no part of the result's key")


class Tammes(ContextLaw):
    """Anchors on the whole unit sphere whose largest cosine is as small as descent can make it.

    10,000 anchors of 512 values take 200 x 3 products of 10,000 x 10,000 x 512 and memory for ``block`` x 10,000
    cosines. They fill the whole sphere, as those of ``uniform`` do, which is their start: for a recognizer whose
    embeddings fill a small part of it, most anchors then lie where no face is. The anchors depend on one another: row i
    is a function of (seed, i, N), not of (seed, i) alone.

    Source: ID3, arXiv 2409.17576; the solver is ours.
    """

    Settings = TammesSettings
    license = APACHE
    code = ("harness_id3.anchors", "harness.noise")  # of the package, the generator has no part in it

    def identity(self) -> dict[str, Any]:
        """Everything but the block size, which changes anchors by rounding alone."""
        values: dict[str, Any] = self.settings.model_dump(mode="json", exclude={"block"})
        return values

    def draw(self, count: int, given: Given, run: Run) -> Floats:
        """Solve the problem for ``count`` anchors; of the recognizer the width alone enters.

        Raises:
            Stopped: the user asked to stop; a checkpoint is kept.
        """
        width = given.recognizer.width
        start = noise.normal(run.seed, range(count), [0] * count, (width,), "contexts")
        if 1 < count <= 2 * width:
            anchors = _unit(exact_anchors(start.astype(np.float64)))
            run.log("max-cosine", float((anchors @ anchors.T - 2 * np.eye(count)).max()), 0)
            return anchors
        if count < 2:
            return _unit(start)
        return _Descent(_unit(start), self.settings, run).solve()


def exact_anchors(start: Doubles) -> Doubles:
    """The solution for N <= 2D, turned towards a random start.

    Up to D + 1 vectors: the regular simplex, every cosine -1/(N-1). Up to 2D: pairs of opposite vectors along
    orthogonal axes, largest cosine 0; anchor i and anchor i + ceil(N/2) are opposite.

    Args:
        start: Gaussians, [N, D], N at least 2.

    Returns:
        [N, D], all of one norm.
    """
    count, width = start.shape
    if count <= width + 1:
        # The nearest matrix whose columns are orthonormal and sum to zero: its Gram matrix is I - 1/N.
        u, _, v = np.linalg.svd(start - start.mean(axis=0), full_matrices=False)
        simplex: Doubles = u[:, : count - 1] @ v[: count - 1]
        return simplex
    half = (count + 1) // 2
    u, _, v = np.linalg.svd(start[:half], full_matrices=False)
    axes = u @ v  # [N/2, D], orthonormal rows
    return np.concatenate([axes, -axes[: count - half]])


class _Descent:
    """Projected Adam on the mean over i of (1/beta) log sum_{j != i} exp(beta <w_i, w_j>)."""

    def __init__(self, start: Floats, settings: TammesSettings, run: Run) -> None:
        import torch

        self.settings, self.run = settings, run
        self.w = torch.from_numpy(start).to(run.device)  # [N, D]
        self.first, self.second = torch.zeros_like(self.w), torch.zeros_like(self.w)  # Adam's moments
        self.done = 0

    def solve(self) -> Floats:
        """Descend from the run's checkpoint on."""
        s, run = self.settings, self.run
        self._restore()
        progress = run.progress(s.iterations, "anchor iterations")
        progress.advance(self.done)
        every = max(1, s.iterations // CHECKPOINTS)
        while self.done < s.iterations:
            if run.stop_requested:
                self._save()
                raise Stopped(f"tammes stopped after iteration {self.done} of {s.iterations}")
            low, high = s.beta
            beta = low + (high - low) * self.done / max(1, s.iterations - 1)
            gradient, largest = soft_maximum_gradient(self.w, beta, s.block)
            run.log("max-cosine", largest, self.done)  # of the anchors before this iteration
            self._step(gradient)
            self.done += 1
            progress.advance()
            if self.done % every == 0 and self.done < s.iterations:
                self._save()
        run.log("max-cosine", max_cosine(self.w, s.block), self.done)
        anchors: Floats = self.w.cpu().numpy()
        return anchors

    def _step(self, gradient: torch.Tensor) -> None:
        g = gradient - (gradient * self.w).sum(dim=1, keepdim=True) * self.w  # on the tangent space
        a, b = ADAM_DECAYS
        self.first.lerp_(g, 1.0 - a)
        self.second.lerp_(g.square(), 1.0 - b)
        n = self.done + 1
        scale = (self.second / (1.0 - b**n)).sqrt_().add_(ADAM_EPS)
        self.w = self.w - self.settings.step / (1.0 - a**n) * self.first / scale
        self.w /= self.w.norm(dim=1, keepdim=True)

    def _save(self) -> None:
        state = {"done": self.done, "w": self.w, "first": self.first, "second": self.second}
        self.run.checkpoint.save(state)

    def _restore(self) -> None:
        state = self.run.checkpoint.load()
        if state is not None:
            self.done = int(state["done"])
            self.w, self.first, self.second = (state[name].to(self.w) for name in ("w", "first", "second"))


def soft_maximum_gradient(w: torch.Tensor, beta: float, block: int) -> tuple[torch.Tensor, float]:
    """N times the gradient of the objective, and the largest cosine of two anchors.

    The factor N keeps the gradient away from Adam's epsilon for any number of anchors; Adam itself is blind to it.
    With p_ij the softmax over j of beta <w_i, w_j>, it is sum_j p_ij w_j + sum_j p_ji w_j for anchor i.

    Args:
        w: unit norm, [N, D].
        beta: sharpness.
        block: rows of cosines held at once.
    """
    gradient, largest = w.new_zeros(w.shape), -1.0
    for start, cosines in _blocks(w, block):  # [B, N]
        largest = max(largest, float(cosines.max()))
        p = cosines.mul_(beta).softmax(dim=1)
        gradient[start : start + len(p)] += p @ w
        gradient.addmm_(p.T, w[start : start + len(p)])
    return gradient, largest


def max_cosine(w: torch.Tensor, block: int = 1024) -> float:
    """The largest cosine of two different rows of w [N, D]."""
    return max(float(cosines.max()) for _, cosines in _blocks(w, block))


def _blocks(w: torch.Tensor, block: int) -> Iterator[tuple[int, torch.Tensor]]:
    """Cosines of consecutive rows with all rows, -inf with themselves."""
    for start in range(0, len(w), block):
        cosines = w[start : start + block] @ w.T
        cosines.diagonal(start).fill_(-float("inf"))
        yield start, cosines


def _unit(vectors: AnyFloats) -> Floats:
    unit: Floats = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit
