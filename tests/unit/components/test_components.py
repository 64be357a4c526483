"""What a plugin author builds on: plans, the run's noise and events, and settings."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import FrozenInstanceError, fields
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given as such_that
from hypothesis import settings
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from harness.components import Generator, Given, Model, Request, Run, SamplePlan, Settings
from harness.components.roles import ROLES, WORDS, check_roles
from harness.errors import InputError, StageError


@settings(deadline=None)
@such_that(st.integers(1, 6), st.integers(1, 6), st.integers(1, 40))
def test_batches_of_a_plan_are_the_plan(identities: int, per_identity: int, size: int) -> None:
    count = identities * per_identity
    items = {"x": np.arange(2 * count, dtype=np.float32).reshape(count, 2)}
    plan = SamplePlan.grid(identities, per_identity, items=items, pool={"context": np.ones((identities, 3))})
    parts = list(plan.batches(size))
    assert all(0 < len(part) <= size for part in parts)
    assert np.array_equal(np.concatenate([part.identities for part in parts]), plan.identities)
    assert np.array_equal(np.concatenate([part.samples for part in parts]), plan.samples)
    assert np.array_equal(np.concatenate([part.items["x"] for part in parts]), items["x"])
    assert all(part.pool["context"].shape == (identities, 3) for part in parts)
    pairs = set(zip(plan.identities.tolist(), plan.samples.tolist(), strict=True))
    assert pairs == {(i, s) for i in range(identities) for s in range(per_identity)}


def test_noise_is_a_function_of_its_arguments_alone() -> None:
    run, shape = Run(seed=3), (2, 4)
    whole = run.noise([5, 5, 9], [0, 1, 0], shape, "x_T")
    assert whole.dtype == torch.float32
    assert torch.equal(run.noise([9], [0], shape, "x_T")[0], whole[2])
    others = [
        run.noise([5], [0], shape, "sampler"),
        run.noise([5], [0], shape, "x_T", step=1),
        Run(seed=4).noise([5], [0], shape, "x_T"),
    ]
    assert all(not torch.equal(other[0], whole[0]) for other in others)
    assert torch.equal(Run(seed=3).noise([5], [1], shape, "x_T")[0], whole[1])


def test_draws_of_a_stage_are_keyed_by_purpose() -> None:
    a, b, c = (Run(seed=0).generator(purpose).integers(1 << 40) for purpose in ("subset", "subset", "order"))
    assert a == b != c


def test_events() -> None:
    seen: list[tuple[str, dict[str, Any]]] = []
    run = Run(seed=0, emit=lambda kind, data: seen.append((kind, data)), should_stop=lambda: True)
    progress = run.progress(10, "images")
    progress.advance(4)
    progress.advance()
    run.log("loss", 0.5, 3)
    run.log("loss", float("nan"), 4)
    assert [data["done"] for kind, data in seen if kind == "progress"] == [0, 4, 5]
    assert [data["finite"] for kind, data in seen if kind == "log"] == [True, False]
    assert run.stop_requested
    assert not Run(seed=0).stop_requested


class Sized(Settings):
    size_px: int = Field(32, ge=16)


class Plain(Generator):
    Settings = Sized

    def sample(self, plan: SamplePlan, given: Given, run: Run) -> Any:
        return iter(())


def test_settings_are_frozen_and_know_their_keys() -> None:
    with pytest.raises(ValidationError):
        Sized(size=3)  # type: ignore[call-arg]
    with pytest.raises(ValidationError):
        Sized().size_px = 3  # type: ignore[misc]
    assert Plain().settings == Sized()
    assert Plain(Sized(size_px=64)).identity() == {"size_px": 64}


def test_defaults_of_a_generator() -> None:
    assert not Plain().plan(Request(2, 3), Given(), Run(seed=0)).pool
    assert not hasattr(Plain, "fit")
    assert Plain.schema("fit") is Plain.schema("generate") is Sized

    class Conditioned(Plain):
        needs = frozenset({"contexts"})

    contexts = np.ones((2, 3), np.float32)
    plan = Conditioned().plan(Request(2, 3), Given(contexts=contexts), Run(seed=0))
    assert len(plan) == 6
    assert np.array_equal(plan.pool["context"], contexts)


def test_what_was_not_asked_for_cannot_be_read() -> None:
    model = Model("toy/1")
    given = Given(model=model)
    assert given.model is model
    assert given.autoencoder is given.people is None, "which a suite may leave out"
    for role in set(ROLES) - {"model", "autoencoder", "people"}:
        text = rf"given\.{role} was not asked for; add '{role}' to the component's needs"
        with pytest.raises(StageError, match=text):
            getattr(given, role)
    with pytest.raises(FrozenInstanceError):
        given.model = Model("other/1")  # type: ignore[misc]
    assert {field.name for field in fields(Given)} == set(ROLES) == set(WORDS)


def test_a_role_that_is_none_is_named() -> None:
    check_roles("evaluator 'mine'", frozenset({"dataset", "judge"}))
    with pytest.raises(InputError, match=r"evaluator 'mine': needs unknown role 'datset'.*did you mean 'dataset'"):
        check_roles("evaluator 'mine'", frozenset({"datset"}))


def test_nothing_heavy_is_imported() -> None:
    code = "import sys, harness.components; print({'torch', 'mlflow', 'scipy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
