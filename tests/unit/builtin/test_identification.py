"""``identification`` on ``fw-identification``: what is reported is the definition; what has no galleries is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from harness.builtin.identification import Identification, IdentificationSettings
from harness.components import Given, Report, Run, TemplateSet
from harness.errors import StageError
from harness.faces.faceset import FaceSet
from harness.graph import ProtocolStage
from harness.stages import protocol as protocol_stage
from harness.stages.opening import open_protocol
from harness.stages.work import Work
from harness.store.artifacts import Artifact, Manifest, Store
from tests.unit.builtin.conftest import described
from tests.unit.builtin.test_ijb import Pixels

PEOPLE = 36
Made = tuple[FaceSet, TemplateSet]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """fw-identification with 36 people through its stage, as a run does it."""
    store = Store(tmp_path_factory.mktemp("store"))
    settings = {"identities": PEOPLE, "size_px": 32}
    target = "harness.builtin.fw_ijb:FwIdentification"
    stage = ProtocolStage(
        key="k", label="protocol", component="fw-identification", target=target, settings=settings, crop_px=32
    )
    work = Work(stage, store, "cpu", lambda kind, data: None, lambda: False)
    for shard in protocol_stage.prepare(work)["missing"]:
        protocol_stage.shard(work, shard)
    manifest = Manifest.model_construct(details=protocol_stage.finish(work)["details"], parents={})
    faces, templates, _ = open_protocol(Artifact(work.folder, manifest), store)
    assert isinstance(templates, TemplateSet)
    return faces, templates


def evaluate(made: Made, templates: TemplateSet | None = None, **settings: Any) -> Report:
    faces, listed = made
    recognizer: Any = Pixels()
    given = Given(recognizer=recognizer, templates={"fw": (faces, templates or listed)})
    return Identification(IdentificationSettings(**settings)).evaluate(given, Run(0))


def test_it_reports_the_definition(made: Made) -> None:
    """Against templates that are pooled and searched one by one."""
    faces, templates = made
    (batch,) = faces.batches(len(faces))
    features = Pixels().embed(batch.images).astype(np.float64) + Pixels().embed(batch.images[:, :, ::-1])
    features *= templates.score[:, None]
    vectors, people, gallery = [], [], []
    for number in range(len(templates)):
        here = templates.template == number
        vector = sum(features[here & (templates.media == medium)].mean(axis=0) for medium in set(templates.media[here]))
        vectors.append(vector / np.linalg.norm(vector))
        people.append(int(faces.identities[here][0]))
        gallery.append(int(templates.gallery[here][0]))
    assert sorted(gallery) == [0] * 3 * PEOPLE + [1] * (PEOPLE // 2) + [2] * (PEOPLE // 2)
    expected = {"rank_1": [], "rank_5": [], "tpir_at_fpir_1e-1": []}
    for number in (1, 2):
        enrolled = [place for place in range(len(vectors)) if gallery[place] == number]
        ranks, mates, nobody = [], [], []
        for place in (place for place in range(len(vectors)) if gallery[place] == 0):
            scores = {people[other]: float(vectors[place] @ vectors[other]) for other in enrolled}
            if people[place] in scores:
                ranks.append(sum(score >= scores[people[place]] for score in scores.values()))
                mates.append(scores[people[place]])
            else:
                nobody.append(max(scores.values()))
        threshold = sorted(nobody, reverse=True)[len(nobody) // 10]
        expected["rank_1"].append(np.mean([rank == 1 for rank in ranks]))
        expected["rank_5"].append(np.mean([rank <= 5 for rank in ranks]))
        hits = [rank == 1 and mate > threshold for rank, mate in zip(ranks, mates, strict=True)]
        expected["tpir_at_fpir_1e-1"].append(np.mean(hits))
    report = evaluate(made)
    found = {metric.name.removeprefix("fw/"): metric.value for metric in report.metrics}
    for name, values in expected.items():
        assert 0 < found[name] < 1
        assert found[name] == pytest.approx(np.mean(values), abs=1e-12), name


def test_what_is_told(made: Made) -> None:
    report = evaluate(made, feature_norm=False)
    assert described(report) == {
        "rank_1": ("fw rank-1", "fraction", "higher", True),
        "rank_5": ("fw rank-5", "fraction", "higher", False),
        "tpir_at_fpir_1e-2": ("fw TPIR@1e-2", "fraction", "higher", False),
        "tpir_at_fpir_1e-1": ("fw TPIR@1e-1", "fraction", "higher", False),
    }
    rank, _, tpir, _ = report.metrics
    assert rank.n == 3 * PEOPLE
    low, high = rank.uncertainty.interval
    assert low <= rank.value <= high
    assert rank.note.startswith("mean over 2 galleries, 108 mated and 108 non-mated searches; without feature_norm")
    text = "no interval: 0 non-mated searches lie beyond the threshold, expected 30"
    assert (tpir.uncertainty.interval, tpir.uncertainty.note) == (None, text)
    assert set(report.tables) == {"fw-searches-1", "fw-searches-2"}
    assert (report.tables["fw-searches-1"]["rank"] > 0).sum() == 54


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda templates: replace(templates, gallery=None), "fw: the protocol has no galleries; expected one with"),
        (
            lambda templates: replace(templates, gallery=np.where(templates.gallery > 0, 1, 0)),
            "fw: gallery 1 has 108 mated and 0 non-mated probes; expected both kinds",
        ),
        (
            lambda templates: replace(templates, gallery=np.where(templates.template == 1, 1, templates.gallery)),
            "fw: a person is enrolled twice in gallery 1",
        ),
    ],
)
def test_what_cannot_be_searched_is_refused(made: Made, change: Any, message: str) -> None:
    with pytest.raises(StageError, match=message):
        evaluate(made, change(made[1]))
