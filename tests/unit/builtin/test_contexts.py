"""Context laws that look at faces: real people's, and those that an unconditional model draws."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.builtin.contexts import AuthenticContexts, AuthenticSettings, Uniform
from harness.builtin.small_cnn import SmallCNN, SmallCNNSettings
from harness.builtin.two_stage import TwoStage, TwoStageSettings
from harness.builtin.unconditional import KIND, Unconditional, UnconditionalFitSettings
from harness.components import Crop, Given, Model, Run
from harness.diffusion import fitting
from harness.diffusion.latent import KIND as CONDITIONAL
from harness.diffusion.latent import LatentDiffusion
from harness.diffusion.settings import LatentFitSettings
from harness.errors import StageError, Stopped
from harness.faces.faceset import FaceSet, ShardWriter, write_items
from harness.testing.latent import TINY_CONFIG, tiny_model

SHORT = {"size_px": 32, "network": "demo", "autoencoder_steps": 2, "steps": 2, "batch_size": 4}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> FaceSet:
    """Six people with gaps in their numbers; person 10 p has p + 1 pictures."""
    folder, random = tmp_path_factory.mktemp("people"), np.random.default_rng(0)
    writer = ShardWriter(folder, 0)
    for person in range(6):
        for sample in range(person + 1):
            writer.add(10 * person, sample, random.integers(0, 256, (32, 32, 3), dtype=np.uint8))
    writer.close()
    write_items(folder, 1)
    return FaceSet(folder, Crop("raw", 32))


@pytest.fixture(scope="module")
def recognizer() -> SmallCNN:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return SmallCNN(SmallCNNSettings(width=16), Crop("raw", 32))


@pytest.fixture(scope="module")
def unconditional(source: FaceSet) -> Model:
    model = Unconditional(LatentFitSettings(**SHORT)).fit(Given(source=source), Run(seed=0))
    assert model.kind == KIND
    return model


def authentic(source: FaceSet, recognizer: SmallCNN, count: int, seed: int = 0, **settings: Any) -> np.ndarray:
    given = Given(source=source, recognizer=recognizer)
    return AuthenticContexts(AuthenticSettings(**settings)).draw(count, given, Run(seed))


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def test_class_means_are_those_of_the_people(source: FaceSet, recognizer: SmallCNN) -> None:
    embeddings = unit(recognizer.embed(source.images()))
    means = [unit(embeddings[source.labels == person].sum(axis=0)) for person in range(6)]
    drawn = authentic(source, recognizer, 6, take="class-means")
    places = [int(np.argmin([np.abs(row - mean).max() for mean in means])) for row in drawn]
    assert sorted(places) == list(range(6))
    np.testing.assert_allclose(drawn, np.stack(means)[places], atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(drawn, axis=1), 1.0, atol=1e-6)


def test_single_images_are_one_of_each_person(source: FaceSet, recognizer: SmallCNN) -> None:
    embeddings = unit(recognizer.embed(source.images()))
    seen = set()
    for seed in range(8):
        drawn = authentic(source, recognizer, 6, seed, take="images")
        found = [int(np.argmin(np.abs(embeddings - row).max(axis=1))) for row in drawn]
        np.testing.assert_allclose(drawn, embeddings[found], atol=1e-5)
        assert sorted(source.labels[found].tolist()) == list(range(6))
        seen |= set(found)
    assert len(seen) > 10, "other seeds take other images"


def test_a_smaller_draw_is_the_start_of_a_larger_one_and_seeds_matter(source: FaceSet, recognizer: SmallCNN) -> None:
    for take in ("class-means", "images"):
        six = authentic(source, recognizer, 6, take=take)
        np.testing.assert_allclose(authentic(source, recognizer, 3, take=take), six[:3], atol=1e-6)
        assert not np.allclose(authentic(source, recognizer, 6, 1, take=take), six, atol=1e-3)


def test_each_context_says_whose_embedding_it_is(source: FaceSet, recognizer: SmallCNN) -> None:
    embeddings, law, run = unit(recognizer.embed(source.images())), AuthenticContexts(), Run(3)
    given = Given(source=source, recognizer=recognizer)
    drawn, people = law.draw(4, given, run), law.people(4, given, run)
    found = [int(np.argmin(np.abs(embeddings - row).max(axis=1))) for row in drawn]
    assert source.identities[found].tolist() == people.tolist()
    assert Uniform().people(4, Given(recognizer=recognizer), run) is None


def test_authentic_contexts_need_a_person_each(source: FaceSet, recognizer: SmallCNN) -> None:
    with pytest.raises(StageError, match="7 are asked for, the source has 6"):
        authentic(source, recognizer, 7)


def test_an_unconditional_fit_learns_nothing_of_contexts(unconditional: Model) -> None:
    parts = LatentDiffusion.from_model(unconditional)
    assert parts.unet.config.whole_context_dropout_probability == 1.0
    for training in (True, False):
        parts.unet.train(training)
        dropped = parts.unet.project(torch.randn(3, 1))
        assert not training or not dropped.any(), "in training every context is dropped whole"


def two_stage(model: Model, recognizer: SmallCNN, count: int, run: Run, **settings: Any) -> np.ndarray:
    law = TwoStage(TwoStageSettings(**{"steps": 2, **settings}))
    return law.draw(count, Given(recognizer=recognizer, model=model), run)


def test_two_stage_contexts_are_seeded_unit_embeddings(unconditional: Model, recognizer: SmallCNN) -> None:
    five = two_stage(unconditional, recognizer, 5, Run(seed=0))
    assert five.shape == (5, 16)
    assert five.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(five, axis=1), 1.0, atol=1e-6)
    again = two_stage(unconditional, recognizer, 3, Run(seed=0), batch_size=2)
    np.testing.assert_allclose(again, five[:3], atol=2e-2)
    assert not np.allclose(two_stage(unconditional, recognizer, 5, Run(seed=1)), five, atol=2e-2)


class Listening(Run):
    """Remembers whose noise was asked for."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.asked: list[tuple[int, int]] = []

    def noise(self, identities: Any, samples: Any, shape: Any, purpose: str, step: int = 0) -> torch.Tensor:
        self.asked.extend(zip(identities, samples, strict=True))
        return super().noise(identities, samples, shape, purpose, step)


def test_two_stage_contexts_of_the_published_unconditional_network(
    source: FaceSet, recognizer: SmallCNN, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replace(TINY_CONFIG, condition_type="AdaGN", is_context_conditional=False)
    monkeypatch.setattr(fitting, "PUBLISHED_UNCONDITIONAL_CONFIG", small)
    settings = UnconditionalFitSettings(**{**SHORT, "network": "published-adagn"})
    assert UnconditionalFitSettings().network == "published-adagn"
    model = Unconditional(settings).fit(Given(source=source), Run(seed=0))
    drawn = two_stage(model, recognizer, 3, Run(seed=0))
    assert drawn.shape == (3, 16)
    np.testing.assert_allclose(np.linalg.norm(drawn, axis=1), 1.0, atol=1e-6)


def test_two_stage_shares_no_noise_with_the_rows(unconditional: Model, recognizer: SmallCNN) -> None:
    run = Listening(seed=0)
    two_stage(unconditional, recognizer, 3, run)
    assert run.asked
    assert max(sample for _, sample in run.asked) < 0


def test_two_stage_goes_on_where_it_was(tmp_path: Path, unconditional: Model, recognizer: SmallCNN) -> None:
    whole = two_stage(unconditional, recognizer, 5, Run(seed=0), batch_size=2)
    with pytest.raises(Stopped, match="after 2 of 5"):
        two_stage(unconditional, recognizer, 5, Run(0, folder=tmp_path, should_stop=lambda: True), batch_size=2)
    rest = Listening(seed=0, folder=tmp_path)
    assert np.array_equal(two_stage(unconditional, recognizer, 5, rest, batch_size=2), whole)
    assert {identity for identity, _ in rest.asked} == {2, 3, 4}


def test_two_stage_stops_when_asked_and_refuses_aligned_views(unconditional: Model, recognizer: SmallCNN) -> None:
    with pytest.raises(Stopped, match="after 2 of 4"):
        two_stage(unconditional, recognizer, 4, Run(seed=0, should_stop=lambda: True), batch_size=2)
    aligned = SmallCNN(SmallCNNSettings(width=16), Crop("arcface", 32))
    with pytest.raises(StageError, match="view raw"):
        two_stage(unconditional, aligned, 2, Run(seed=0))


def test_the_batch_size_of_two_stage_is_no_part_of_its_key() -> None:
    def identity(**settings: Any) -> Any:
        return TwoStage(TwoStageSettings(**settings)).identity()

    assert identity(batch_size=3) == identity(batch_size=16)
    assert identity(steps=3) != identity(steps=4)


def test_a_conditional_model_is_of_another_kind() -> None:
    assert CONDITIONAL not in TwoStage.accepts["model"]
    assert tiny_model().kind == CONDITIONAL
