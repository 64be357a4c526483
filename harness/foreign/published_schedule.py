"""The schedule vectors that an IDiff-Face checkpoint holds, compared with the recipe that made them.

The first is the linear schedule; each other is made of earlier ones in float32, and is compared with what the
checkpoint's own earlier vectors give: rounding that differs between machines then stays where it arose.

Letters: T diffusion steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from harness.diffusion.schedule import BETA_LAST, REFERENCE_STEPS, linear_schedule
from harness.errors import DataError

TOLERANCE = 1e-5  # relative, in every entry. Rounding stays below 1e-6; another schedule is far beyond
FEWEST_STEPS = int(REFERENCE_STEPS * BETA_LAST) + 1  # with fewer the last beta would reach 1

# In the order in which they are made. Source: IDiff-Face code; (1 - alphas) is rounded to float32 before it is divided.
RECIPE: dict[str, Callable[[Mapping[str, Tensor]], Tensor]] = {
    "betas": lambda v: linear_schedule(len(v["betas"])).betas,
    "alphas": lambda v: 1.0 - v["betas"],
    "sigmas": lambda v: v["betas"].sqrt(),
    "sqrt_alphas_inv": lambda v: 1.0 / v["alphas"].sqrt(),
    "alpha_bars": lambda v: torch.exp(torch.cumsum(torch.log(v["alphas"]), dim=0)),
    "sqrt_alpha_bars": lambda v: v["alpha_bars"].sqrt(),
    "sqrt_one_minus_alpha_bars": lambda v: (1.0 - v["alpha_bars"]).sqrt(),
    "one_minus_alphas_over_sqrt_one_minus_alpha_bars": lambda v: (1.0 - v["alphas"]) / v["sqrt_one_minus_alpha_bars"],
}


def check_schedule(vectors: Mapping[str, Tensor], what: str) -> int:
    """T of the published schedule that the vectors are.

    Args:
        vectors: all tensors of a checkpoint that are not the network's, by name.
        what: where they come from, for the errors.

    Raises:
        DataError: a vector is missing, unexpected or of another length, or an entry is not the recipe's; the message
            names the vector, the step and both values.
    """
    if "betas" not in vectors:
        raise DataError(f"{what}: no tensor 'betas'; expected a state dict of the IDiff-Face diffusion wrapper")
    steps = vectors["betas"].numel()
    for name in sorted(RECIPE.keys() | vectors.keys()):
        if name not in RECIPE or name not in vectors or vectors[name].shape != (steps,):
            raise DataError(f"{what}: schedule vector {name!r} is missing, unexpected or not of length {steps}")
    if steps < FEWEST_STEPS:
        raise DataError(f"{what}: schedule vector 'betas' has {steps} steps, expected at least {FEWEST_STEPS}")
    own = {name: vector.float() for name, vector in vectors.items()}
    for name, make in RECIPE.items():
        _compare(name, own[name], make(own), what)
    return steps


def _compare(name: str, found: Tensor, expected: Tensor, what: str) -> None:
    near = (found - expected).abs() <= TOLERANCE * expected.abs()  # false for what is not finite
    if not near.all():
        t = int((~near).nonzero()[0])
        text = f"is {float(found[t]):.7g} at step {t}, expected {float(expected[t]):.7g}"
        steps = f"the linear schedule with T = {len(found)}"
        raise DataError(f"{what}: schedule vector {name!r} {text}, as {steps} gives it")
