"""What a result says of its row, from the plan and from the artifacts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from suites import write

from harness.assemble import Finished, assemble, strictest_terms
from harness.engine import Engine
from harness.errors import DataError
from harness.graph import RowPlan, Stage, SuitePlan
from harness.planning.planner import plan_suite
from harness.store.artifacts import Artifact, Manifest
from harness.suites.read import load_suite

SECTIONS: dict[str, Any] = {
    "seeds": [0, 1],
    "sources": {"photos": {"use": "images", "path": "photos", "commercial_use": "no"}},
    "models": {"ldm": {"fit": "idiffface", "source": "photos", "recognizer": "cond", "settings": {"size_px": 32}}},
    "rows": {"made": {"use": "idiffface", "model": "ldm"}, "drawn": {"use": "authentic", "source": "world"}},
    "protocols": {"photos": {"use": "pairs", "source": "photos"}},
    "evaluate": [{"use": "verification", "protocols": ["photos"]}],
}


def plan(folder: Path, *overrides: str) -> SuitePlan:
    for person in range(20):
        place = folder / "photos" / f"{person:02d}"
        place.mkdir(parents=True, exist_ok=True)
        for number in range(3):
            image = np.full((32, 32, 3), 10 * person + number, dtype=np.uint8)
            Image.fromarray(image).save(place / f"{number}.png")
    path = write(folder, **SECTIONS)
    return plan_suite(load_suite(path, overrides), path)


def row(planned: SuitePlan, name: str, seed: int = 0) -> RowPlan:
    return next(r for r in planned.row_plans if (r.row, r.seed) == (name, seed))


def manifest(stage: Stage) -> Manifest:
    parents = {role: "/".join(parent) for role, parent in stage.parents.items()}
    plain: dict[str, Any] = {"settings": {}, "options": {}, "license": {}, "component": "", "content": "c", "seed": 0}
    return Manifest(
        kind=stage.kind,
        key=stage.key,
        parents=parents,
        **plain,
        seconds=1,
        device="cpu",
        created=0,
        finished=1,
        files={},
    )


def test_terms_are_those_of_all_that_lies_below_whether_the_store_has_it_or_not(tmp_path: Path) -> None:
    planned = plan(tmp_path, "protocols.photos.source=world")
    assert strictest_terms(planned, row(planned, "made")) == "no", "its model was fitted to photographs"
    assert strictest_terms(planned, row(planned, "drawn")) == "yes"


@pytest.mark.parametrize(
    ("override", "changed"),
    [
        ("models.ldm.settings.batch_size=3", {"made"}),
        ("dataset.contexts.scale=0.5", {"made"}),
        ("dataset.spare.images=1", {"made", "drawn"}),
        ("aligner=landmarks", {"made", "drawn"}),
        ("sources.world.mode=mild", {"made", "drawn"}),
        ("rows.drawn.source=photos", {"drawn"}),
        ("protocols.photos.folds=5", set()),
        ("seeds=[1,2]", set()),
    ],
)
def test_the_method_is_everything_but_the_seed(tmp_path: Path, override: str, changed: set[str]) -> None:
    before, after = plan(tmp_path), plan(tmp_path, override)
    assert row(before, "made").method == row(before, "made", 1).method
    for name in ("made", "drawn"):
        same = row(before, name, 1).method == row(after, name, 1).method
        assert same == (name not in changed), name


def test_a_protocol_over_a_source_needs_its_faces_though_it_is_there(tmp_path: Path) -> None:
    planned = plan(tmp_path)
    engine = Engine(planned, tmp_path / "work", workers=1, device="cpu")
    protocol = next(stage for stage in planned.stages.values() if stage.kind == "protocol")
    engine.store.building(*protocol.id)
    engine.store.commit(manifest(protocol))
    engine._want(protocol)
    assert protocol.parents["source"] in engine.wanted


def test_a_damaged_report_is_one_line(tmp_path: Path) -> None:
    from harness.assemble import _metrics

    planned = plan(tmp_path)
    engine = Engine(planned, tmp_path / "work", workers=1, device="cpu")
    evaluation = next(stage for stage in planned.stages.values() if stage.kind == "evaluate")
    engine.store.building(*evaluation.id)
    artifact = engine.store.commit(manifest(evaluation))
    with pytest.raises(DataError, match="damaged report; delete"):
        list(_metrics(artifact))
    (artifact.folder / "report.json").write_text('[{"name": 1}]')
    with pytest.raises(DataError, match="damaged report; delete"):
        list(_metrics(artifact))


def aligned(planned: SuitePlan, counts: dict[str, int]) -> tuple[RowPlan, Finished]:
    """A row whose alignment, and nothing else, is there."""
    drawn = row(planned, "drawn")
    assert drawn.align is not None
    made = manifest(drawn.align).model_copy(update={"counts": {"planned": 200, "detected": 190, **counts}})
    return drawn, {drawn.align.id: (Artifact(Path(), made), False)}


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        ({}, ""),
        ({"several_faces": 2, "off_center": 1}, ""),
        ({"several_faces": 3, "off_center": 0}, "3 of 200 pictures show several faces, and in 0 the face"),
        ({"several_faces": 0, "off_center": 9}, "0 of 200 pictures show several faces, and in 9 the face"),
    ],
)
def test_faces_that_may_be_another_persons_are_told(tmp_path: Path, counts: dict[str, int], told: str) -> None:
    planned = plan(tmp_path)
    drawn, finished = aligned(planned, counts)
    made = assemble(planned, drawn, finished, "", "cpu", tmp_path / "out")
    assert len(made.warnings) == bool(told)
    assert all(text.startswith(f"align: {told}") for text in made.warnings)
    metrics = {metric.name: (metric.value, metric.n) for metric in made.metrics}
    assert metrics == {
        "alignment/detection_rate": (0.95, 200),
        **{f"alignment/{name}": (count / 200, 200) for name, count in counts.items()},
    }
