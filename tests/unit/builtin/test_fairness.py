"""``fairness`` on ``fw-groups``: a planted unfair recognizer is found, and a list without groups is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from harness.builtin.fairness import Fairness, FairnessSettings
from harness.components import Given, Metric, PairSet, Report, Run
from harness.components.pairs import LostPairs
from harness.errors import StageError
from harness.faces.faceset import FaceSet
from harness.graph import ProtocolStage
from harness.stages import protocol as protocol_stage
from harness.stages.opening import load_recognizer, open_protocol
from harness.stages.work import Work
from harness.stats.verification import unit
from harness.store.artifacts import Artifact, Manifest, Store
from harness.store.shipped import demo_path
from tests.unit.builtin.conftest import described

Made = tuple[FaceSet, PairSet]
FAR = 0.3
SEEN: dict[bytes, np.ndarray] = {}  # unit embeddings by the judge, of every picture once


class Unfair:
    """The demo judge, which sees a likeness between all people of one group; which pictures show them it was told."""

    def __init__(self, faces: FaceSet, rows: np.ndarray, likeness: float) -> None:
        self.judge = load_recognizer(demo_path("judge"))
        self.width, self.likeness = self.judge.width, likeness
        (batch,) = faces.batches(len(faces))
        pictures = batch.images[rows]
        self.known = {picture.tobytes() for side in (pictures, pictures[:, :, ::-1]) for picture in side}

    def embed(self, images: np.ndarray) -> np.ndarray:
        new = [number for number, picture in enumerate(images) if picture.tobytes() not in SEEN]
        if new:
            SEEN.update(zip((images[n].tobytes() for n in new), unit(self.judge.embed(images[new])), strict=True))
        out = np.stack([SEEN[picture.tobytes()] for picture in images])
        out[[picture.tobytes() in self.known for picture in images], 0] += self.likeness
        return out.astype(np.float32)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """fw-groups with 1,200 pairs through its stage, as a run does it."""
    store = Store(tmp_path_factory.mktemp("store"))
    settings = {"pairs": 1200, "size_px": 32}
    target = "harness.builtin.faceworld:FwGroups"
    stage = ProtocolStage(
        key="k", label="protocol", component="fw-groups", target=target, settings=settings, crop_px=32
    )
    work = Work(stage, store, "cpu", lambda kind, data: None, lambda: False)
    for shard in protocol_stage.prepare(work)["missing"]:
        protocol_stage.shard(work, shard)
    finished = protocol_stage.finish(work)
    manifest = Manifest.model_construct(details=finished["details"], parents={})
    faces, pairs, _ = open_protocol(Artifact(work.folder, manifest), store)
    assert isinstance(pairs, PairSet)
    return faces, pairs


def evaluate(made: Made, likeness: float = 0.0, pairs: PairSet | None = None, **settings: Any) -> Report:
    faces, listed = made
    of_high = np.unique(np.concatenate([side[listed.group == "high"] for side in (listed.a, listed.b)]))
    recognizer: Any = Unfair(faces, of_high, likeness)
    given = Given(recognizer=recognizer, pairs={"fw": (faces, listed if pairs is None else pairs)})
    return Fairness(FairnessSettings(**{"far": FAR, "replicates": 200, **settings})).evaluate(given, Run(0))


def by_name(report: Report) -> dict[str, Metric]:
    return {metric.name.removeprefix("fw/group_"): metric for metric in report.metrics}


def test_groups_come_through_the_stage(made: Made) -> None:
    faces, pairs = made
    assert sorted(set(pairs.group.tolist())) == ["high", "low", "middle"]
    assert (np.unique(pairs.group.astype(str), return_counts=True)[1] == 400).all()
    assert ((faces.identities[pairs.a] == faces.identities[pairs.b]) == pairs.same).all()


def test_a_planted_unfair_recognizer_is_found(made: Made) -> None:
    fair, unfair = (by_name(evaluate(made, likeness)) for likeness in (0.0, 0.7))
    assert fair["accuracy_spread"].uncertainty.interval[0] == 0, "nothing was planted"
    for name in ("accuracy_spread", "fmr_excess"):
        low, high = unfair[name].uncertainty.interval
        assert low <= unfair[name].value <= high
        assert low > (1.0 if name == "fmr_excess" else 0.0), name
        assert unfair[name].value > fair[name].value
    assert "least for high" in unfair["accuracy_worst"].note
    assert "most for high" in unfair["fmr_excess"].note
    assert unfair["accuracy_worst"].value < fair["accuracy_worst"].value


def test_what_is_told(made: Made) -> None:
    report = evaluate(made, 0.5)
    assert described(report) == {
        "group_accuracy_spread": ("fw group spread", "fraction", "lower", True),
        "group_accuracy_worst": ("fw worst group", "fraction", "higher", False),
        "group_tar_spread": ("fw TAR group spread", "fraction", "lower", False),
        "group_fmr_excess": ("fw FMR excess", "plain", "lower", False),
    }
    assert report.metrics[0].note.startswith("one threshold, at FAR 3e-1 over all groups; least for ")
    table = report.tables["fw-groups"]
    assert table["group"].tolist() == ["high", "low", "middle"]
    assert table["fmr"].mean() == pytest.approx(FAR, abs=0.001), "groups have equally many pairs"
    assert (table["accuracy_low"] <= table["accuracy"]).all()
    assert (table["accuracy"] <= table["accuracy_high"]).all()
    assert report.metrics[0].value == pytest.approx(np.ptp(table["accuracy"]))
    assert report.figures["fw-groups"].startswith(b"\x89PNG")


def test_pairs_of_no_group_have_no_part(made: Made) -> None:
    _, pairs = made
    across = pairs.group == "middle"
    thinned = PairSet(
        *(side[~across] for side in (pairs.a, pairs.b, pairs.same, pairs.fold)), None, pairs.group[~across]
    )
    without = replace(pairs, group=np.where(across, "", pairs.group))
    assert by_name(evaluate(made, pairs=without)) == by_name(evaluate(made, pairs=thinned))


def test_lost_pairs_are_called_different(made: Made) -> None:
    _, pairs = made
    there = ~((pairs.group == "low") & pairs.same & (pairs.fold < 5))
    lost = LostPairs(
        *(np.full((~there).sum(), 300_000),) * 2, pairs.same[~there], pairs.fold[~there], pairs.group[~there]
    )
    columns = (side[there] for side in (pairs.a, pairs.b, pairs.same, pairs.fold))
    table = evaluate(made, pairs=PairSet(*columns, lost, pairs.group[there])).tables["fw-groups"]
    assert table["genuine"].tolist() == [200, 200, 200]
    assert table["tar"][table["group"] == "low"] <= 0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda pairs: replace(pairs, group=None), "fw: its pairs have no groups; expected a protocol with groups"),
        (lambda pairs: replace(pairs, group=np.full(len(pairs.a), "all")), r"fw: its pairs have 1 group\(s\)"),
        (
            lambda pairs: replace(pairs, group=np.where(pairs.same, "x", pairs.group)),
            "fw: the group high has 0 genuine and 200 impostor pairs",
        ),
    ],
)
def test_what_has_no_groups_is_refused(made: Made, change: Any, message: str) -> None:
    with pytest.raises(StageError, match=message):
        evaluate(made, pairs=change(made[1]))


def test_few_people_and_few_events_have_no_interval_but_a_reason(made: Made) -> None:
    _, pairs = made
    here = pairs.fold < 2  # 60 people, 6 to 14 of a group and fold
    few = PairSet(*(side[here] for side in (pairs.a, pairs.b, pairs.same, pairs.fold)), None, pairs.group[here])
    spread = by_name(evaluate(made, pairs=few, far=0.6))["accuracy_spread"]
    assert spread.uncertainty.interval is None
    assert "identities are too few to resample, expected 30 (group high)" in spread.uncertainty.note
