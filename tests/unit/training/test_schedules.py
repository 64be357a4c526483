"""Learning rates by step, and the plateau rule against recorded means and torch's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from harness.training.schedules import best_epoch, drops, is_over, learning_rate
from harness.training.settings import MarginSettings


@pytest.mark.parametrize("schedule", ["cosine", "linear", "poly"])
def test_learning_rate_rises_then_falls(schedule: str) -> None:
    settings = MarginSettings(lr=0.4, schedule=schedule, warmup=0.1)
    rates = [learning_rate(step, 100, settings) for step in range(100)]
    assert rates[10] == max(rates) == pytest.approx(0.4)
    assert 0 < rates[0] < 0.05
    assert rates[99] < 0.01
    assert (np.diff(rates[10:]) < 0).all()


def test_steps_divide_the_rate_at_the_start_of_their_epochs() -> None:
    settings = MarginSettings(lr=0.1, schedule="steps", steps=[2, 3], epochs=5, warmup=0)
    assert [learning_rate(step, 15, settings) for step in (0, 5, 6, 8, 9, 14)] == pytest.approx(
        [0.1, 0.1, 0.01, 0.01, 0.001, 0.001]
    )


def test_a_warm_up_of_one_epoch_of_26_ends_with_it() -> None:
    settings = MarginSettings(lr=0.1, schedule="steps", steps=[12, 20, 24], epochs=26, warmup=0.0384)
    rates = [learning_rate(step, 2600, settings) for step in range(2600)]
    assert rates[98] < 0.1 <= max(rates)
    assert rates[100] == 0.1


# Means of five accuracies after each epoch, written out by hand, and what the rule makes of them. The rate falls after
# the fifth epoch in a row that is not better by a relative 1e-4; training ends after six without a new best.
RECORDED = [
    # rises, then nothing new: the rate falls after the fifth bad epoch, one is trained at it, then the end
    ([0.60, 0.70, 0.80, 0.79, 0.80, 0.78, 0.80, 0.77, 0.79], [0, 0, 0, 0, 0, 0, 0, 1, 1], 8),
    # gains below the threshold are new bests, which hold off the end and not the drop; the count starts again
    ([0.8, 0.80001, 0.80002, 0.80003, 0.80004, 0.80005, 0.80006, 0.80007], [0, 0, 0, 0, 0, 1, 1, 1], None),
    # a real gain in the fourth bad epoch's place resets the count
    ([0.5, 0.4, 0.4, 0.4, 0.4, 0.6, 0.5, 0.5, 0.5, 0.5, 0.5], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], None),
    # two drops: better again after the first, by less than the threshold, in its sixth epoch
    ([0.9, 0.8, 0.8, 0.8, 0.8, 0.8, 0.90005, 0.8, 0.8, 0.8, 0.8, 0.8], [0] * 5 + [1] * 5 + [2] * 2, None),
]


@pytest.mark.parametrize(("means", "fallen", "end"), RECORDED)
def test_the_plateau_rule_replays_recorded_means(means: list[float], fallen: list[int], end: int | None) -> None:
    assert [drops(means[: n + 1]) for n in range(len(means))] == fallen
    over = [n for n in range(len(means)) if is_over(means[: n + 1])]
    assert over[:1] == ([] if end is None else [end])
    settings = MarginSettings(lr=0.05, schedule="plateau", select="held-out", warmup=0)
    assert learning_rate(10, 100, settings, means) == pytest.approx(0.05 * 0.1 ** fallen[-1])


def test_the_plateau_rule_is_torchs() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, mode="max", factor=0.1, patience=4, threshold=1e-4, eps=0
        )
        means = (0.8 + 0.1 * rng.random(40) ** 4 + np.repeat([0, 2e-5], 20)).tolist()
        for epoch, mean in enumerate(means):
            theirs.step(mean)
            assert 0.1 ** drops(means[: epoch + 1]) == pytest.approx(optimizer.param_groups[0]["lr"])


def test_the_first_of_equally_good_epochs_is_the_best() -> None:
    assert best_epoch([0.5, 0.7, 0.7, 0.6]) == 1
    assert not is_over([])
