"""The contract on the components that ship with the core."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from harness.builtin.contexts import AuthenticContexts, ClassGaussian, Uniform
from harness.builtin.existing import Authentic
from harness.builtin.existing import Images as ImagesRow
from harness.builtin.faceworld import FaceWorldSettings, FaceWorldSource
from harness.builtin.images import ImagesSettings, ImagesSource
from harness.builtin.landmarks import LandmarksAligner
from harness.builtin.margin import MarginTrainer
from harness.builtin.mtcnn import MTCNNAligner, MTCNNSettings
from harness.builtin.no_alignment import NoAlignment
from harness.builtin.pairs import SourcePairs, SourcePairsSettings
from harness.builtin.small_cnn import SmallCNN
from harness.builtin.unconditional import Unconditional
from harness.builtin.verification import Verification
from harness.components import AlignedBatch, Aligner, ContextLaw, Crop, Generator, Given, ImageBatch, PairSet, Run
from harness.faces.faceset import FaceSet, ShardWriter, write_items
from harness.plugins import COMPONENT_KINDS, registry
from harness.testing import (
    check_aligner,
    check_component,
    check_context_law,
    check_evaluator,
    check_fit,
    check_generator,
    check_head,
    check_light_import,
    check_own_code,
    check_protocol,
    check_recognizer,
    check_source,
    check_trainer,
    pictures,
)
from harness.testing import faces as drawn_faces
from harness.testing.toy import Toy, ToySettings
from harness.training.settings import MarginSettings

SMALL: dict[str, dict[str, int]] = {"fw-lfw": {"pairs": 40, "size_px": 32}, "fw-ijb": {"identities": 2, "size_px": 32}}
COMPONENTS = [(kind, name) for kind in COMPONENT_KINDS for name in registry().names[kind]]


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> FaceSet:
    """Six identities with gaps in their numbers, six images each."""
    folder, rng = tmp_path_factory.mktemp("faces"), np.random.default_rng(0)
    writer = ShardWriter(folder, 0)
    for identity in range(0, 60, 10):
        for sample in range(6):
            writer.add(identity, sample, rng.integers(0, 256, (16, 16, 3), dtype=np.uint8))
    writer.close()
    write_items(folder, 1)
    return FaceSet(folder, Crop("raw", 16))


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> FaceSet:
    """Ten drawn people, aligned."""
    return drawn_faces(tmp_path_factory.mktemp("people"), identities=10)


@pytest.fixture(scope="module")
def recognizer() -> SmallCNN:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return SmallCNN(takes=Crop("arcface", 32))


def test_toy() -> None:
    check_generator(Toy(ToySettings(size_px=16)))


@pytest.mark.parametrize("generator", [Authentic(), ImagesRow()], ids=["authentic", "images"])
def test_rows_of_existing_images(generator: Generator, faces: FaceSet) -> None:
    check_generator(generator, Given(source=faces))


def test_faceworld_source() -> None:
    check_source(FaceWorldSource(FaceWorldSettings(identities=2, per_identity=3, size_px=32, mode="mild")))


def test_images_source(tmp_path: Path) -> None:
    for identity, name in enumerate(["1", "2", "10"]):
        (tmp_path / name).mkdir()
        for sample, file in enumerate(["1.png", "2.png", "10.png"]):
            side = 16 + 4 * (sample == 2)  # images of one folder may differ in size
            pixels = np.full((side, side, 3), (40 * identity, 40 * sample, 7), np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / file)
    source = ImagesSource(ImagesSettings(path=tmp_path))
    check_source(source)
    check_source(ImagesSource(ImagesSettings(path=tmp_path, size_px=16, identities=(1, 3))))
    images = [image for batch in source.sample(source.plan(Run(0)), Run(0)) for image in batch.images]
    colors = [image[0, 0, :2].tolist() for image in images]
    assert colors == [[40 * i, 40 * s] for i in range(3) for s in range(3)], "numeric order: 2 comes before 10"


@pytest.mark.parametrize("aligner", [NoAlignment(), LandmarksAligner()], ids=["none", "landmarks"])
@pytest.mark.parametrize("size_px", [32, 24])
def test_aligners(aligner: Aligner, size_px: int) -> None:
    check_aligner(aligner, pictures(6, 32), size_px)


def test_a_detector_and_the_same_with_its_colors_swapped(monkeypatch: pytest.MonkeyPatch) -> None:
    aligner, people, align = MTCNNAligner(MTCNNSettings(min_face=0.4)), pictures(4, 96), MTCNNAligner.align
    check_aligner(aligner, people, levels=2)

    def swapped(self: MTCNNAligner, batch: ImageBatch, crop: Crop, run: Run) -> AlignedBatch:
        made = align(self, batch, crop, run)
        return replace(made, images=np.ascontiguousarray(made.images[..., ::-1]))

    monkeypatch.setattr(MTCNNAligner, "align", swapped)
    with pytest.raises(AssertionError, match=r"^\[rgb\] "):
        check_aligner(aligner, people, levels=2)


def test_recognizers() -> None:
    check_recognizer(SmallCNN())
    check_recognizer(SmallCNN(takes=Crop("arcface", 32, "bgr")))


@pytest.mark.parametrize("law", [Uniform(), ClassGaussian(), AuthenticContexts()], ids=lambda law: type(law).__name__)
def test_laws_of_contexts(law: ContextLaw, people: FaceSet, recognizer: SmallCNN) -> None:
    check_context_law(law, Given(recognizer=recognizer, source=people))


@pytest.mark.parametrize("name", registry().names["heads"])
def test_heads(name: str) -> None:
    head: Any = registry().load("heads", name)
    check_head(head)


def test_trainer(tmp_path: Path) -> None:
    settings = MarginSettings(epochs=2, batch_size=8)
    check_trainer(MarginTrainer(settings), Given(dataset=drawn_faces(tmp_path)))


@pytest.mark.slow
def test_fit(tmp_path: Path) -> None:
    settings = Unconditional.FitSettings(
        size_px=32, network="demo", autoencoder_steps=2, steps=3, batch_size=4, lr_schedule="cosine"
    )
    check_fit(Unconditional(settings), Given(source=drawn_faces(tmp_path, view="raw")))


@pytest.mark.parametrize("name", ["fw-lfw", "fw-ijb"])
def test_protocols_with_faces_of_their_own(name: str) -> None:
    cls = registry().load("protocols", name)
    check_protocol(cls(cls.Settings(**SMALL[name])))


def test_pairs_of_a_source(people: FaceSet) -> None:
    check_protocol(SourcePairs(SourcePairsSettings(folds=5)), people)


@pytest.mark.parametrize("name", ["separability", "diversity", "fidelity", "consistency"])
def test_evaluators_of_datasets(name: str, people: FaceSet, recognizer: SmallCNN) -> None:
    evaluator: Any = registry().load("evaluators", name)()
    check_evaluator(evaluator, Given(dataset=people, judge=recognizer, source=people))


def test_verification(people: FaceSet, recognizer: SmallCNN) -> None:
    pairs = SourcePairs(SourcePairsSettings(folds=5)).pairs(people, Run(0))
    assert isinstance(pairs, PairSet)
    check_evaluator(Verification(), Given(recognizer=recognizer, pairs={"people": (people, pairs)}))


@pytest.mark.parametrize(("kind", "name"), COMPONENTS)
def test_every_component_has_settings_license_and_code(kind: str, name: str) -> None:
    cls = registry().load(kind, name)
    needed = [field for field, info in cls.Settings.model_fields.items() if info.is_required()]
    if needed:
        assert needed == ["path"], "give this component a test of its own"
        return
    check_component(cls())


@pytest.mark.parametrize(("kind", "name"), COMPONENTS)
def test_every_component_is_keyed_by_its_own_source(kind: str, name: str) -> None:
    cls = registry().load(kind, name)
    check_own_code(cls.__new__(cls))


def test_components_are_light() -> None:
    check_light_import(*{registry().load(kind, name).__module__ for kind, name in COMPONENTS})
