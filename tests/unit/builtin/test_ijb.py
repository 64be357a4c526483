"""``ijb`` on ``fw-ijb``: what is reported is the definition, and every flag counts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from harness.builtin.fw_ijb import FwIjb
from harness.builtin.ijb import IJB, IJBSettings
from harness.components import Given, Report, Run, TemplateSet
from harness.errors import InputError, StageError
from harness.faces.faceset import FaceSet
from harness.graph import ProtocolStage
from harness.planning.planner import plan_suite
from harness.stages import protocol as protocol_stage
from harness.stages.opening import load_recognizer, open_protocol
from harness.stages.work import Work
from harness.stats.templates import FARS, points_nearest
from harness.store.artifacts import Artifact, Manifest, Store
from harness.store.shipped import demo_path
from harness.suites.read import load_suite
from harness.testing import check_source
from tests.unit.builtin.conftest import said

SETTINGS: dict[str, Any] = {"identities": 30, "size_px": 32}

Made = tuple[FaceSet, TemplateSet, dict[str, Any]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """fw-ijb with 30 people through its stage, as a run does it."""
    store = Store(tmp_path_factory.mktemp("store"))
    target = "harness.builtin.fw_ijb:FwIjb"
    stage = ProtocolStage(
        key="k", label="protocol", component="fw-ijb", target=target, settings=SETTINGS, crop_px=SETTINGS["size_px"]
    )
    work = Work(stage, store, "cpu", lambda kind, data: None, lambda: False)
    for shard in protocol_stage.prepare(work)["missing"]:
        protocol_stage.shard(work, shard)
    finished = protocol_stage.finish(work)
    manifest = Manifest.model_construct(details=finished["details"], parents={})
    faces, pairs, gives = open_protocol(Artifact(work.folder, manifest), store)
    assert gives == "templates"
    assert isinstance(pairs, TemplateSet)
    return faces, pairs, finished


class Pixels:
    """A recognizer that sees random mixtures of pixels: quick, and far from perfect."""

    width = 64

    def embed(self, images: np.ndarray) -> np.ndarray:
        flat = images[:, 4:28:2, 4:28:2].reshape(len(images), -1).astype(np.float32) / 255 - 0.5
        mixture = np.random.default_rng(0).standard_normal((flat.shape[1], self.width)).astype(np.float32)
        return np.tanh(flat @ mixture)


class Broken:
    """A recognizer that gives no numbers."""

    width = 4

    def embed(self, images: np.ndarray) -> np.ndarray:
        return np.full((len(images), 4), np.nan, dtype=np.float32)


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Figures take most of the time and are looked at in one test."""
    if request.function is not test_figures:
        monkeypatch.setattr("harness.builtin.ijb.pair_figures", lambda *given: {})


def evaluate(faces: FaceSet, pairs: TemplateSet, recognizer: Any = None, **settings: Any) -> Report:
    given = Given(recognizer=recognizer or Pixels(), templates={"fw-ijb": (faces, pairs)})
    return IJB(IJBSettings(replicates=100, **settings)).evaluate(given, Run(0))


def values(report: Report) -> dict[str, float]:
    return {metric.name.removeprefix("fw-ijb/"): metric.value for metric in report.metrics}


def test_the_protocol(made: Made) -> None:
    check_source(FwIjb(FwIjb.Settings(identities=2, size_px=32)))
    faces, pairs, finished = made
    assert len(pairs) == 120
    assert finished["counts"]["pairs"] == 120 * 119 // 2
    assert np.array_equal(pairs.template, np.sort(pairs.template))
    yaw = faces.attributes["yaw"]
    assert pairs.score[np.abs(yaw) < 10].min() > pairs.score[np.abs(yaw) > 50].max(), "frontal faces count for more"
    assert pairs.score.min() > 0
    assert pairs.score.max() <= 1


def test_metrics(made: Made) -> None:
    """Twelve rates; the rule that never exceeds the target ranks, and the others are there for parity."""
    faces, pairs, _ = made
    report = evaluate(faces, pairs, load_recognizer(demo_path("judge")))
    names = [f"fw-ijb/tar_{rule}_1e-{power}" for rule in ("at_far", "nearest_far") for power in range(6, 0, -1)]
    assert [metric.name for metric in report.metrics] == names
    assert [metric.ranked for metric in report.metrics] == [True] * 6 + [False] * 6
    assert [metric.headline for metric in report.metrics] == [True] * 6 + [False] * 6
    assert {(metric.unit, metric.better, metric.benchmark) for metric in report.metrics} == {
        ("fraction", "higher", "fw-ijb")
    }
    assert report.metrics[2].title == "fw-ijb TAR@1e-4"
    assert report.metrics[8].title == "fw-ijb TAR@1e-4 nearest"
    found = values(report)
    rates = [found[f"tar_at_far_1e-{power}"] for power in range(6, 0, -1)]
    assert rates == sorted(rates)
    assert found["tar_at_far_1e-2"] > 0.9, "the shipped recognizer sees who is who"
    by_name = {metric.name: metric for metric in report.metrics}
    least = by_name["fw-ijb/tar_at_far_1e-6"].uncertainty
    assert least.interval is None
    assert least.note.startswith("no interval: 0 of 6960 impostor pairs")
    assert {metric.n for metric in report.metrics} == {7140}


def test_figures(made: Made) -> None:
    report = evaluate(*made[:2])
    assert set(report.figures) == {"fw-ijb-scores", "fw-ijb-roc", "fw-ijb-det"}
    assert all(png.startswith(b"\x89PNG") for png in report.figures.values())


def test_the_interval_of_a_rate_that_is_not_perfect(made: Made) -> None:
    metric = next(m for m in evaluate(*made[:2]).metrics if m.name == "fw-ijb/tar_at_far_1e-1")
    assert 0.1 < metric.value < 0.95
    sure = metric.uncertainty
    assert sure.interval is not None
    assert sure.interval[0] < metric.value < sure.interval[1]
    assert (sure.interval_over, sure.method, said(metric)) == ("identities", "bootstrap", "")


def test_the_definition_step_by_step(made: Made) -> None:
    """Embed everything, average media, sum, normalize once, multiply: the evaluator streams the same numbers."""
    faces, pairs, _ = made
    judge, images = Pixels(), faces.images()
    features = judge.embed(images).astype(float) + judge.embed(images[:, :, ::-1])
    features *= pairs.score[:, None]
    vectors = np.zeros((120, features.shape[1]))
    for t in range(120):
        for medium in np.unique(pairs.media[pairs.template == t]):
            vectors[t] += features[(pairs.template == t) & (pairs.media == medium)].mean(axis=0)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = (vectors[pairs.a] * vectors[pairs.b]).sum(axis=1)
    report = evaluate(faces, pairs)
    table = report.tables["fw-ijb-pairs"]
    np.testing.assert_allclose(table["score"], scores, atol=1e-5)
    assert np.array_equal(table["identity_a"] == table["identity_b"], pairs.same)
    expected = points_nearest(scores[pairs.same], scores[~pairs.same])
    found = values(report)
    assert [found[f"tar_nearest_far_1e-{6 - i}"] for i in range(6)] == pytest.approx(
        [p.tar for p in expected], abs=0.01
    )
    points = report.tables["fw-ijb-operating-points"]
    assert points["far"].tolist() == [*FARS, *FARS]
    assert (points["measured_far"] <= points["far"])[:6].all()


@pytest.mark.parametrize("flag", ["flip_test", "feature_norm", "detector_score"])
def test_every_flag_counts_and_is_told(flag: str, made: Made) -> None:
    faces, pairs, _ = made
    standard, changed = evaluate(faces, pairs), evaluate(faces, pairs, **{flag: False})
    tables = [report.tables["fw-ijb-pairs"]["score"] for report in (standard, changed)]
    assert np.abs(tables[0] - tables[1]).max() > 1e-3
    remark = f"without {flag}: not comparable with published figures"
    assert all(said(metric).endswith(remark) for metric in changed.metrics)
    assert not any("published" in said(metric) for metric in standard.metrics)


def test_templates_beat_single_images(made: Made) -> None:
    """Why there are templates at all: the same people by their first image alone are told apart less often."""
    faces, pairs, _ = made
    first = np.unique(pairs.template, return_index=True)[1]
    alone = replace(pairs, score=np.isin(np.arange(len(faces)), first).astype(np.float32))
    judge = load_recognizer(demo_path("judge"))
    whole, single = (values(evaluate(faces, some, judge))["tar_at_far_1e-3"] for some in (pairs, alone))
    assert whole > single


def test_a_second_run_gives_the_same(made: Made) -> None:
    faces, pairs, _ = made
    assert evaluate(faces, pairs).metrics == evaluate(faces, pairs).metrics


def test_faults_are_told(made: Made) -> None:
    faces, pairs, _ = made
    with pytest.raises(StageError, match="an embedding is not finite, among faces 0 to"):
        evaluate(faces, pairs, Broken())
    with pytest.raises(StageError, match=r"1 template vectors are zero, such as that of template 5; .* scores all 0\?"):
        evaluate(faces, replace(pairs, score=np.where(pairs.template == 5, 0, pairs.score).astype(np.float32)))
    with pytest.raises(StageError, match="3 template numbers for"):
        evaluate(faces, replace(pairs, template=pairs.template[:3]))
    with pytest.raises(StageError, match="a pair names a template without faces"):
        evaluate(faces, replace(pairs, a=np.where(pairs.a == 3, 120, pairs.a)))
    with pytest.raises(StageError, match="7140 genuine and 0 impostor pairs; expected both kinds"):
        evaluate(faces, replace(pairs, same=np.ones(7140, dtype=bool)))
    with pytest.raises(StageError, match=r"given\.templates was not asked for"):
        IJB().evaluate(Given(recognizer=Pixels()), Run(0))  # type: ignore[arg-type]


def test_subjects_that_contradict_the_labels_are_not_resampled(made: Made) -> None:
    faces, pairs, _ = made
    flipped = pairs.same.copy()
    flipped[np.flatnonzero(~pairs.same)[0]] = True
    report = evaluate(faces, replace(pairs, same=flipped))
    metric = next(metric for metric in report.metrics if metric.name == "fw-ijb/tar_at_far_1e-1")
    assert said(metric) == "no interval: subjects of the templates are not known"
    assert "identity_a" not in report.tables["fw-ijb-pairs"]


# --- in a suite -------------------------------------------------------------------------------------------------------


def suite(folder: Path, evaluators: list[dict[str, Any]], **protocols: Any) -> Path:
    data = {
        "name": "templates",
        "crop_px": 32,
        "recognizers": {"judge": {"weights": "demo:judge"}},
        "rows": {"judge": {"recognizer": "judge"}},
        "protocols": {
            "fw-ijb": {"use": "fw-ijb", **SETTINGS},
            "fw-lfw": {"use": "fw-lfw", "pairs": 200, "size_px": 32},
            **protocols,
        },
        "evaluate": evaluators,
    }
    path = folder / "suite.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return path


def refused(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        plan_suite(load_suite(path), path)
    return str(caught.value).removeprefix(f"{path}: ")


def test_a_suite_with_both_kinds_of_protocols(tmp_path: Path) -> None:
    both = [{"use": "ijb", "protocols": ["fw-ijb"]}, {"use": "verification", "protocols": ["fw-lfw"]}]
    path = suite(tmp_path, both)
    plan = plan_suite(load_suite(path), path)
    assert [stage.kind for stage in plan.stages.values()].count("protocol") == 2


def test_an_evaluator_gets_the_kind_of_pairs_it_takes(tmp_path: Path) -> None:
    text = refused(suite(tmp_path, [{"use": "verification", "protocols": ["fw-ijb"]}]))
    assert text == (
        "evaluate.0.protocols: 'fw-ijb' has pairs of templates, which verification does not take; evaluate it with ijb"
    )
    text = refused(suite(tmp_path, [{"use": "ijb", "protocols": ["fw-lfw"]}]))
    assert text == (
        "evaluate.0.protocols: 'fw-lfw' has pairs of faces, which ijb does not take; evaluate it with verification"
    )
    text = refused(suite(tmp_path, [{"use": "ijb"}]))
    assert text == "evaluate.0.protocols: this key is missing; ijb needs at least one protocol with pairs of templates"


def test_a_release_that_is_not_there_is_told_with_its_key(tmp_path: Path) -> None:
    (tmp_path / "IJBC" / "loose_crop").mkdir(parents=True)
    ijbc = {"use": "ijbc", "path": "IJBC"}
    text = refused(suite(tmp_path, [{"use": "ijb", "protocols": ["ijbc"]}], ijbc=ijbc))
    missing = tmp_path / "IJBC" / "meta"
    assert text == f"protocols.ijbc: {missing}: there is no such folder; expected the ijbc release, unpacked"


def without(faces: FaceSet, lost: np.ndarray, folder: Path) -> FaceSet:
    """The face set as an aligner leaves it that does not find some of the faces."""
    items = faces.items
    status = ["failed" if gone else "ok" for gone in lost]
    items = items.set_column(items.column_names.index("status"), "status", pa.array(status))
    items = items.set_column(items.column_names.index("kept"), "kept", pa.array(~lost))
    folder.mkdir()
    pq.write_table(items, folder / "items.parquet")
    (folder / "shards").symlink_to(faces.folder / "shards")
    return FaceSet(folder, faces.crop)


def test_templates_without_faces_get_the_lowest_score(made: Made, tmp_path: Path) -> None:
    """Template 3 loses all its faces and template 7 one: the rates are those of a list with -1 for pairs of 3."""
    faces, templates, _ = made
    lost = templates.template == 3
    lost[np.flatnonzero(templates.template == 7)[0]] = True
    found = without(faces, lost, tmp_path / "found")
    pairs = templates.of_found(found)
    assert len(pairs) == 119
    touched = (templates.a == 3) | (templates.b == 3)
    assert pairs.lost is not None
    assert (len(pairs.lost), pairs.lost.same.sum()) == (119, 3)
    assert ((pairs.lost.identity_a == pairs.lost.identity_b) == pairs.lost.same).all()
    report = evaluate(found, pairs)
    table = report.tables["fw-ijb-pairs"]
    assert len(table["score"]) == 7140
    assert (table["score"][-119:] == -1).all()
    whole = evaluate(faces, templates).tables["fw-ijb-pairs"]["score"]
    untouched = ~touched & (templates.a != 7) & (templates.b != 7)
    ours = np.full(7140, np.nan, np.float32)
    ours[~touched] = table["score"][:-119]
    np.testing.assert_allclose(ours[untouched], whole[untouched], rtol=0, atol=1e-6)  # other batches
    metrics = {metric.name: metric for metric in report.metrics}
    rate = metrics["fw-ijb/tar_at_far_1e-1"]
    genuine, impostor = table["score"][table["same"]], table["score"][~table["same"]]
    assert rate.value == (genuine > np.sort(impostor)[::-1][int(0.1 * len(impostor))]).mean()
    assert rate.n == 7140
    share = metrics["fw-ijb/faces_found"]
    note = f"119 pairs count as different people, since {lost.sum()} of {len(lost)} faces were not found"
    assert (share.value, share.note, rate.note) == ((~lost).mean(), note, note)
